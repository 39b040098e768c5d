"""Grey stays grey and sepia sepia: by the swapper, whatever the colours of the face that comes in."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from prosopon.models.faces.detections import RGBImage
from prosopon.models.swap.toning import toning
from prosopon.models.swap.types import Replacement, SourceFace
from prosopon.models.swap.warp import WarpSwapper
from tests.faces import face_near, portrait

WITHOUT_COLOURS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "grey": lambda picture: picture.convert("L").convert("RGB"),
    "sepia": lambda picture: ImageOps.colorize(picture.convert("L"), (24, 14, 6), (255, 240, 205), (150, 120, 85)),
    "blue": lambda picture: ImageOps.colorize(picture.convert("L"), (0, 10, 40), (225, 240, 255)),
}  # fmt: skip


def saturation_left(picture: RGBImage) -> float:
    """Mean distance of a colour from the mean of all that are as bright, of 255: of what has one tone, nearly none."""
    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).ravel() // 4
    pixels = picture.reshape(-1, 3).astype(np.float64)
    counts = np.maximum(np.bincount(luma, minlength=64), 1)
    means = np.stack([np.bincount(luma, pixels[:, c], 64) / counts for c in range(3)], axis=1)
    return float(np.abs(pixels - means[luma]).mean())


@pytest.mark.parametrize("kind", WITHOUT_COLOURS)
@pytest.mark.parametrize("name", ["london/002_neutral.jpg", "faker/female_11.jpg"])
def test_a_picture_of_one_tone_keeps_it(kind: str, name: str) -> None:
    picture, face = portrait(name)
    toned = np.asarray(WITHOUT_COLOURS[kind](Image.fromarray(picture)))
    source = SourceFace(*portrait("faker/male_50.jpg"))
    result = WarpSwapper().swap(toned, [Replacement(face_near(toned, face), source)])
    x1, y1, x2, y2 = face.box.astype(int)
    assert (result[y1:y2, x1:x2] != toned[y1:y2, x1:x2]).mean() > 0.5
    before, after = (saturation_left(part[y1:y2, x1:x2]) for part in (toned, result))
    assert after < before + 0.5
    if kind == "grey":
        assert (np.ptp(result, axis=2) <= 1).all()


@pytest.mark.parametrize("name", ["london/002_neutral.jpg", "faker/female_11.jpg", "faker/male_50.jpg"])
def test_a_picture_in_colour_is_left_alone(name: str) -> None:
    picture, face = portrait(name)
    x1, y1, x2, y2 = face.box.astype(int)
    part = picture[y1:y2, x1:x2].astype(np.float32)
    tone = toning(part)
    assert tone.share == 0 and (tone.apply(part) == part).all()
