"""The project's own swapper on real faces."""

import tracemalloc

import cv2
import numpy as np
import pytest

from prosopon.models.faces.detections import RGBImage
from prosopon.models.swap.geometry import interocular
from prosopon.models.swap.types import FaceGeometry, Replacement, SourceFace
from prosopon.models.swap.warp import WarpSwapper
from tests.faces import around, face_near, faces_of, portrait, read
from tests.paths import DATA, require

SWAPPER = WarpSwapper()
MAN, WOMAN = "london/017_smiling.jpg", "london/113_neutral.jpg"


def source(name: str) -> SourceFace:
    return SourceFace(*portrait(name))


def moved(face: FaceGeometry, scale: float, shift: tuple[float, float] = (0, 0)) -> FaceGeometry:
    """A face where it is once its picture is scaled (corners fixed) and shifted."""

    def place(points):
        return ((points.reshape(-1, 2) + 0.5) * scale - 0.5 + shift).astype(np.float32).reshape(points.shape)

    mesh = np.column_stack([place(face.mesh[:, :2]), face.mesh[:, 2] * np.float32(scale)])
    return FaceGeometry(place(face.box), place(face.landmarks), mesh)


def changed(before: RGBImage, after: RGBImage) -> np.ndarray:
    return (before != after).any(axis=2)


def inner(face: FaceGeometry, shape: tuple[int, ...]) -> np.ndarray:
    """``(H, W)``: the hull of brows, eyes, nose and mouth."""
    hull = cv2.convexHull(face.dense[17:]).astype(int)
    return cv2.fillConvexPoly(np.zeros(shape[:2], np.uint8), hull, 1) > 0


def test_a_swap_changes_the_face_and_nothing_else() -> None:
    frame, face = portrait(MAN)
    before = frame.copy()
    result = SWAPPER.swap(frame, [Replacement(face, source(WOMAN))])
    assert (frame == before).all(), "the frame that was given is left as it is"
    where = changed(frame, result)
    assert not where[~around(face, frame.shape)].any()
    assert where[inner(face, frame.shape)].mean() > 0.95


def test_the_same_twice_gives_the_same_picture() -> None:
    frame, face = portrait(MAN)
    once, twice = (SWAPPER.swap(frame, [Replacement(face, source(WOMAN))]) for _ in range(2))
    assert (once == twice).all()


# The more hair and glasses lie over a face, the more of it is filled in before it is put in.
@pytest.mark.parametrize(
    "name, mean, most",
    [(MAN, 2, 20), ("faker/male_50.jpg", 3, 40), ("compreface_samples/009_C.jpg", 7, 80)],
)
def test_a_face_put_onto_itself_hardly_changes(name: str, mean: float, most: float) -> None:
    frame, face = portrait(name)
    result = SWAPPER.swap(frame, [Replacement(face, SourceFace(frame, face))])
    apart = np.abs(frame.astype(int) - result)[around(face, frame.shape)]
    assert apart.mean() < mean
    assert np.percentile(apart, 99) < most


def test_the_new_face_keeps_the_pose_and_the_place() -> None:
    frame, face = portrait("faker/male_15.jpg")
    result = SWAPPER.swap(frame, [Replacement(face, source(MAN))])
    found = face_near(result, face)
    apart = np.linalg.norm(found.dense - face.dense, axis=1).mean()
    assert apart / interocular(face.dense) < 0.1


def test_faces_apart_are_replaced_together_as_one_by_one() -> None:
    a, face_a = portrait(MAN)
    b, face_b = portrait(WOMAN)
    frame = np.hstack([a, b])
    second = moved(face_b, 1.0, (a.shape[1], 0))
    replacements = [Replacement(face_a, source(WOMAN)), Replacement(second, source(MAN))]
    together = SWAPPER.swap(frame, replacements)
    one_by_one = SWAPPER.swap(SWAPPER.swap(frame, replacements[1:]), replacements[:1])
    assert (together == one_by_one).all()
    assert (together[:, : a.shape[1]] == SWAPPER.swap(frame, replacements[:1])[:, : a.shape[1]]).all()


@pytest.mark.parametrize("shift", [(-300, 0), (0, -280), (250, 0), (0, 250), (-3000, 0)])
def test_a_face_over_the_border_is_replaced_as_far_as_it_is_seen(shift: tuple[int, int]) -> None:
    picture, face = portrait(MAN)
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
    frame = cv2.warpAffine(picture, matrix, picture.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    there = moved(face, 1.0, shift)
    result = SWAPPER.swap(frame, [Replacement(there, source(WOMAN))])
    where = changed(frame, result)
    assert not where[~around(there, frame.shape)].any()
    assert where.any() == (shift[0] > -3000)


def test_a_source_that_its_picture_cuts_off_is_taken_as_far_as_it_goes() -> None:
    picture, face = portrait(WOMAN)
    left = round(float(face.dense[36, 0]))
    half = SourceFace(np.ascontiguousarray(picture[:, left:]), moved(face, 1.0, (-left, 0)))
    frame, target = portrait(MAN)
    result = SWAPPER.swap(frame, [Replacement(target, half)])
    where = changed(frame, result)
    assert where.any() and not where[~around(target, frame.shape)].any()


def test_a_face_of_twenty_pixels() -> None:
    picture, face = portrait(MAN)
    scale = 20 / float(face.box[3] - face.box[1])
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    frame = np.full((200, 300, 3), 90, np.uint8)
    frame[50 : 50 + len(small), 100 : 100 + small.shape[1]] = small
    there = moved(face, scale, (100, 50))
    result = SWAPPER.swap(frame, [Replacement(there, source(WOMAN))])
    where = changed(frame, result)
    assert where[around(there, frame.shape)].mean() > 0.2
    assert not where[~around(there, frame.shape, 0.4)].any()


def test_a_face_of_one_pixel_is_left_alone() -> None:
    picture, face = portrait(MAN)
    tiny = moved(face, 0.004, (30, 30))
    assert (SWAPPER.swap(picture, [Replacement(tiny, source(WOMAN))]) == picture).all()


def test_a_huge_face_takes_memory_for_its_strips_not_for_itself() -> None:
    picture, face = portrait(MAN)
    scale = 9.0
    frame = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    replacement = Replacement(moved(face, scale), source(WOMAN))
    tracemalloc.start()
    result = SWAPPER.swap(frame, [replacement])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (result != frame).any()
    assert peak < frame.nbytes + 150e6


def test_a_profile_is_answered_with_a_picture() -> None:
    frame, face = portrait("faker/female_65.jpg")
    result = SWAPPER.swap(frame, [Replacement(face, source(WOMAN))])
    back = SWAPPER.swap(*_onto(MAN, SourceFace(frame, face)))
    assert (result != frame).any() and (back != portrait(MAN)[0]).any()


def _onto(name: str, face: SourceFace) -> tuple[RGBImage, list[Replacement]]:
    picture, target = portrait(name)
    return picture, [Replacement(target, face)]


def test_a_grey_picture_stays_grey() -> None:
    picture, face = portrait(MAN)
    gray = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    result = SWAPPER.swap(gray, [Replacement(face, source(WOMAN))]).astype(int)
    where = changed(gray, result)
    tinted = (result.max(axis=2) - result.min(axis=2))[where]
    assert where.any() and np.percentile(tinted, 95) < 40


def test_what_lies_over_the_cheek_stays() -> None:
    picture, face = portrait(MAN)
    frame = picture.copy()
    x, y = face.dense[3].astype(int)
    unit = interocular(face.dense)
    cv2.rectangle(
        frame,
        (int(x - unit), int(y - 0.25 * unit)),
        (int(x + 0.5 * unit), int(y + 0.25 * unit)),
        (20, 160, 40),
        -1,
    )
    result = SWAPPER.swap(frame, [Replacement(face, source(WOMAN))])
    green = (frame == (20, 160, 40)).all(axis=2)
    kept = cv2.erode(green.astype(np.uint8), np.ones((9, 9))) > 0
    assert np.abs(frame.astype(int) - result)[kept].mean() < 6


def test_glasses_of_the_target_stay_on() -> None:
    frame, face = portrait("compreface_samples/009_C.jpg")
    result = SWAPPER.swap(frame, [Replacement(face, source("london/024_neutral.jpg"))])
    left, right = face.dense[39], face.dense[42]
    x1, x2 = int(left[0] + 0.25 * (right[0] - left[0])), int(right[0] - 0.25 * (right[0] - left[0]))
    y1, y2 = int(face.dense[27, 1] - 6), int(face.dense[28, 1] + 6)
    bridge = np.s_[y1:y2, x1:x2]
    assert frame[bridge].min(axis=0).mean() < 90, "the frame of the glasses is dark on the bridge"
    assert np.abs(frame[bridge].min(axis=0).astype(int) - result[bridge].min(axis=0)).mean() < 25


def test_behind_dark_glasses_the_light_is_judged_by_the_skin() -> None:
    frame = read(require(DATA / "compreface_samples/000_5.jpg"))
    face = min(faces_of(frame), key=lambda found: float(found.box[0]))
    result = SWAPPER.swap(frame, [Replacement(face, source("london/002_smiling.jpg"))])
    mouth = cv2.fillConvexPoly(np.zeros(frame.shape[:2], np.uint8), face.dense[60:68].astype(int), 1) > 0
    cheeks = (
        cv2.fillConvexPoly(np.zeros(frame.shape[:2], np.uint8), face.dense[[3, 31, 48]].astype(int), 1) > 0
    )
    pixels = result[mouth]
    teeth = pixels[pixels.sum(axis=1) >= np.median(pixels.sum(axis=1))].mean(axis=0)
    assert teeth.mean() > 0.8 * result[cheeks].mean()
    assert teeth.max() < 1.25 * teeth.min(), "the green of the glasses does not lie on the teeth"


def test_an_open_mouth_shows_the_targets_teeth_and_a_shut_one_none() -> None:
    smiling, face = portrait("faker/female_22.jpg")
    result = SWAPPER.swap(smiling, [Replacement(face, source("london/012_neutral.jpg"))])
    mouth = cv2.fillConvexPoly(np.zeros(smiling.shape[:2], np.uint8), face.dense[60:68].astype(int), 1)
    inside = cv2.erode(mouth, np.ones((3, 3))) > 0
    assert np.abs(smiling.astype(int) - result)[inside].mean() < 12


@pytest.mark.parametrize("frame", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3), np.float32)])
def test_another_kind_of_frame_is_refused(frame: np.ndarray) -> None:
    with pytest.raises(ValueError, match="must be"):
        SWAPPER.swap(frame, [])


def test_landmarks_that_are_no_numbers_are_refused() -> None:
    _, face = portrait(MAN)
    with pytest.raises(ValueError, match="mesh"):
        FaceGeometry(face.box, face.landmarks, np.full((468, 3), np.nan, np.float32))
    with pytest.raises(ValueError, match="landmarks"):
        FaceGeometry(face.box, face.dense, face.mesh)


def test_every_face_of_a_group_is_replaced_in_one_pass(group_picture) -> None:
    frame = read(group_picture)
    faces = faces_of(frame)
    assert len(faces) >= 6
    result = SWAPPER.swap(frame, [Replacement(face, source(WOMAN)) for face in faces])
    where = changed(frame, result)
    for face in faces:
        assert where[inner(face, frame.shape)].mean() > 0.6
    allowed = np.logical_or.reduce([around(face, frame.shape) for face in faces])
    assert not where[~allowed].any()
