"""Swapping whole files with the real models: which face is replaced, what comes out, and what cannot be done."""

import io
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from prosopon.configs.settings import DetectionSettings, ImageLimits, SwapSettings
from prosopon.models.load import UnknownModel, load_detector, load_landmarks, load_swap_judge
from prosopon.models.pictures.decoding import ImageError
from prosopon.models.roles import FaceDetector, FaceEmbedder, LandmarkPredictor
from prosopon.models.runtime.session import Compute
from prosopon.models.swap.face_swap import FaceSwap
from prosopon.models.swap.types import FaceSwapper, NoSwap, OutOfTime, Replacement
from prosopon.models.swap.warp import WarpSwapper
from tests.weights import model_settings, weights


def face_swap(settings: SwapSettings | None = None) -> FaceSwap:
    for name in ("centerface", "mediapipe-face-mesh"):
        weights(name)
    return FaceSwap.load(
        model_settings(),
        DetectionSettings(),
        ImageLimits(),
        settings or SwapSettings(method="warp"),
        Compute(),
    )


@cache
def _models() -> tuple[FaceDetector, LandmarkPredictor, FaceEmbedder]:
    """The detector, the mesh and the judge, which no setting of swaps changes."""
    for name in ("centerface", "mediapipe-face-mesh", "face-reidentification-retail-0095"):
        weights(name)
    models, compute = model_settings(), Compute()
    judge = load_swap_judge(models, compute)
    return load_detector(models, DetectionSettings(), compute), load_landmarks(models, compute), judge


def made_by(settings: SwapSettings | None = None, **swappers: Callable[[], FaceSwapper]) -> FaceSwap:
    detector, landmarks, judge = _models()
    return FaceSwap(
        detector, landmarks, swappers, judge, DetectionSettings(), ImageLimits(), settings or SwapSettings()
    )


def warping(format: str) -> FaceSwap:
    return made_by(SwapSettings(method="warp", format=format), warp=WarpSwapper)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def swapping() -> FaceSwap:
    return face_swap()


@pytest.fixture
def group(group_picture: Path) -> bytes:
    return group_picture.read_bytes()


@cache
def _halved(path: Path) -> bytes:
    """A picture of a quarter of the pixels: what comes out of a swap does not depend on how many there are."""
    with Image.open(path) as picture:
        return _file(picture.reduce(2), "JPEG", quality=95)


@pytest.fixture
def face(london: list[Path]) -> bytes:
    return _halved(london[3])


@pytest.fixture
def portrait(london: list[Path]) -> bytes:
    """Of somebody else."""
    return _halved(london[0])


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def nobody() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (96, 96), "green").save(stream, "PNG")
    return stream.getvalue()


def test_faces_are_counted_from_left_to_right(swapping: FaceSwap, group: bytes) -> None:
    found = swapping.faces(group)
    assert (found.width, found.height) == Image.open(io.BytesIO(group)).size
    assert len(found.boxes) == 6
    assert list(found.boxes) == sorted(found.boxes)
    assert swapping.faces(nobody()).boxes == ()


def test_an_index_replaces_the_face_that_it_counts_and_nothing_else(
    swapping: FaceSwap, group: bytes, face: bytes
) -> None:
    boxes = swapping.faces(group).boxes
    result = swapping.swap(group, [face, face], [4, 1])
    assert (result.media_type, result.suffix) == ("image/png", ".png")
    changed = (pixels(result.data) != pixels(group)).any(axis=2)
    for index, (x1, y1, x2, y2) in enumerate(boxes):
        share = changed[y1:y2, x1:x2].mean()
        assert (share > 0.3) == (index in (1, 4)), (index, share)


def test_without_an_index_the_biggest_face_is_replaced(swapping: FaceSwap, group: bytes, face: bytes) -> None:
    boxes = swapping.faces(group).boxes
    biggest = max(range(6), key=lambda i: (boxes[i][2] - boxes[i][0]) * (boxes[i][3] - boxes[i][1]))
    alone = swapping.swap(group, [face], None)
    assert alone.data == swapping.swap(group, [face], [biggest]).data


def test_what_cannot_be_swapped_is_told(swapping: FaceSwap, group: bytes, face: bytes) -> None:
    with pytest.raises(NoSwap, match="no face is found in source_image"):
        swapping.swap(nobody(), [face], None)
    with pytest.raises(NoSwap, match="no face is found in face_image number 2"):
        swapping.swap(group, [face, nobody()], [0, 1])
    with pytest.raises(NoSwap, match="index 6 is out of range: source_image has 6 faces"):
        swapping.swap(group, [face], [6])
    with pytest.raises(ImageError, match="source_image: "):
        swapping.swap(b"x", [face], None)
    with pytest.raises(ImageError, match="face_image: "):
        swapping.swap(group, [face[:1000]], None)


@pytest.mark.parametrize(
    ("wanted", "source", "media_type"),
    [
        ("jpg", "PNG", "image/jpeg"), ("webp", "JPEG", "image/webp"), ("source", "JPEG", "image/jpeg"),
        ("source", "WEBP", "image/webp"), ("source", "PNG", "image/png"), ("source", "BMP", "image/png"),
    ],
)  # fmt: skip
def test_results_have_the_format_of_the_settings(
    wanted: str, source: str, media_type: str, face: bytes
) -> None:
    stream = io.BytesIO()
    Image.open(io.BytesIO(face)).save(stream, source)
    result = warping(wanted).swap(stream.getvalue(), [face], None)
    assert result.media_type == media_type
    with Image.open(io.BytesIO(result.data)) as picture:
        assert Image.MIME[picture.format or ""] == media_type
        assert picture.size == Image.open(io.BytesIO(face)).size


@cache
def _profile() -> bytes:
    """Little CMS's own sRGB, which says when it was made."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _file(picture: Image.Image, format: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("wanted", "source"), [("png", "PNG"), ("png", "JPEG"), ("source", "WEBP"), ("source", "JPEG")]
)
def test_a_profile_stays(wanted: str, source: str, face: bytes) -> None:
    own = Image.open(io.BytesIO(face)).convert("RGB")
    result = warping(wanted).swap(_file(own, source, icc_profile=_profile()), [face], None)
    assert Image.open(io.BytesIO(result.data)).info["icc_profile"] == _profile()


def test_a_profile_of_another_kind_of_colours_is_left_out(swapping: FaceSwap, face: bytes) -> None:
    cmyk = Image.open(io.BytesIO(face)).convert("CMYK")
    named = _profile()[:16] + b"CMYK" + _profile()[20:]
    result = swapping.swap(_file(cmyk, "JPEG", icc_profile=named), [face], None)
    picture = Image.open(io.BytesIO(result.data))
    assert picture.mode == "RGB" and "icc_profile" not in picture.info


@pytest.mark.parametrize("wanted", ["png", "jpg"])
def test_a_grey_picture_stays_grey(wanted: str, face: bytes) -> None:
    grey = Image.open(io.BytesIO(face)).convert("L")
    result = Image.open(io.BytesIO(warping(wanted).swap(_file(grey), [face], None).data))
    assert result.mode == "L"
    if wanted == "png":
        outside = np.asarray(result)[:20] == np.asarray(grey)[:20]
        assert outside.all() and (np.asarray(result) != np.asarray(grey)).mean() > 0.05


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_what_is_transparent_stays_so(format: str, face: bytes) -> None:
    own = Image.open(io.BytesIO(face)).convert("RGB")
    alpha = np.full((own.height, own.width), 255, np.uint8)
    alpha[: own.height // 2, :] = 128  # Through the face.
    alpha[:, :30] = 0
    own.putalpha(Image.fromarray(alpha))
    source = _file(own, format, **({"lossless": True, "exact": True} if format == "WEBP" else {}))
    swapping = warping("png")
    result = Image.open(io.BytesIO(swapping.swap(source, [face], None).data))
    assert result.mode == "RGBA"
    after, before = np.asarray(result), np.asarray(own)
    assert (after[..., 3] == alpha).all(), "alpha"
    assert (after[:, :30] == before[:, :30]).all(), "what cannot be seen"
    changed = (after != before).any(axis=2)
    assert (after[:20] == before[:20]).all() and 0.05 < changed.mean() < 0.6
    # Over white it is what a swap in the picture over white gives: here Pillow lays both over it.
    over = Image.new("RGBA", own.size, "white")
    over.alpha_composite(own)
    opaque = pixels(swapping.swap(_file(over.convert("RGB")), [face], None).data).astype(int)
    shown = Image.new("RGBA", own.size, "white")
    shown.alpha_composite(result)
    differences = np.abs(np.asarray(shown.convert("RGB")).astype(int) - opaque)
    # Half transparent pixels can be no darker than black over white is.
    possible = alpha == 255
    assert differences[possible].max() == 0 and differences.mean() < 1


class Idle:
    """Leaves the picture as it is: a swap that failed."""

    name = "idle"
    fingerprint = "idle"

    def swap(self, frame: np.ndarray, replacements: object) -> np.ndarray:
        return frame.copy()


def test_a_result_that_fails_is_made_by_the_next_method(portrait: bytes, face: bytes) -> None:
    swapped = made_by(idle=Idle, warp=WarpSwapper).swap(portrait, [face], None)
    assert swapped.method == "warp"
    assert swapped.similarity is not None and 0.15 < swapped.similarity <= 1


class Slow(Idle):
    def swap(self, frame: np.ndarray, replacements: object) -> np.ndarray:
        raise OutOfTime("20 steps take more than 30 seconds")


def test_what_cannot_be_made_in_time_is_made_by_the_next_method(portrait: bytes, face: bytes) -> None:
    assert made_by(regenerate=Slow, warp=WarpSwapper).swap(portrait, [face], None).method == "warp"
    with pytest.raises(NoSwap, match="could not be made in time"):
        made_by(slow=Slow).swap(portrait, [face], None)


def test_where_every_method_fails_the_task_does_and_says_why(portrait: bytes, face: bytes) -> None:
    with pytest.raises(NoSwap, match="face_image: the result is not like the face that was put in"):
        made_by(idle=Idle, again=Idle).swap(portrait, [face], None)


def test_of_many_faces_only_quick_methods_are_asked(group: bytes, face: bytes) -> None:
    def never() -> FaceSwapper:
        raise AssertionError("it takes ten seconds for each")

    swapping = made_by(regenerate=never, warp=WarpSwapper)
    assert swapping.swap(group, [face] * 4, [4, 1, 2, 5]).method == "warp"
    with pytest.raises(AssertionError, match="ten seconds"):
        swapping.swap(group, [face] * 3, [4, 1, 2])


class Watched(WarpSwapper):
    """How many faces it was asked for, each time."""

    name = "regenerate"

    def __init__(self) -> None:
        self.asked: list[int] = []

    def swap(self, frame: np.ndarray, replacements: Sequence[Replacement]) -> np.ndarray:
        self.asked.append(len(replacements))
        return super().swap(frame, replacements)


def changed(result: bytes, picture: bytes, box: Sequence[int]) -> float:
    """The share of a box's pixels that are others."""
    x1, y1, x2, y2 = box
    return float((pixels(result) != pixels(picture))[y1:y2, x1:x2].any(axis=2).mean())


def test_large_faces_are_made_anew_one_by_one_and_small_ones_warped(london: list[Path], face: bytes) -> None:
    with Image.open(london[0]) as one, Image.open(london[1]) as other:
        small = other.resize((other.width // 8, other.height // 8), Image.Resampling.BOX)
        both = Image.new("RGB", (2 * one.width + small.width, one.height), "white")
        for x, part in ((0, one), (one.width, other), (2 * one.width, small)):
            both.paste(part, (x, 0))
    picture, anew = _file(both), Watched()
    result = made_by(regenerate=lambda: anew, warp=WarpSwapper).swap(picture, [face] * 3, [0, 1, 2])
    assert anew.asked == [1, 1]
    assert result.method == "regenerate and warp"
    boxes = made_by(warp=WarpSwapper).faces(picture).boxes
    assert all(changed(result.data, picture, box) > 0.3 for box in boxes) and len(boxes) == 3


def test_of_several_faces_only_those_that_fail_are_made_by_the_next_method(group: bytes, face: bytes) -> None:
    class Partly(WarpSwapper):
        """Leaves every face but the first as it is."""

        name = "partly"

        def swap(self, frame: np.ndarray, replacements: Sequence[Replacement]) -> np.ndarray:
            return super().swap(frame, replacements[:1])

    next_one = Watched()
    next_one.name = "next"
    result = made_by(partly=Partly, next=lambda: next_one).swap(group, [face, face], [4, 1])
    assert (next_one.asked, result.method) == ([1], "partly and next")
    boxes = made_by(warp=WarpSwapper).faces(group).boxes
    assert min(changed(result.data, group, boxes[index]) for index in (4, 1)) > 0.3
    with pytest.raises(
        NoSwap, match=r"^face_image number 2: the result is not like the face that was put in$"
    ):
        made_by(partly=Partly, again=Idle).swap(group, [face, face], [4, 1])


def test_best_makes_large_faces_anew_where_nobody_waits(london: list[Path], face: bytes) -> None:
    def never() -> FaceSwapper:
        raise AssertionError("it takes ten seconds")

    swapping = made_by(regenerate=never, warp=WarpSwapper)
    picture = london[0].read_bytes()
    assert swapping.swap(picture, [face], None, hurried=lambda: True).method == "warp"
    with Image.open(io.BytesIO(picture)) as large:
        small = _file(large.resize((large.width // 8, large.height // 8), Image.Resampling.BOX))
    assert swapping.swap(small, [face], None).method == "warp"
    with pytest.raises(AssertionError, match="ten seconds"):
        swapping.swap(picture, [face], None)


def test_nobody_counts_who_waits_where_there_is_nothing_slow_to_leave_out(
    portrait: bytes, face: bytes
) -> None:
    def unasked() -> bool:
        raise AssertionError("the tasks were counted")

    assert made_by(warp=WarpSwapper).swap(portrait, [face], None, hurried=unasked).method == "warp"
    with pytest.raises(AssertionError, match="counted"):
        made_by(regenerate=WarpSwapper, warp=WarpSwapper).swap(portrait, [face], None, hurried=unasked)


def test_the_method_of_the_settings_is_the_one_that_serves() -> None:
    assert face_swap(SwapSettings(method="warp", retry=False)).methods.names == ("warp",)
    for name in ("face-reidentification-retail-0095", "mobilestylegan-mapper", "mobilestylegan-generator"):
        weights(name)
    assert face_swap(SwapSettings(method="best")).methods.names == ("regenerate", "warp")
    assert SwapSettings().method == "best"
    assert face_swap(SwapSettings(method="warp")).methods.names == ("warp", "regenerate")
    assert face_swap(SwapSettings(method="regenerate", retry=False)).methods.names == ("regenerate", "warp")
    with pytest.raises(UnknownModel, match="inswapper"):
        face_swap(SwapSettings(method="inswapper"))
