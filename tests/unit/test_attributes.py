"""Age and gender: arithmetic on distributions, and the real networks on real faces."""

import csv
from pathlib import Path

import numpy as np
import pytest

from prosopon.configs.settings import ModelSettings
from prosopon.models.faces import age_gender, dlib_chips
from prosopon.models.faces.age_gender import BANDS, AgeGenderNetwork, years_of
from prosopon.models.faces.ages import YEARS, age_range, expected_age
from prosopon.models.faces.attributes.age import DlibAge, calibrate
from prosopon.models.faces.attributes.gender import DlibGender
from prosopon.models.faces.attributes.table import ATTRIBUTES
from prosopon.models.load import load_face_network, sharing
from prosopon.models.pictures.crops import CropSpec
from prosopon.models.runtime.session import Compute
from tests.faces import chip_of, found_in
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
    return np.stack([chip_of(path, crop) for path in paths])


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


@pytest.fixture(scope="module")
def own() -> AgeGenderNetwork:
    return AgeGenderNetwork(age_gender.WEIGHTS, Compute())


def test_bands_keep_their_share_when_they_are_spread_over_years() -> None:
    bands = np.random.default_rng(0).dirichlet(np.ones(len(BANDS)), 20).astype(np.float32)
    years = years_of(bands)
    assert years.shape == (20, len(YEARS))
    for column, (low, high) in enumerate(BANDS):
        np.testing.assert_allclose(years[:, low : high + 1].sum(axis=1), bands[:, column], atol=1e-6)
        assert np.ptp(years[:, low : high + 1], axis=1).max() < 1e-7


def test_own_network_answers_a_batch_like_its_members(own: AgeGenderNetwork) -> None:
    chips = portrait_chips(own.crop, sorted(require(DATA / "london").glob("*_neutral.jpg"))[:4])
    together = own.outputs(chips)
    alone = np.concatenate([own.outputs(chip[None]) for chip in chips])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(together[:, :2].sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(together[:, 2:].sum(axis=1), 1, atol=1e-5)
    nobody = own.outputs(chips[:0])
    assert own.ages(nobody) == [] and own.genders(nobody) == []


def test_own_network_on_studio_portraits(own: AgeGenderNetwork) -> None:
    folder = require(DATA / "london")
    with (folder / "london_info.csv").open() as file:
        rows = list(csv.DictReader(file))[:24]
    outputs = own.outputs(
        portrait_chips(own.crop, [folder / f"{row['face_id']}_neutral.jpg" for row in rows])
    )
    right = sum(
        face.value == row["face_gender"] for face, row in zip(own.genders(outputs), rows, strict=True)
    )
    assert right >= 22
    assert all(0.5 <= face.probability <= 1 for face in own.genders(outputs))
    # All of them are adults below sixty.
    assert all(found.high >= 18 and found.low <= 60 for found in own.ages(outputs))


def test_own_network_on_photographs_by_their_labels(own: AgeGenderNetwork) -> None:
    """Every tenth picture of FairFace's; below what the model card says of all by two standard deviations."""
    folder = require(DATA / "fairface")
    with (folder / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))[::10]
    chips, labels = [], []
    for row in rows:
        if len(found_in(folder / row["file"])):
            chips.append(chip_of(folder / row["file"], own.crop))
            labels.append(row)
    outputs = own.outputs(np.stack(chips))
    genders = [
        found.value == row["gender"].lower() for found, row in zip(own.genders(outputs), labels, strict=True)
    ]
    assert np.mean(genders) >= 0.85
    starts = [int(row["age"].split("-")[0]) if "-" in row["age"] else 70 for row in labels]
    bands = [BANDS[column][0] for column in outputs[:, 2:].argmax(axis=1)]
    assert np.mean([found == true for found, true in zip(bands, starts, strict=True)]) >= 0.42
    years = expected_age(years_of(outputs[:, 2:]))
    children = [year for year, true in zip(years, starts, strict=True) if true < 10]
    assert np.mean([year >= 18 for year in children]) <= 0.2


def test_age_and_gender_are_one_run_of_our_network_unless_one_is_another() -> None:
    roles = [ATTRIBUTES.roles["age"], ATTRIBUTES.roles["gender"]]
    assert [len(together) for together in sharing(ModelSettings(), roles)] == [2]
    weights("dlib-gender")
    dlib = ModelSettings(overrides={"gender": "dlib-gender"})
    assert [len(together) for together in sharing(dlib, roles)] == [1, 1]
    assert isinstance(load_face_network(dlib, roles[1], Compute()), DlibGender)
    assert isinstance(load_face_network(dlib, roles[0], Compute()), AgeGenderNetwork)


def test_own_weights_are_small_and_named(own: AgeGenderNetwork) -> None:
    assert age_gender.WEIGHTS.stat().st_size < 4_000_000
    assert own.fingerprint.startswith("prosopon-age-gender-")
