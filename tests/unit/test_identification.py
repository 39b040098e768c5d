"""The open-set classifier, on a space made for it, and on real embeddings of people who do not exist."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from prosopon.configs.settings import DetectionSettings
from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.load import load_detector, load_embedder
from prosopon.models.matching.calibration import SimilarityCurve
from prosopon.models.matching.calibration import fit as fit_curve
from prosopon.models.matching.cohort import (
    Cohort,
    GeneratedStrangers,
    cohort_path,
    compute_cohort,
    load_cohort,
)
from prosopon.models.matching.identification import FEWEST_STRANGERS, OpenSetClassifier, fit
from prosopon.models.matching.vectors import normalize
from prosopon.models.runtime.session import Compute
from tests.weights import default_embedder, model_settings, weights

DIM = 64
CURVE = SimilarityCurve(0.8, 5.0)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def people(rng: np.random.Generator, count: int) -> Float32:
    return normalize(rng.standard_normal((count, DIM)).astype(np.float32))


def again(rng: np.random.Generator, person: Float32, change: float = 0.05) -> Float32:
    """Another picture of somebody."""
    return normalize(person + change * rng.standard_normal(person.shape).astype(np.float32))


def names(count: int) -> list[str]:
    return [f"person {number}" for number in range(count)]


@pytest.fixture(scope="module")
def curve() -> SimilarityCurve:
    """Of this space, by its own strangers."""
    rng = np.random.default_rng(100)
    return fit_curve(np.linalg.norm(people(rng, 400_000) - people(rng, 400_000), axis=1).astype(np.float32))


def test_everybody_is_identified_and_strangers_are_not(
    rng: np.random.Generator, curve: SimilarityCurve
) -> None:
    enrolled = people(rng, 50)
    for strangers in (None, people(rng, 300)):
        classifier = fit(names(50), enrolled, curve, strangers)
        for number, person in enumerate(enrolled):
            best, *others = classifier.rank(again(rng, person))
            assert best.label == f"person {number}" and best.confidence > 0.9
            assert len(others) == 49 and all(other.confidence < 0.1 for other in others)
        for stranger in people(rng, 50):
            assert classifier.rank(stranger)[0].confidence < 0.9


def test_alone_in_a_collection_confidence_is_similarity(rng: np.random.Generator) -> None:
    person = people(rng, 1)
    classifier = fit(["Ann"], person, CURVE)
    for change in (0.01, 0.1, 0.3):
        probe = again(rng, person, change)
        (candidate,) = classifier.rank(probe[0])
        similarity = CURVE.similarity(np.linalg.norm(probe[0] - person[0]))
        assert candidate.confidence == pytest.approx(float(similarity), abs=1e-5)


def test_lookalikes_lower_confidence_enrolled_or_not(rng: np.random.Generator) -> None:
    ann = people(rng, 1)[0]
    twin, probe = again(rng, ann, 0.06), again(rng, ann, 0.06)

    def confidence(*enrolled: Float32, strangers: Float32 | None = None) -> float:
        embeddings = np.stack([ann, *enrolled])
        candidates = fit(names(len(embeddings)), embeddings, CURVE, strangers).rank(probe)
        return next(found.confidence for found in candidates if found.label == "person 0")

    alone = confidence()
    assert confidence(twin) < alone
    assert confidence(strangers=twin[np.newaxis]) < alone
    # Somebody who looks different takes no share, but is one more whom a stranger may look like.
    assert confidence(twin) < confidence(people(rng, 1)[0]) < alone


def test_as_many_strangers_pass_however_many_are_enrolled(
    rng: np.random.Generator, curve: SimilarityCurve
) -> None:
    strangers = people(rng, 2000)
    for size in (1, 8, 60, 500):
        passed = []
        for _ in range(5):
            log_odds = fit(names(size), people(rng, size), curve).log_odds(strangers)
            passed.append(np.mean(log_odds.max(axis=1) >= 0))
        assert 0.005 < np.mean(passed) < 0.02, size


def studio(rng: np.random.Generator, count: int) -> Float32:
    """People whose pictures share something: a light, a background, a camera."""
    shared = np.zeros(DIM)
    shared[0] = 3.0
    return normalize((rng.standard_normal((count, DIM)) + shared).astype(np.float32))


def test_strangers_of_the_studio_of_those_enrolled_do_not_pass(
    rng: np.random.Generator, curve: SimilarityCurve
) -> None:
    strangers = studio(rng, 2000)
    for size in (7, 60):
        enrolled = studio(rng, size)
        corrected = fit(names(size), enrolled, curve)
        without = fit(names(size), enrolled, replace(curve, mean=None))
        passed, before = (np.mean(each.log_odds(strangers).max(axis=1) >= 0) for each in (corrected, without))
        assert passed < before / 2, size
        odds = corrected.log_odds(again(rng, enrolled))
        assert (odds.argmax(axis=1) == np.arange(size)).all() and odds.max(axis=1).min() > 2


def test_two_people_say_nothing_about_a_studio(rng: np.random.Generator, curve: SimilarityCurve) -> None:
    strangers = studio(rng, 100)
    for size in (1, 2):
        enrolled = studio(rng, size)
        corrected, without = (fit(names(size), enrolled, each) for each in (curve, replace(curve, mean=None)))
        np.testing.assert_array_equal(corrected.log_odds(strangers), without.log_odds(strangers))


def test_who_is_enrolled_under_two_names_is_found_under_both(
    rng: np.random.Generator, curve: SimilarityCurve
) -> None:
    """One person's second enrolment is the others' nearest picture: it must not count as a studio."""
    ann = people(rng, 1)[0]
    enrolled = np.stack([ann, again(rng, ann), *people(rng, 2)])
    odds = fit(names(4), enrolled, curve).log_odds(again(rng, ann)[np.newaxis])[0]
    assert odds[:2].min() > -1 and odds[2:].max() < -5


def test_a_classifier_that_was_stored_without_the_mean_is_read(rng: np.random.Generator) -> None:
    enrolled = studio(rng, 5)
    stored = fit(names(5), enrolled, CURVE).to_bytes()
    assert b'"mean": null' in stored
    older = stored.replace(b', "mean": null', b" " * len(b', "mean": null'))
    found = OpenSetClassifier.from_bytes(older)
    assert found.curve == CURVE
    np.testing.assert_array_equal(found.log_odds(enrolled), fit(names(5), enrolled, CURVE).log_odds(enrolled))


def test_a_person_is_as_near_as_the_nearest_picture(rng: np.random.Generator) -> None:
    first, second, other = people(rng, 3)
    classifier = fit(["Ann", "Ben", "Ann"], np.stack([first, other, second]), CURVE)
    assert classifier.labels == ("Ann", "Ben")
    for picture in (first, second):
        best = classifier.rank(picture)[0]
        assert best.label == "Ann" and best.confidence > 0.99
    assert classifier.rank(other)[0].label == "Ben"


def test_the_number_of_strangers_follows_the_collections(rng: np.random.Generator) -> None:
    cohort = people(rng, 400)
    for size, used in ((1, FEWEST_STRANGERS), (300, 300), (500, 400)):
        classifier = fit(names(size), people(rng, size), CURVE, cohort)
        assert len(classifier.strangers) == used
    assert len(fit(names(3), people(rng, 3), CURVE).strangers) == 0


def test_a_classifier_survives_storage_and_is_the_same_every_time(rng: np.random.Generator) -> None:
    labels, enrolled, cohort = ["李雷", "a", "b"], people(rng, 3), people(rng, 250)
    classifier = fit(labels, enrolled, CURVE, cohort)
    stored = classifier.to_bytes()
    assert fit(labels, enrolled, CURVE, cohort).to_bytes() == stored
    found = OpenSetClassifier.from_bytes(stored)
    assert found.labels == tuple(labels)
    np.testing.assert_array_equal(found.confidences(enrolled), classifier.confidences(enrolled))


@pytest.mark.parametrize("data", [b"", b"nonsense", b"\x93NUMPY\x01\x00"])
def test_what_is_no_classifier_is_refused(data: bytes) -> None:
    with pytest.raises((ValueError, EOFError)):
        OpenSetClassifier.from_bytes(data)


def test_nobody_cannot_be_learnt() -> None:
    with pytest.raises(ValueError, match="at least one"):
        fit([], np.empty((0, DIM), np.float32), CURVE)


# --- the cohort


class Counting:
    """Remembers which strangers were asked for."""

    def __init__(self, source: GeneratedStrangers) -> None:
        self._source, self.asked = source, list[int]()
        self.fingerprint = source.fingerprint

    def portrait(self, number: int) -> RGBImage:
        self.asked.append(number)
        return self._source.portrait(number)


def test_strangers_are_generated_once_and_go_on_where_they_stopped(tmp_path: Path) -> None:
    for name in ("mobilestylegan-mapper", "mobilestylegan-generator", "centerface", default_embedder()):
        weights(name)
    models, compute = model_settings(), Compute()
    detector = load_detector(models, DetectionSettings(), compute)
    embedder = load_embedder(models, compute)
    source = Counting(GeneratedStrangers(models, compute))
    path, told = tmp_path / "cohort.npy", list[tuple[int, int]]()

    def compute_up_to(size: int) -> Cohort:
        return compute_cohort(
            source, detector, embedder, path, lambda done, total: told.append((done, total)), size
        )

    first = compute_up_to(3)
    assert first.embeddings.shape == (3, embedder.dim) and told[-1] == (3, 3)
    np.testing.assert_allclose(np.linalg.norm(first.embeddings, axis=1), 1, atol=1e-5)
    distances = np.linalg.norm(first.embeddings[:, None] - first.embeddings, axis=2)
    assert distances[np.triu_indices(3, 1)].min() > 0.3, "everybody is somebody else"
    source.asked.clear()
    more = compute_up_to(5)
    assert source.asked == [3, 4]
    np.testing.assert_array_equal(more.embeddings[:3], first.embeddings)
    assert more.fingerprint == first.fingerprint
    source.asked.clear()
    compute_up_to(5)
    assert source.asked == []


def test_a_damaged_cohort_is_no_cohort(tmp_path: Path) -> None:
    models = model_settings().model_copy(update={"directory": tmp_path})
    assert load_cohort(models, "embedder") is None
    path = cohort_path(models, "embedder")
    path.parent.mkdir()
    path.write_bytes(b"\x93NUMPY damaged")
    assert load_cohort(models, "embedder") is None
