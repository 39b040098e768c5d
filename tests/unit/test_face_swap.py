"""Swapping whole files with the real models: which face is replaced, what comes out, and what cannot be done."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prosopon.configs.settings import DetectionSettings, ImageLimits, SwapSettings
from prosopon.models.pictures.decoding import ImageError
from prosopon.models.runtime.session import Compute
from prosopon.models.swap.face_swap import FaceSwap, NoSwap
from tests.weights import model_settings, weights


def face_swap(settings: SwapSettings | None = None) -> FaceSwap:
    for name in ("centerface", "mediapipe-face-mesh"):
        weights(name)
    return FaceSwap.load(
        model_settings(), DetectionSettings(), ImageLimits(), settings or SwapSettings(), Compute()
    )


@pytest.fixture(scope="module")
def swapping() -> FaceSwap:
    return face_swap()


@pytest.fixture
def group(group_picture: Path) -> bytes:
    return group_picture.read_bytes()


@pytest.fixture
def face(london: list[Path]) -> bytes:
    return london[3].read_bytes()


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
    result = face_swap(SwapSettings(format=wanted)).swap(stream.getvalue(), [face], None)  # type: ignore[arg-type]
    assert result.media_type == media_type
    with Image.open(io.BytesIO(result.data)) as picture:
        assert Image.MIME[picture.format or ""] == media_type
        assert picture.size == Image.open(io.BytesIO(face)).size
