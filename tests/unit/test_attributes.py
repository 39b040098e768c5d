"""Age and gender: arithmetic on distributions, and the real networks on real faces."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from prosopon.configs.settings import DetectionSettings
from prosopon.models.faces import dlib_chips
from prosopon.models.faces.attributes.age import YEARS, DlibAge, age_range, calibrate, expected_age
from prosopon.models.faces.attributes.gender import DlibGender
from prosopon.models.faces.centerface import CenterFace
from prosopon.models.pictures.crops import CropSpec, cut
from prosopon.models.runtime.session import Compute
from tests.paths import DATA, require
from tests.weights import weights


@pytest.fixture(scope="module")
def age() -> DlibAge:
    return DlibAge(weights("dlib-age").path, Compute())


@pytest.fixture(scope="module")
def gender() -> DlibGender:
    return DlibGender(weights("dlib-gender").path, Compute())


def point_mass(year: int) -> np.ndarray:
    return np.eye(len(YEARS), dtype=np.float32)[[year]]


def test_expectation_counts_the_first_class_as_a_quarter_year() -> None:
    assert expected_age(point_mass(0))[0] == 0.25
    assert expected_age(point_mass(33))[0] == 33


def test_range_is_the_shortest_that_holds_the_confidence() -> None:
    spread = np.zeros(81, np.float32)
    spread[28:33] = [0.1, 0.2, 0.4, 0.2, 0.1]
    found = age_range(spread, 0.5)
    assert found.high - found.low == 1 and found.low <= 30 <= found.high
    assert found.probability == pytest.approx(0.6)
    assert age_range(spread, 0.95).low == 28 and age_range(spread, 0.95).high == 32


@pytest.mark.parametrize("confidence", [0.0, 0.5, 1.0])
def test_range_holds_for_any_distribution(confidence: float) -> None:
    random = np.random.default_rng(0)
    for row in random.dirichlet(np.full(81, 0.1), 200).astype(np.float32):
        found = age_range(row, confidence)
        assert 0 <= found.low <= found.high <= 80
        assert confidence - 1e-6 <= found.probability <= 1 + 1e-6
        assert found.low <= int(row @ YEARS + 0.5) <= found.high


def test_calibration_keeps_distributions_and_softens_them() -> None:
    raw = np.random.default_rng(0).dirichlet(np.full(81, 0.1), 20).astype(np.float32)
    soft = calibrate(raw)
    np.testing.assert_allclose(soft.sum(axis=1), 1, atol=1e-5)
    assert (soft.max(axis=1) < raw.max(axis=1)).all()


def test_template_matches_dlibs_own_chip_of_a_mean_face() -> None:
    dlib = pytest.importorskip("dlib")
    # The five points dlib itself aligns (eye corners, foot of the nose), laid on the mean face at 200 px a
    # side. Its chip must place our eyes where the template says.
    corners = [(0.8595674595992, 0.2134981538014), (0.6460604764104, 0.2289674387677)]
    corners += [(0.1205750620789, 0.2137274526848), (0.3340850613712, 0.2290642403242)]
    corners += [(0.4901123135679, 0.6277975316475)]
    side, offset = 200, 300
    points = dlib.points([dlib.point(round(x * side) + offset, round(y * side) + offset) for x, y in corners])
    box = dlib.rectangle(offset, offset, offset + side, offset + side)
    details = dlib.get_face_chip_details(dlib.full_object_detection(box, points), 64, 0.2)
    zoom = 64 / details.rect.width()
    for mean, expected in zip(dlib_chips.MEAN_FACE, dlib_chips.template(64, 0.2), strict=True):
        found = [(side * mean[0] + offset - details.rect.left()) * zoom]
        found += [(side * mean[1] + offset - details.rect.top()) * zoom]
        np.testing.assert_allclose(found, expected, atol=0.5)


def portrait_chips(crop: CropSpec, paths: list[Path]) -> np.ndarray:
    detector = CenterFace(weights("centerface").path, Compute(), DetectionSettings())
    chips = []
    for path in paths:
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        faces = detector.detect([image], 0.5)[0].largest_first()
        chips.append(cut(image, faces.boxes[0], faces.landmarks[0], crop).pixels)
    return np.stack(chips)


def test_adults_are_estimated_as_adults_whatever_the_batch(age: DlibAge) -> None:
    chips = portrait_chips(age.crop, sorted(require(DATA / "london").glob("*_neutral.jpg"))[:12])
    together = age.estimate(chips)
    assert all(found.high >= 18 and found.low <= 60 for found in together)
    assert age.estimate(chips[:0]) == []
    alone = age.estimate(chips[3:4])[0]
    assert (alone.low, alone.high) == (together[3].low, together[3].high)


def test_gender_of_studio_portraits(gender: DlibGender) -> None:
    folder = require(DATA / "london")
    with (folder / "london_info.csv").open() as file:
        rows = list(csv.DictReader(file))[:24]
    paths = [folder / f"{row['face_id']}_neutral.jpg" for row in rows]
    found = gender.classify(portrait_chips(gender.crop, paths))
    right = sum(face.value == row["face_gender"] for face, row in zip(found, rows, strict=True))
    assert right >= 21
    assert all(0.5 <= face.probability <= 1 for face in found)
