from functools import cache
from itertools import islice

import numpy as np
import pytest
from PIL import Image

from prosopon.configs.settings import DetectionSettings
from prosopon.models.faces.attributes.mask import CLASSES, CROP, WEIGHTS, MaskClassifierNet
from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.load import load_detector
from prosopon.models.pictures.crops import cut
from prosopon.models.roles import FaceDetector
from prosopon.models.runtime.session import Compute
from prosopon.models.training.mask.faces import Landmarks68
from prosopon.models.training.mask.render import Wear, upright, wear_mask
from tests.paths import DATA, require
from tests.weights import model_settings, weights


@cache
def classifier() -> MaskClassifierNet:
    return MaskClassifierNet(WEIGHTS, Compute())


@cache
def detector() -> FaceDetector:
    """As it is served: it looks again where a face fills the picture."""
    weights("centerface")
    return load_detector(model_settings(), DetectionSettings(), Compute())


def chip_of(picture: RGBImage) -> RGBImage:
    face = detector().detect([picture], 0.2)[0]
    return cut(picture, face.boxes[0], face.landmarks[0], CROP).pixels


@cache
def people() -> tuple[tuple[RGBImage, Float32], ...]:
    """Twelve studio portraits, with 68 landmarks."""
    landmarks = Landmarks68(weights("dlib-landmarks68").path)
    found = []
    for path in islice(sorted(require(DATA / "london").glob("*_neutral.jpg")), 12):
        picture = np.asarray(Image.open(path).convert("RGB").resize((320, 320)))
        five = detector().detect([picture], 0.3)[0].landmarks[0]
        found.append((picture, landmarks.predict(picture, five)))
    return tuple(found)


def answers(wear: Wear) -> list[str]:
    rng = np.random.default_rng(7)
    pictures = [
        picture if wear is Wear.WITHOUT else wear_mask(rng, picture, points, wear)
        for picture, points in people()
    ]
    return [
        mask.value for mask in classifier().classify(np.stack([chip_of(picture) for picture in pictures]))
    ]


@pytest.mark.parametrize("wear", list(Wear))
def test_rendered_masks_are_told_apart(wear: Wear) -> None:
    found = answers(wear)
    assert found.count(CLASSES[wear]) >= 11, found


@pytest.mark.parametrize(
    ("folder", "expected"), [("with_mask", "mask_worn_correctly"), ("without_mask", "without_mask")]
)
def test_photographs_are_told_apart(folder: str, expected: str) -> None:
    files = sorted(require(DATA / "mask" / folder).glob("*.jpg"))[::5]
    values = []
    for file in files:
        picture = np.asarray(Image.open(file).convert("RGB"))
        if len(detector().detect([picture], 0.2)[0]):
            values.append(classifier().classify(chip_of(picture)[None])[0].value)
    assert len(values) >= 0.8 * len(files), "the detector found too few faces"
    assert values.count(expected) >= 0.9 * len(values), values


def test_a_batch_answers_like_its_members() -> None:
    chips = np.stack([chip_of(picture) for picture, _ in people()[:4]])
    together = classifier().probabilities(chips)
    alone = np.concatenate([classifier().probabilities(chip[None]) for chip in chips])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-5)


def test_no_faces_no_answers() -> None:
    assert classifier().classify(np.empty((0, CROP.size, CROP.size, 3), np.uint8)) == []


def test_the_weights_are_small_and_named() -> None:
    assert WEIGHTS.stat().st_size < 1_000_000
    assert classifier().fingerprint.startswith("prosopon-mask-")


def test_upright_makes_the_eyes_level() -> None:
    points = np.zeros((68, 2), np.float32)
    points[36:42], points[42:48] = (10, 20), (40, 50)
    left, right = (points @ upright(points).T)[[36, 42]]
    assert left[1] == pytest.approx(right[1], abs=1e-4)
    assert left[0] < right[0]


def test_a_mask_worn_correctly_covers_the_mouth_and_leaves_the_eyes() -> None:
    picture, points = people()[0]
    masked = wear_mask(np.random.default_rng(1), picture, points, Wear.CORRECT)
    change = np.abs(masked.astype(int) - picture.astype(int)).sum(axis=2)
    eyes, mouth = points[36:48].astype(int), points[48:68].astype(int)
    assert np.median(change[mouth[:, 1], mouth[:, 0]]) > 20
    # The mask's shadow may touch the lower lids.
    assert np.median(change[eyes[:, 1], eyes[:, 0]]) < 15
