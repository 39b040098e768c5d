"""Distances to FaceCheck's scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.calibration import NotCalibrated, curves
from models.scores import BANDS, GENUINE, FaceSpace, ScoreCurve, calibrated, fit, load_space
from models.vectors import normalize

distances = st.floats(0, 2, width=32)
PLAIN = ScoreCurve((0.0, 2.0), (100.0, 0.0))
FINGERPRINT = "dlib-resnet29-55533b28a95800a5-1"


def known_curves() -> list[ScoreCurve]:
    """Of every embedder, for other weights, and of dlib's own space."""
    others = [load_space(name, "other weights", 8).curve for name in calibrated()]
    return [*others, load_space("dlib-resnet29", FINGERPRINT, 128).curve]


@given(distances, distances)
def test_what_is_nearer_never_scores_less(one: float, other: float) -> None:
    near, far = sorted((one, other))
    for curve in known_curves():
        scores = curve.score(np.array([near, far], np.float32))
        assert 0 <= scores[1] <= scores[0] <= 100


@given(distances)
def test_a_band_begins_at_its_anchor(distance: float) -> None:
    for curve in known_curves():
        score = curve.score(np.array([distance]))[0]
        for anchor, least in zip(curve.distances[:-1], curve.scores[:-1], strict=True):
            assert (score >= least) == (distance <= anchor) or abs(distance - anchor) < 1e-6


def test_the_same_embedding_scores_a_hundred_and_the_opposite_nothing() -> None:
    for curve in known_curves():
        np.testing.assert_array_equal(curve.score(np.array([0.0, 2.0], np.float32)), [100, 0])


def test_strangers_reach_the_bands_at_the_rates_they_are_named_for() -> None:
    random = np.random.default_rng(0)
    impostors = random.normal(1.3, 0.1, 2_000_000).astype(np.float32)
    genuine = random.normal(0.4, 0.1, 500).astype(np.float32)
    curve = fit(impostors, genuine)
    scores = curve.score(impostors)
    for least, rate in BANDS:
        if rate >= 1e-5:
            assert np.mean(scores >= least) == pytest.approx(rate, rel=0.25 if rate > 1e-5 else 0.7)
    assert curve.score(np.median(genuine, keepdims=True))[0] in (GENUINE - 1, GENUINE)
    assert np.median(scores) == 0


def test_people_who_are_twice_among_the_strangers_move_the_bands_little() -> None:
    random = np.random.default_rng(0)
    impostors = random.normal(1.3, 0.1, 2_000_000).astype(np.float32)
    genuine = random.normal(0.4, 0.1, 500).astype(np.float32)
    twice = np.concatenate([impostors, random.normal(0.4, 0.1, 40).astype(np.float32)])
    clean, dirty = fit(impostors, genuine), fit(twice, genuine)
    np.testing.assert_allclose(dirty.distances, clean.distances, atol=0.01)


def test_embeddings_that_cannot_be_certain_have_no_curve() -> None:
    random = np.random.default_rng(0)
    impostors = random.normal(1.0, 0.2, 100_000).astype(np.float32)
    with pytest.raises(ValueError, match=r"fall|rise"):
        fit(impostors, random.normal(0.9, 0.1, 100).astype(np.float32))


@pytest.mark.parametrize(
    ("anchors", "scores"),
    [((0.0,), (100.0,)), ((0.0, 1.0), (100.0,)), ((1.0, 0.0), (100.0, 0.0)), ((0.0, 1.0), (0.0, 9.0))],
)
def test_a_curve_must_fall(anchors: tuple[float, ...], scores: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"anchor|as many"):
        ScoreCurve(anchors, scores)


def test_every_embedder_of_the_project_has_scores() -> None:
    assert set(calibrated()) == set(curves())
    with pytest.raises(NotCalibrated, match="unheard-of"):
        load_space("unheard-of", "", 8)


def test_the_mean_is_that_of_the_weights_that_were_measured() -> None:
    assert load_space("dlib-resnet29", FINGERPRINT, 128).mean.any()
    other = load_space("arcface", "arcface-0000000000000000-1", 512)
    assert other.mean.shape == (512,) and not other.mean.any()


def faces(count: int, noise: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A mean, people around it, and a picture of each."""
    mean = normalize(rng.normal(size=64).astype(np.float32))
    people = normalize(mean + 0.4 * normalize(rng.normal(size=(count, 64)).astype(np.float32)))
    pictures = normalize(people + noise * normalize(rng.normal(size=(count, 64)).astype(np.float32)))
    return mean, people, pictures


def test_the_same_embedding_is_at_no_distance() -> None:
    mean, people, _ = faces(5, 0, np.random.default_rng(0))
    space = FaceSpace(mean, PLAIN)
    for number, person in enumerate(people):
        probe = space.probe(person[np.newaxis], np.ones(1, np.float32))
        found = space.distances(probe, people)
        assert found[number] == pytest.approx(0, abs=1e-3) and found.argmin() == number


@given(st.lists(st.floats(0.125, 128, width=32), min_size=1, max_size=3))
def test_a_probe_is_a_unit_vector_whatever_the_weights(weights: list[float]) -> None:
    mean, people, _ = faces(3, 0, np.random.default_rng(0))
    space = FaceSpace(mean, PLAIN)
    probe = space.probe(people[: len(weights)], np.array(weights, np.float32))
    assert np.linalg.norm(probe) == pytest.approx(1, abs=1e-5)
    if len(weights) == 1:
        np.testing.assert_allclose(probe, space.center(people[0]), atol=1e-6)


def test_a_picture_near_the_mean_counts_less() -> None:
    mean, people, _ = faces(1, 0, np.random.default_rng(0))
    space = FaceSpace(mean, PLAIN)
    assert space.quality(normalize(people[0] + 2 * mean)) < space.quality(people[0])


def test_three_pictures_find_a_person_better_than_one() -> None:
    rng = np.random.default_rng(0)
    mean, people, _ = faces(400, 0, rng)
    space = FaceSpace(mean, PLAIN)
    shots = [
        normalize(people + 1.2 * normalize(rng.normal(size=people.shape).astype(np.float32)))
        for _ in range(3)
    ]

    def found(number: int, pictures: list[np.ndarray]) -> bool:
        stacked = np.stack([shot[number] for shot in pictures])
        weights = np.array([space.quality(picture) for picture in stacked], np.float32)
        return bool(space.distances(space.probe(stacked, weights), people).argmin() == number)

    ones = sum(found(number, shots[:1]) for number in range(400))
    threes = sum(found(number, shots) for number in range(400))
    assert threes > ones + 40
