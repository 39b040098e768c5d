"""What lies before faces: the segmenter on real pictures with things drawn on them, what is filled in, and training."""

from functools import cache

import cv2
import numpy as np
import pytest
import torch

from prosopon.models.faces.detections import RGBImage
from prosopon.models.runtime.session import Compute, create_session, run
from prosopon.models.swap.frames import framed
from prosopon.models.swap.geometry import interocular, with_forehead
from prosopon.models.swap.mask import stays, with_lines
from prosopon.models.swap.occlusion import CROP, segmenter
from prosopon.models.swap.types import FaceGeometry, Replacement, SourceFace
from prosopon.models.swap.uncover import bared, uncovered
from prosopon.models.swap.warp import WarpSwapper
from prosopon.models.training.occlusion.dataset import rendered
from prosopon.models.training.occlusion.faces import SIDE, Face
from prosopon.models.training.occlusion.labels import Known, known, refined
from prosopon.models.training.occlusion.network import OcclusionNet, to_onnx
from prosopon.models.training.occlusion.occluders import KINDS
from tests.faces import around, faces_of, portrait, read
from tests.paths import DATA, require

PORTRAITS = [f"london/{number}_neutral.jpg" for number in ("002", "005", "012", "017", "024")]


def polygon(face: FaceGeometry, points: list[tuple[float, float]], shape: tuple[int, ...]) -> np.ndarray:
    """``(H, W)`` bool. points: from the middle of the eyes, in distances between them, for upright faces."""
    middle = (face.dense[36:42].mean(axis=0) + face.dense[42:48].mean(axis=0)) / 2
    corners = middle + np.array(points) * interocular(face.dense)
    return cv2.fillConvexPoly(np.zeros(shape[:2], np.uint8), corners.astype(np.int32), 1) > 0


def inner(face: FaceGeometry, shape: tuple[int, ...]) -> np.ndarray:
    """``(H, W)`` bool: brows, eyes, nose, mouth and what lies between them."""
    hull = cv2.convexHull(face.dense[17:]).astype(np.int32)
    return cv2.fillConvexPoly(np.zeros(shape[:2], np.uint8), hull, 1) > 0


def front(picture: RGBImage, face: FaceGeometry) -> np.ndarray:
    """``(H, W)`` bool, what the segmenter says; outside its crop nothing."""
    found = segmenter().find(picture, face.dense)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(found.chip, found.matrix, picture.shape[1::-1], flags=flags) > 0.5


BAR = [(-0.9, 0.75), (0.9, 0.75), (0.9, 1.3), (-0.9, 1.3)]
BLINDFOLD = [(-0.95, -0.3), (0.95, -0.3), (0.95, 0.3), (-0.95, 0.3)]


@pytest.mark.parametrize("colour", [(30, 30, 34), (200, 60, 40), (120, 150, 190)])
@pytest.mark.parametrize("shape", [BAR, BLINDFOLD], ids=["over the mouth", "over the eyes"])
def test_a_bar_drawn_on_a_face_is_found_where_it_is(
    shape: list[tuple[float, float]], colour: tuple[int, int, int]
) -> None:
    overlaps = []
    for name in PORTRAITS:
        picture, face = portrait(name)
        drawn = polygon(face, shape, picture.shape)
        covered = picture.copy()
        covered[drawn] = colour
        # As the swapper would: landmarks are looked for behind the bar.
        seen = min(faces_of(covered, 0.2), key=lambda found: float(np.abs(found.box - face.box).sum()))
        where = inner(face, picture.shape)
        found = front(covered, seen) & where
        overlaps.append((found & drawn).sum() / (found | (drawn & where)).sum())
    assert np.mean(overlaps) > 0.8, overlaps


@pytest.mark.parametrize("name", [*PORTRAITS, "faker/male_0.jpg"])
def test_a_bare_face_is_free(name: str) -> None:
    picture, face = portrait(name)
    assert front(picture, face)[inner(face, picture.shape)].mean() < 0.05


def test_what_is_around_a_face_is_not_it() -> None:
    for name in PORTRAITS:
        picture, face = portrait(name)
        above = polygon(face, [(-0.4, -1.55), (0.4, -1.55), (0.4, -1.4), (-0.4, -1.4)], picture.shape)
        assert front(picture, face)[above].mean() > 0.7, name


def test_how_much_is_covered_is_told_for_each_part() -> None:
    picture, face = portrait(PORTRAITS[0])
    bare = segmenter().find(picture, face.dense).covered(face.dense)
    assert max(bare.eyes, bare.mouth, bare.face) < 0.1
    for shape, part in ((BAR, "mouth"), (BLINDFOLD, "eyes")):
        hidden = picture.copy()
        hidden[polygon(face, shape, picture.shape)] = (60, 90, 140)
        covered = segmenter().find(hidden, face.dense).covered(face.dense)
        assert getattr(covered, part) > 0.8, part
        assert 0.15 < covered.face < 0.6


@cache
def striped() -> tuple[RGBImage, RGBImage, FaceGeometry, np.ndarray]:
    """A portrait, the same with the frame of glasses drawn on it, the face, and where the frame is."""
    picture, face = portrait("london/024_neutral.jpg")
    unit = interocular(face.dense)
    frame = np.zeros(picture.shape[:2], np.uint8)
    thick = max(2, round(0.07 * unit))
    centers = [
        face.dense[eye].mean(axis=0) + np.array([0, 0.06 * unit]) for eye in (slice(36, 42), slice(42, 48))
    ]
    for x, y in centers:
        cv2.ellipse(frame, (int(x), int(y)), (int(0.38 * unit), int(0.3 * unit)), 0, 0, 360, 1, thick)
    (x1, y1), (x2, y2) = centers
    cv2.line(frame, (int(x1 + 0.38 * unit), int(y1)), (int(x2 - 0.38 * unit), int(y2)), 1, thick)
    worn = picture.copy()
    worn[frame > 0] = (24, 20, 20)
    return picture, worn, face, frame > 0


def test_a_frame_before_the_face_that_is_put_in_is_filled_in_and_nothing_else_changes() -> None:
    picture, worn, face, frame = striped()
    bare = bared(SourceFace(worn, face)).picture
    before = np.abs(worn.astype(int) - picture)[frame].mean()
    after = np.abs(bare.astype(int) - picture)[frame].mean()
    assert after < 0.4 * before, (before, after)
    assert (bare == worn)[~around(face, picture.shape, 0.25)].all()


def test_a_frame_before_the_face_that_gives_way_stays() -> None:
    picture, worn, face, frame = striped()
    result = WarpSwapper().swap(worn, [Replacement(face, SourceFace(*portrait("london/012_neutral.jpg")))])
    core = cv2.erode(frame.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert result[core].mean() < 60
    lenses = inner(face, picture.shape) & ~cv2.dilate(frame.astype(np.uint8), np.ones((9, 9))).astype(bool)
    assert (result != worn).any(axis=2)[lenses].mean() > 0.8, "the face behind it is another"


FOREHEADS = ["london/012_neutral.jpg", "london/017_smiling.jpg", "faker/male_0.jpg"]


def drawn(picture: RGBImage, lines: np.ndarray, colour: tuple[int, int, int], softness: float) -> RGBImage:
    """The picture with lines, ``(H, W)`` 0..1, in a colour, as soft as a lens makes them."""
    share = cv2.GaussianBlur(lines, (0, 0), softness)[..., None]
    return np.rint(picture + share * (np.array(colour) - picture)).astype(np.uint8)


def with_strands(picture: RGBImage, face: FaceGeometry) -> tuple[RGBImage, np.ndarray]:
    """Three strands of dark hair from the hairline over the forehead, and ``(H, W)`` bool where they are."""
    unit = interocular(face.dense)
    middle = (face.dense[36:42].mean(axis=0) + face.dense[42:48].mean(axis=0)) / 2
    lines = np.zeros(picture.shape[:2], np.float32)
    for x, bend in ((-0.5, 0.25), (0.1, -0.2), (0.55, -0.3)):
        down = np.linspace(-1.6, -0.65, 30)
        path = middle + unit * np.stack([x + bend * (down + 1.6) ** 2, down], axis=1)
        cv2.polylines(lines, [np.rint(path).astype(np.int32)], False, 1, max(1, round(0.02 * unit)))
    return drawn(picture, lines, (40, 28, 22), 0.01 * unit), lines > 0


@pytest.mark.parametrize("name", FOREHEADS)
def test_strands_of_hair_of_the_face_that_is_put_in_are_not_carried_over(name: str) -> None:
    picture, face = portrait(name)
    hairy, strands = with_strands(picture, face)
    bare = bared(SourceFace(hairy, face)).picture
    # Below the hair, which is filled in besides.
    low = polygon(face, [(-0.9, -0.95), (0.9, -0.95), (0.9, -0.5), (-0.9, -0.5)], picture.shape) & strands
    before = np.abs(hairy.astype(int) - picture)[low].mean()
    after = np.abs(bare.astype(int) - picture)[low].mean()
    assert after < 0.35 * before, (before, after)
    frame, target = portrait("london/017_neutral.jpg")
    without, with_ = (
        WarpSwapper().swap(frame, [Replacement(target, SourceFace(source, face))]).astype(int)
        for source in (picture, hairy)
    )
    assert np.abs(with_ - without)[around(target, frame.shape)].mean() < 3


@pytest.mark.parametrize("name", ["london/024_neutral.jpg", "london/017_neutral.jpg"])
def test_wrinkles_of_a_forehead_are_carried_over(name: str) -> None:
    picture, face = portrait(name)
    lines = polygon(face, [(-0.3, -0.7), (0.3, -0.7), (0.3, -0.68), (-0.3, -0.68)], picture.shape)
    wrinkled = drawn(picture, lines.astype(np.float32), (90, 60, 50), 0.01 * interocular(face.dense))
    bare = bared(SourceFace(wrinkled, face)).picture
    drawn_by = np.abs(wrinkled.astype(int) - picture)[lines].mean()
    assert np.abs(bare.astype(int) - wrinkled)[lines].mean() < 0.25 * drawn_by


GLASSES = ["faker/female_69.jpg", "faker/male_95.jpg", "compreface_samples/009_C.jpg"]
"""The first with a thin frame, that the segmenter hardly sees."""
BARE = ["faker/male_76.jpg", "faker/male_92.jpg", "faker/male_57.jpg", "london/012_neutral.jpg"]
"""The first three are those without glasses of which it is least sure."""
BELOW_EYES = [(-0.8, 0.17), (0.8, 0.17), (0.8, 0.45), (-0.8, 0.45)]


def ridges(picture: RGBImage, face: FaceGeometry) -> np.ndarray:
    """``(H, W)``: how much darker each pixel is than what is around it."""
    size = 2 * round(0.06 * interocular(face.dense)) + 1
    light = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return cv2.morphologyEx(light, cv2.MORPH_BLACKHAT, np.ones((size, size), np.uint8)).astype(int)


def rims(picture: RGBImage, face: FaceGeometry) -> np.ndarray:
    """``(H, W)`` bool: the darkest lines below the eyes, which are frames where glasses are worn."""
    below, dark = polygon(face, BELOW_EYES, picture.shape), ridges(picture, face)
    return below & (dark >= np.percentile(dark[below], 92))


@pytest.mark.parametrize("name", GLASSES)
def test_frames_that_are_worn_in_photographs_are_filled_in(name: str) -> None:
    picture, face = portrait(name)
    frame = rims(picture, face)
    bare = bared(SourceFace(picture, face)).picture
    assert ridges(bare, face)[frame].mean() < 0.4 * ridges(picture, face)[frame].mean()


@pytest.mark.parametrize("name", BARE)
def test_no_frame_is_seen_where_no_glasses_are_worn(name: str) -> None:
    picture, face = portrait(name)
    found = segmenter().find(picture, face.dense)
    points = with_forehead(face.dense) @ found.matrix[:, :2].T + found.matrix[:, 2]
    assert not framed(found.chip, points.astype(np.float32)).any()


@pytest.mark.parametrize("name", GLASSES)
def test_frames_of_the_face_that_gives_way_stay(name: str) -> None:
    picture, face = portrait(name)
    frame = rims(picture, face)
    new = SourceFace(*portrait("london/043_neutral.jpg"))
    result = WarpSwapper().swap(picture, [Replacement(face, new)])
    assert ridges(result, face)[frame].mean() > 0.7 * ridges(picture, face)[frame].mean()


def test_a_scarf_over_the_far_half_of_a_turned_forehead_stays() -> None:
    picture, face = portrait("faker/female_39.jpg")
    result = WarpSwapper().swap(picture, [Replacement(face, SourceFace(*portrait("london/009_smiling.jpg")))])
    blue = picture[..., 2].astype(int) - picture[..., 0] > 30
    scarf = cv2.erode((blue & around(face, picture.shape)).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    scarf &= polygon(face, [(-1.1, -1.4), (1.1, -1.4), (1.1, -0.7), (-1.1, -0.7)], picture.shape)
    assert scarf.any() and np.abs(result.astype(int) - picture)[scarf].mean() < 3


def test_dark_lenses_before_the_face_that_gives_way_stay_whole() -> None:
    require(DATA / "fairface/3408.jpg")
    picture, face = portrait("fairface/3408.jpg")
    result = WarpSwapper().swap(picture, [Replacement(face, SourceFace(*portrait("london/012_neutral.jpg")))])
    for eye in (face.dense[36:42], face.dense[42:48]):
        lens = cv2.fillConvexPoly(np.zeros(picture.shape[:2], np.uint8), eye.astype(np.int32), 1) > 0
        assert np.abs(result.astype(int) - picture)[lens].mean() < 4


def test_paint_on_lids_is_no_frame_and_a_line_on_a_forehead_is_one() -> None:
    """The segmenter may half believe in either, and both stand out from the skin."""
    picture, face = portrait(BARE[0])
    points = with_forehead(face.dense)
    lids = polygon(face, [(0.35, -0.16), (0.65, -0.16), (0.65, -0.1), (0.35, -0.1)], picture.shape)
    high = polygon(face, [(0.35, -0.66), (0.65, -0.66), (0.65, -0.6), (0.35, -0.6)], picture.shape)
    painted = picture.astype(np.float32)
    painted[lids | high] = (90, 170, 230)
    found = with_lines((lids | high) * np.float32(0.42), painted, points)
    assert found[lids].max() < 0.2 and np.median(found[high]) > 0.5


def test_hair_that_comes_to_lie_behind_other_hair_is_not_taken_off() -> None:
    picture, face = portrait(FOREHEADS[0])
    hairy, strands = with_strands(picture, face)
    seen = segmenter().find(hairy, face.dense)
    for hidden in (np.zeros_like(seen.chip), np.ones_like(seen.chip)):
        bare = uncovered(hairy, face.dense, seen, hidden)
        assert (bare.picture != hairy).any(axis=2)[strands].any() == (hidden.max() == 0)


def test_a_hand_before_the_face_that_is_put_in_is_not_carried_over() -> None:
    source, face = portrait("london/005_neutral.jpg")
    blue = polygon(face, [(0.25, 0.2), (1.0, 0.2), (1.0, 1.2), (0.25, 1.2)], source.shape)
    covered = source.copy()
    covered[blue] = (20, 60, 200)
    frame, target = portrait("london/017_smiling.jpg")
    result = WarpSwapper().swap(frame, [Replacement(target, SourceFace(covered, face))]).astype(int)
    bluer = (result[..., 2] - result[..., 0])[inner(target, frame.shape)]
    assert np.percentile(bluer, 99) < 40


def test_what_lies_before_either_face_keeps_the_targets_pixels() -> None:
    nothing, all_ = np.zeros((40, 40), np.float32), np.ones((40, 40), np.float32)
    guide = np.full((40, 40, 3), 128, np.float32)
    half = nothing.copy()
    half[:, :20] = 1
    assert stays(nothing, nothing, guide, 15.0).max() == 0
    assert stays(all_, nothing, guide, 15.0).min() == stays(nothing, all_, guide, 15.0).min() == 1
    assert stays(half, nothing, guide, 15.0)[:, :16].min() > 0.9
    assert stays(half, nothing, guide, 15.0)[:, 24:].max() < 0.1


@cache
def chip() -> Face:
    """A portrait as training sees chips."""
    picture, face = portrait(PORTRAITS[2])
    center, reach = face.dense.mean(axis=0), 2.1 * interocular(face.dense)
    zoom = SIDE / (2 * reach)
    matrix = np.array([[zoom, 0, SIDE / 2 - zoom * center[0]], [0, zoom, SIDE / 2 - zoom * center[1]]])
    small = cv2.warpAffine(
        picture, matrix, (SIDE, SIDE), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
    )
    points = face.mesh[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    skin = np.zeros((SIDE, SIDE), np.float32)
    hull = cv2.convexHull(points.astype(np.float32)).astype(np.int32)
    return Face(small, points.astype(np.float32), cv2.fillConvexPoly(skin, hull, 1.0))


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_rendered_is_labelled(kind: str) -> None:
    """Away from a thing the picture is the face's own, but for noise and compression."""
    random = np.random.default_rng(4)
    apart, shares = [], []
    for _ in range(8):
        picture, alpha = rendered(random, chip(), [chip()], [kind])
        near = cv2.dilate((alpha > 0).astype(np.uint8), np.ones((41, 41), np.uint8)) > 0
        shares.append(float((alpha > 0.5).mean()))
        if (~near).sum() > 400:
            apart.append(float(np.median(np.abs(picture.astype(int) - chip().pixels)[~near])))
    assert np.mean(shares) > 0.004, "something is there to be seen"
    assert not apart or np.median(apart) < 12


def test_labels_tell_the_face_from_its_surroundings_and_a_beard_is_never_called_a_thing() -> None:
    face = chip()
    labels = known(face)
    middle = face.dense[30].astype(int)
    assert labels[middle[1], middle[0]] == Known.FACE
    everything = np.ones((SIDE, SIDE), np.float32)
    doubted = refined(labels, everything, face)
    chin = face.dense[8].astype(int) - (0, 6)
    brow = face.dense[27].astype(int)
    assert doubted[chin[1], chin[0]] == labels[chin[1], chin[0]] != Known.OTHER
    assert doubted[brow[1], brow[0]] == Known.OTHER
    assert (refined(labels, np.zeros((SIDE, SIDE), np.float32), face) != Known.PERHAPS_FACE).all()


def test_the_exported_network_is_the_trained_one() -> None:
    torch.manual_seed(0)
    network = OcclusionNet().eval()
    chips = torch.rand(3, 3, CROP.size, CROP.size) * 255
    session = create_session(to_onnx(network), Compute())
    with torch.no_grad():
        wanted = network(chips).sigmoid().numpy()
    for count in (1, 3):
        found = run(session, chips[:count].numpy())[0]
        assert np.abs(found - wanted[:count]).max() < 0.01


def test_a_folder_of_real_pictures_is_segmented_as_a_person_would() -> None:
    """Surgical masks on photographs are before the mouth, and bare faces have free mouths."""
    told = {"with_mask": [], "without_mask": []}
    for folder, found in told.items():
        for path in sorted(require(DATA / "mask" / folder).iterdir())[:12]:
            picture = read(path)
            for face in faces_of(picture)[:1]:
                found.append(segmenter().find(picture, face.dense).covered(face.dense).mouth)
    assert np.mean(np.array(told["with_mask"]) > 0.5) > 0.7
    assert np.mean(np.array(told["without_mask"]) < 0.3) > 0.8
