"""How far an embedding can be trusted: better pictures have more, and what cannot be told apart has little."""

from functools import cache
from itertools import islice

import numpy as np
import pytest
from PIL import Image

from prosopon.configs.settings import DetectionSettings
from prosopon.models.evaluation.degradations import blurred, shrunk
from prosopon.models.evaluation.embedded import Change
from prosopon.models.faces.attributes.quality import WEIGHTS, QualityNet
from prosopon.models.faces.detections import Detections, RGBImage
from prosopon.models.load import load_detector
from prosopon.models.pictures.crops import cut
from prosopon.models.roles import FaceDetector
from prosopon.models.runtime.session import Compute
from tests.paths import DATA, require
from tests.weights import model_settings, weights


@cache
def network() -> QualityNet:
    return QualityNet(WEIGHTS, Compute())


@cache
def detector() -> FaceDetector:
    weights("centerface")
    return load_detector(model_settings(), DetectionSettings(), Compute())


@cache
def portraits() -> tuple[tuple[RGBImage, Detections], ...]:
    """Twelve from a studio, with where their faces are."""
    paths = islice(sorted(require(DATA / "london").glob("*_neutral.jpg")), 12)
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    return tuple((picture, detector().detect([picture], 0.5)[0]) for picture in pictures)


def qualities(change: Change | None = None) -> np.ndarray:
    """Of the portraits, each changed where its face was found before."""
    chips = []
    for picture, face in portraits():
        seen = change(picture, face) if change else picture
        chips.append(cut(seen, face.boxes[0], face.landmarks[0], network().crop).pixels)
    return network().estimate(np.stack(chips))


def test_a_studio_portrait_can_be_trusted() -> None:
    assert (qualities() > 0.8).all()


@pytest.mark.parametrize(
    "worse", [(shrunk(32), shrunk(16), shrunk(8)), (blurred(2), blurred(5), blurred(10))]
)
def test_the_worse_a_picture_the_less_it_is_trusted(worse: tuple[Change, ...]) -> None:
    means = [qualities().mean(), *(qualities(change).mean() for change in worse)]
    assert means == sorted(means, reverse=True)
    assert means[-1] < 0.4


def test_no_face_has_no_quality() -> None:
    assert network().estimate(np.empty((0, 64, 64, 3), np.uint8)).shape == (0,)
