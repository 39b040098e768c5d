"""Distances to FaceCheck's scores, and the space they are measured in."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prosopon.configs.settings import ModelSettings
from prosopon.models.matching import calibration
from prosopon.models.matching.calibration import NotCalibrated
from prosopon.models.matching.scores import (
    BANDS,
    GENUINE,
    FaceSpace,
    ScoreCurve,
    as_entry,
    combined,
    fit,
    learn_space,
    load_space,
    packaged,
    plain_space,
)
from prosopon.models.matching.vectors import normalize

distances = st.floats(0, 4, width=32)
few = settings(max_examples=25)
PLAIN = ScoreCurve((0.0, 2.0), (100.0, 0.0))
FINGERPRINT = "dlib-resnet29-55533b28a95800a5-1"


@cache
def known_curves() -> list[ScoreCurve]:
    """Of every embedder, its own space and as its embeddings are."""
    plain = [ScoreCurve(**{k: tuple(v) for k, v in entry["plain"].items()}) for entry in packaged().values()]
    return [*plain, *(load_space(ModelSettings(), fingerprint, 0).curve for fingerprint in packaged())]


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
            assert (score >= least) == (distance <= anchor) or abs(distance - anchor) < 1e-5


def test_no_distance_scores_a_hundred_and_that_of_two_people_nothing() -> None:
    for curve in known_curves():
        usual = curve.distances[-1]
        np.testing.assert_array_equal(curve.score(np.array([0.0, usual, 9.0])), [100, 0, 0])


def test_strangers_reach_the_bands_no_more_often_than_these_say() -> None:
    random = np.random.default_rng(0)
    impostors = random.normal(1.3, 0.1, 2_000_000).astype(np.float32)
    genuine = random.normal(0.4, 0.1, 500).astype(np.float32)
    curve = fit(impostors, genuine)
    scores = curve.score(impostors)
    for least, rate in BANDS:
        assert np.mean(scores >= least) <= rate
        if rate >= 1e-4:
            assert np.mean(scores >= least) == pytest.approx(rate / 2, rel=0.1)
    assert curve.score(np.median(genuine, keepdims=True))[0] in (GENUINE - 1, GENUINE)
    assert np.median(scores) == 0


def test_people_who_are_twice_among_the_strangers_move_the_bands_little_and_make_them_stricter() -> None:
    random = np.random.default_rng(0)
    impostors = random.normal(1.3, 0.1, 2_000_000).astype(np.float32)
    genuine = random.normal(0.4, 0.1, 500).astype(np.float32)
    twice = np.concatenate([impostors, random.normal(0.4, 0.1, 40).astype(np.float32)])
    clean, dirty = fit(impostors, genuine), fit(twice, genuine)
    np.testing.assert_allclose(dirty.distances, clean.distances, atol=0.03)
    assert all(np.array(dirty.distances[2:-1]) <= clean.distances[2:-1])


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


def test_every_embedder_of_the_project_has_scores(tmp_path: Path) -> None:
    assert set(packaged()) == set(calibration.packaged())
    with pytest.raises(NotCalibrated, match=r"scores are known.*unheard-of.*prosopon calibrate"):
        load_space(ModelSettings(directory=tmp_path), "unheard-of", 8)


def test_the_space_is_that_of_the_weights_that_were_measured(tmp_path: Path) -> None:
    models = ModelSettings(directory=tmp_path)
    assert load_space(models, FINGERPRINT, 128).mean.any()
    own = "arcface-0000000000000000-1"
    calibration.keep(calibration.kept(models, own), {"c0": 1.1, "c1": 7.0, "scores": as_entry(PLAIN)})
    other = load_space(models, own, 512)
    rng = np.random.default_rng(0)
    first, *others = normalize(rng.normal(size=(9, 512)).astype(np.float32))
    found = other.distances(other.probe(first[np.newaxis]), np.stack(others))
    np.testing.assert_allclose(found, np.linalg.norm(np.stack(others) - first, axis=1), atol=1e-6)
    calibration.keep(calibration.kept(models, own), {"c0": 1.1, "c1": 7.0})
    with pytest.raises(NotCalibrated, match="scores are known"):
        load_space(models, own, 512)


def faces(count: int, noise: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A mean, people around it, and a picture of each."""
    mean = normalize(rng.normal(size=64).astype(np.float32))
    people = normalize(mean + 0.4 * normalize(rng.normal(size=(count, 64)).astype(np.float32)))
    pictures = normalize(people + noise * normalize(rng.normal(size=(count, 64)).astype(np.float32)))
    return mean, people, pictures


def space_around(mean: np.ndarray) -> FaceSpace:
    return replace(plain_space(len(mean), PLAIN), mean=mean)


@cache
def learnt(seed: int = 0) -> tuple[FaceSpace, np.ndarray]:
    """The space of people whose worse pictures go astray in eight directions, and embeddings of these people."""
    rng = np.random.default_rng(seed)
    _, people, _ = faces(400, 0, rng)
    astray = np.where(np.arange(64) < 8, 0.3, 0.02) * rng.normal(size=people.shape)
    return learn_space(people, people, normalize((people + astray).astype(np.float32)), PLAIN), people


@cache
def served() -> list[FaceSpace]:
    return [load_space(ModelSettings(), FINGERPRINT, 128), learnt()[0]]


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return normalize(rng.normal(size=shape).astype(np.float32))


@few
@given(st.integers(0, 1000))
def test_the_same_embedding_is_at_no_distance_and_scores_a_hundred(seed: int) -> None:
    for space in served():
        people = unit(np.random.default_rng(seed), 5, len(space.mean))
        for number, person in enumerate(people):
            found = space.distances(space.probe(person[np.newaxis]), people)
            assert found[number] == pytest.approx(0, abs=1e-5) and found.argmin() == number
            assert space.curve.score(found)[number] == 100


@few
@given(st.integers(0, 1000), st.permutations(range(3)), st.lists(st.integers(0, 2), max_size=3))
def test_neither_the_order_of_pictures_nor_repeating_them_changes_a_probe(
    seed: int, order: Sequence[int], repeated: list[int]
) -> None:
    for space in served():
        pictures = unit(np.random.default_rng(seed), 3, len(space.mean))
        again = pictures[[*order, *repeated]]
        one, other = space.probe(again), space.probe(pictures)
        np.testing.assert_array_equal(one.fused, other.fused)
        people = unit(np.random.default_rng(seed + 1), 9, len(space.mean))
        np.testing.assert_array_equal(space.distances(one, people), space.distances(other, people))


@few
@given(st.integers(0, 1000), st.integers(1, 3))
def test_a_probe_is_a_unit_vector_and_that_of_one_picture_the_picture(seed: int, count: int) -> None:
    for space in served():
        pictures = unit(np.random.default_rng(seed), count, len(space.mean))
        probe = space.probe(pictures)
        assert np.linalg.norm(probe.fused) == pytest.approx(1, abs=1e-5)
        if count == 1:
            np.testing.assert_allclose(probe.fused, space.project(pictures[0]), atol=1e-6)


@few
@given(st.integers(0, 1000))
def test_a_search_by_one_picture_is_by_the_distances_from_it(seed: int) -> None:
    for space in served():
        rng = np.random.default_rng(seed)
        pictures, people = unit(rng, 4, len(space.mean)), unit(rng, 30, len(space.mean))
        matrix = space.all_distances(space.project(pictures), space.project(people))
        for picture, row in zip(pictures, matrix, strict=True):
            found = space.distances(space.probe(picture[np.newaxis]), people)
            np.testing.assert_allclose(found, row, atol=1e-3)


distance_lists = st.lists(st.floats(0, 3, width=32), min_size=1, max_size=3)


@given(st.floats(0, 3, width=32), distance_lists, st.integers(0, 2), st.floats(0, 1, width=32))
def test_a_nearer_picture_never_takes_a_probe_farther(
    fused: float, alone: list[float], number: int, nearer: float
) -> None:
    place = number % len(alone)
    other = [*alone]
    other[place] *= nearer
    before, after = (
        combined(np.float32(fused), np.array(each, np.float32))
        for each in (alone, other)  # type: ignore[arg-type]
    )
    assert after <= before
    assert min(fused, *alone) - 1e-5 <= before <= max(fused, *alone) + 1e-5


def test_where_worse_pictures_go_astray_counts_less() -> None:
    space, people = learnt()
    step = 0.2 * np.eye(64, dtype=np.float32)
    person = people[:1]
    moved = space.distances(space.probe(person), normalize(person + step))
    assert moved[:8].mean() < 0.8 * moved[8:].mean()


def test_strangers_come_as_near_to_the_faces_of_a_crowd_as_to_rare_ones() -> None:
    rng = np.random.default_rng(0)
    variances = np.where(np.arange(64) < 4, 1.5, 0.2)
    people = normalize((np.sqrt(variances) * rng.normal(size=(4000, 64))).astype(np.float32))
    space = replace(plain_space(64, PLAIN), spread=np.cov(people.T).astype(np.float32))
    crowded = np.argsort(np.linalg.norm(people[:, :4], axis=1))
    common, rare = people[crowded[-400:]], people[crowded[:400]]

    def nearest(measured: FaceSpace, probes: np.ndarray) -> float:
        """Of a thousand strangers."""
        found = measured.all_distances(measured.project(probes), measured.project(people))
        return float(np.quantile(found[found > 1e-3], 1e-3))

    plain = plain_space(64, PLAIN)
    ratio = nearest(space, rare) / nearest(space, common)
    assert abs(ratio - 1) < 0.5 * (nearest(plain, rare) / nearest(plain, common) - 1)


def test_the_index_is_asked_for_about_what_is_nearest() -> None:
    space = load_space(ModelSettings(), FINGERPRINT, 128)
    rng = np.random.default_rng(0)
    people = normalize(space.mean + 0.5 * unit(rng, 2000, 128))
    probe = space.probe(normalize(people[:1] + 0.3 * unit(rng, 1, 128)))
    order = np.argsort(-(people @ space.direction(probe)))
    assert set(np.argsort(space.distances(probe, people))[:10]) <= set(order[:200])


def test_a_picture_near_the_mean_counts_less() -> None:
    mean, people, _ = faces(1, 0, np.random.default_rng(0))
    space = space_around(mean)
    good, bad = people[0], normalize(people[0] + 2 * mean)
    assert space.quality(bad) < space.quality(good)
    probe = space.probe(np.stack([good, bad]))
    assert probe.fused @ space.project(good) > probe.fused @ space.project(bad)


def test_three_pictures_find_a_person_better_than_one() -> None:
    rng = np.random.default_rng(0)
    mean, people, _ = faces(400, 0, rng)
    space = space_around(mean)
    shots = [
        normalize(people + 1.2 * normalize(rng.normal(size=people.shape).astype(np.float32)))
        for _ in range(3)
    ]

    def found(number: int, pictures: list[np.ndarray]) -> bool:
        stacked = np.stack([shot[number] for shot in pictures])
        return bool(space.distances(space.probe(stacked), people).argmin() == number)

    asked = range(0, 400, 4)
    ones = sum(found(number, shots[:1]) for number in asked)
    threes = sum(found(number, shots) for number in asked)
    assert threes > ones + len(asked) // 10
