"""Faces that one look at a shrunk, upright picture does not find, or finds badly, on people of the London set."""

from functools import cache
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from prosopon.configs.settings import DetectionSettings
from prosopon.models.faces.detections import Detections, Float32, RGBImage
from prosopon.models.faces.looking import FULL_SIZE, LookingAgain, _starts
from prosopon.models.load import load_detector, load_embedder
from prosopon.models.matching.calibration import load_similarity
from prosopon.models.matching.vectors import normalize
from prosopon.models.pictures.crops import cut, roll_of
from prosopon.models.roles import FaceDetector, FaceEmbedder
from prosopon.models.runtime.session import Compute
from tests.benchmarks.embeddings import london, settings
from tests.faces import read
from tests.weights import default_embedder, model_settings

PEOPLE = 6


@cache
def models() -> tuple[FaceDetector, FaceEmbedder]:
    chosen = settings(detector="centerface", embedder=default_embedder())
    return load_detector(chosen, DetectionSettings(), Compute()), load_embedder(chosen, Compute())


def biggest(picture: RGBImage, det_size: int | None = None) -> Detections:
    return models()[0].detect([picture], 0.5, det_size)[0].largest_first()


def embedding(picture: RGBImage, det_size: int | None = None) -> Float32 | None:
    faces = biggest(picture, det_size)
    if not len(faces):
        return None
    chip = cut(picture, faces.boxes[0], faces.landmarks[0], models()[1].crop).pixels
    return normalize(models()[1].embed(chip[np.newaxis]))[0]


@cache
def people() -> list[tuple[Path, Float32]]:
    """The smiling picture, and what is enrolled of the neutral one."""
    pairs = list(zip(london("smiling"), london("neutral"), strict=True))[5::17][:PEOPLE]
    if not pairs:
        pytest.skip("london is not there: evaluation data is not part of the project")
    return [(probe, found) for probe, path in pairs if (found := embedding(read(path))) is not None]


def recognised(probes: list[RGBImage], det_size: int | None = None) -> int:
    """At 0.5, where one stranger in a hundred is."""
    curve = load_similarity(model_settings(), models()[1].fingerprint)
    found = [embedding(probe, det_size) for probe in probes]
    return sum(
        probe is not None and float(curve.of_inner_products(np.float32(probe @ enrolled))) >= 0.5
        for probe, (_, enrolled) in zip(found, people(), strict=True)
    )


def turned(picture: RGBImage, degrees: float) -> RGBImage:
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1)
    return np.asarray(
        cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


@pytest.mark.parametrize("degrees", [70, 90, 180, 270])
def test_turned_people_are_recognised(degrees: float) -> None:
    assert recognised([turned(read(path), degrees) for path, _ in people()]) >= len(people()) - 1


def test_the_roll_of_a_turned_face_is_the_turn() -> None:
    picture = read(people()[0][0])
    for degrees in (0, 40, 90, 180):
        found = roll_of(biggest(turned(picture, degrees)).landmarks[0])
        assert abs((found - degrees + 180) % 360 - 180) < 12


@pytest.mark.parametrize("pixels", [128, 300, 720])
def test_a_face_that_fills_the_picture_is_recognised(pixels: int) -> None:
    probes = []
    for path, _ in people():
        picture = read(path)
        x1, y1, x2, y2 = biggest(picture).boxes[0]
        half = max(x2 - x1, y2 - y1) * 0.4
        x, y = int((x1 + x2) / 2), int((y1 + y2) / 2)
        tight = picture[max(0, int(y - half)) : int(y + half), max(0, int(x - half)) : int(x + half)]
        probes.append(np.asarray(cv2.resize(tight, (pixels, pixels), interpolation=cv2.INTER_AREA), np.uint8))
    assert recognised(probes) >= len(people()) - 1


def test_small_faces_are_found_at_full_size_where_it_is_asked_for() -> None:
    picture, (path, _) = np.full((2000, 3000, 3), 128, np.uint8), people()[0]
    portrait = read(path)
    ratio = 36 / float(biggest(portrait).boxes[0, 2] - biggest(portrait).boxes[0, 0])
    small = cv2.resize(portrait, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)
    # The second lies across the border of two tiles.
    corners = [(200, 300), (1180, 700), (2600, 1700)]
    for x, y in corners:
        picture[y : y + small.shape[0], x : x + small.shape[1]] = small
    assert len(biggest(picture)) == 0
    found = biggest(picture, FULL_SIZE)
    assert len(found) == len(corners)
    assert (np.abs(found.boxes[:, 2] - found.boxes[:, 0] - 36) < 12).all()


class Counting:
    """How often a detector is asked."""

    name, fingerprint = "counting", "counting-0-1"

    def __init__(self, detector: FaceDetector) -> None:
        self._detector, self.asked = detector, 0

    def detect(
        self, images: list[RGBImage], score_threshold: float, det_size: int | None = None
    ) -> list[Detections]:
        self.asked += 1
        return self._detector.detect(images, score_threshold, det_size)


def test_the_ordinary_picture_is_looked_at_once() -> None:
    counting = Counting(models()[0]._detector)  # type: ignore[attr-defined]
    faces = LookingAgain(counting, 640, 0.3).detect([read(people()[0][0])], 0.5)[0]
    assert (counting.asked, len(faces)) == (1, 1)


class Scripted:
    """A detector that answers what it is told, in turn."""

    name, fingerprint = "scripted", "scripted-0-1"

    def __init__(self, *answers: Detections) -> None:
        self._answers = list(answers)

    def detect(
        self, images: list[RGBImage], score_threshold: float, det_size: int | None = None
    ) -> list[Detections]:
        return [self._answers.pop(0)]


def one_face(landmarks: Float32, scale: float, shift: float) -> Detections:
    """A face of 200 px, as it lies in a copy of the picture."""
    box = np.array([[20, 20, 220, 220]], np.float32)
    return Detections(box * scale + shift, np.ones(1, np.float32), (landmarks * scale + shift)[np.newaxis])


def test_landmarks_of_two_looks_that_agree_are_averaged() -> None:
    picture = np.zeros((240, 240, 3), np.uint8)
    first = np.array([[80, 90], [160, 90], [120, 130], [90, 170], [150, 170]], np.float32)
    for moved, expected in ((6, first + 3), (30, first + 30)):
        # The copy of 160 px has a border of 80.
        second = one_face(first + moved, 160 / 240, 80)
        [found] = LookingAgain(Scripted(one_face(first, 1, 0), second), 640, 0.3).detect([picture], 0.5)
        assert len(found) == 1
        np.testing.assert_allclose(found.landmarks[0], expected, atol=0.01)


@pytest.mark.parametrize("side", [100, 1280, 1281, 3000, 8000])
def test_tiles_cover_a_side_and_share_strips(side: int) -> None:
    starts = _starts(side)
    assert starts[0] == 0 and starts[-1] + min(side, 1280) == side
    assert all(192 <= 1280 - (after - before) < 1280 for before, after in pairwise(starts))
