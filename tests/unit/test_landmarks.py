"""68 landmarks on real faces, against the detector's five, annotated noses, and turned pictures."""

import csv
from collections import defaultdict

import cv2
import numpy as np
import pytest

from prosopon.configs.settings import DetectionSettings
from prosopon.models.faces.attributes.landmarks import DlibLandmarks68, five_points
from prosopon.models.faces.centerface import CenterFace
from prosopon.models.faces.detections import Detections, Float32, RGBImage
from prosopon.models.pictures.crops import cut
from prosopon.models.runtime.session import Compute
from tests.paths import DATA, require
from tests.weights import weights

NOSE_TIP = 30


@pytest.fixture(scope="module")
def detector() -> CenterFace:
    return CenterFace(weights("centerface").path, Compute(), DetectionSettings())


@pytest.fixture(scope="module")
def predictor() -> DlibLandmarks68:
    return DlibLandmarks68(weights("dlib-landmarks68").path)


def predict(predictor: DlibLandmarks68, image: RGBImage, faces: Detections) -> Float32:
    """``(N, 68, 2)`` in pixels of the picture."""
    crops = [cut(image, faces.boxes[i], faces.landmarks[i], predictor.crop) for i in range(len(faces))]
    points = predictor.predict(np.stack([crop.pixels for crop in crops]))
    return np.stack([crop.to_picture(row) for crop, row in zip(crops, points, strict=True)])


def interocular(landmarks: Float32) -> Float32:
    return np.linalg.norm(landmarks[..., 0, :] - landmarks[..., 1, :], axis=-1)


def read(path) -> RGBImage:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def test_portraits_agree_with_the_detectors_five_points(detector, predictor) -> None:
    distances = []
    for path in sorted(require(DATA / "london").glob("*.jpg"))[::5]:
        image = read(path)
        faces = detector.detect([image], 0.5)[0]
        apart = np.linalg.norm(five_points(predict(predictor, image, faces)) - faces.landmarks, axis=-1)
        distances.append(apart[0].mean() / interocular(faces.landmarks)[0])
    assert np.mean(distances) < 0.08
    assert np.max(distances) < 0.15


def test_annotated_noses_are_met(detector, predictor) -> None:
    folder = require(DATA / "compreface_samples")
    noses = defaultdict(list)
    with (folder / "noses.csv").open() as file:
        for name, x, y in csv.reader(file):
            if x.isdigit():
                noses[name].append((float(x), float(y)))
    distances = []
    for name, points in noses.items():
        image = read(folder / name)
        faces = detector.detect([image], 0.5)[0]
        tips = predict(predictor, image, faces)[:, NOSE_TIP]
        for point in points:
            apart = np.linalg.norm(tips - np.array(point), axis=1)
            nearest = int(apart.argmin())
            distances.append(apart[nearest] / interocular(faces.landmarks)[nearest])
    assert len(distances) > 40
    assert np.mean(distances) < 0.12
    assert np.max(distances) < 0.5


@pytest.mark.parametrize("degrees", [-60, 35])
def test_a_turned_picture_turns_the_landmarks(detector, predictor, degrees: float) -> None:
    image = read(require(DATA / "london") / "007_neutral.jpg")
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 0.8)
    turned = cv2.warpAffine(image, matrix, (width, height))
    upright = predict(predictor, image, detector.detect([image], 0.5)[0])[0]
    found = predict(predictor, turned, detector.detect([turned], 0.3)[0].largest_first())[0]
    expected = upright @ matrix[:, :2].T + matrix[:, 2]
    size = interocular(five_points(expected))
    assert np.linalg.norm(found - expected, axis=1).mean() / size < 0.08


def test_an_empty_batch_has_no_landmarks(predictor) -> None:
    assert predictor.predict(np.zeros((0, 192, 192, 3), np.uint8)).shape == (0, 68, 2)
