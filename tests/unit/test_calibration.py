"""Distances to similarities."""

import numpy as np
import pytest

from prosopon.models.matching.calibration import (
    GENUINE_SIMILARITY,
    NotCalibrated,
    SimilarityCurve,
    curves,
    fit,
    load_similarity,
)
from prosopon.models.matching.vectors import normalize

CURVE = SimilarityCurve(c0=0.8, c1=5.0)


def test_the_curve_is_the_contracts() -> None:
    distance = np.array([0.0, 0.3, 0.8, 2.0], np.float32)
    expected = (np.tanh((0.8 - distance) * 5.0) + 1) / 2
    np.testing.assert_allclose(CURVE.similarity(distance), expected, rtol=1e-6)
    assert CURVE.similarity(np.float32(0.8)) == 0.5


def test_similarity_falls_with_distance_and_stays_between_0_and_1() -> None:
    for curve in (CURVE, *curves().values()):
        similarity = curve.similarity(np.linspace(0, 2, 400, dtype=np.float32))
        assert (np.diff(similarity) <= 0).all() and similarity.min() >= 0 and similarity.max() <= 1


@pytest.mark.parametrize("similarity", [0.01, 0.3, 0.5, 0.9, 0.99])
def test_the_inverse(similarity: float) -> None:
    distance = np.array([CURVE.distance(similarity)])
    assert CURVE.similarity(distance)[0] == pytest.approx(similarity, abs=1e-6)


def test_the_inverse_beyond_what_a_distance_can_give() -> None:
    assert CURVE.distance(0.0) == np.inf and CURVE.distance(1.0) == -np.inf


def test_inner_products_give_the_same() -> None:
    a, b = normalize(np.random.default_rng(0).normal(size=(2, 50, 128)).astype(np.float32))
    by_distance = CURVE.similarity(np.linalg.norm(a - b, axis=1))
    np.testing.assert_allclose(CURVE.of_inner_products((a * b).sum(axis=1)), by_distance, atol=1e-5)
    assert np.isfinite(CURVE.of_inner_products(np.array([1.0000001], np.float32))).all()


def test_a_fit_puts_a_half_at_the_false_match_rate() -> None:
    random = np.random.default_rng(0)
    impostors = random.normal(1.2, 0.1, 100_000).astype(np.float32)
    genuine = random.normal(0.5, 0.1, 500).astype(np.float32)
    curve = fit(impostors, genuine)
    assert np.mean(curve.similarity(impostors) >= 0.5) == pytest.approx(1e-3, rel=0.05)
    assert np.median(curve.similarity(genuine)) == pytest.approx(GENUINE_SIMILARITY, abs=1e-4)


def test_embeddings_that_tell_nobody_apart_have_no_curve() -> None:
    same = np.random.default_rng(0).normal(1, 0.1, 1000).astype(np.float32)
    with pytest.raises(ValueError, match="apart"):
        fit(same, same)


def test_every_embedder_of_the_project_is_calibrated() -> None:
    assert set(curves()) == {"dlib-resnet29", "face-reidentification-retail-0095", "arcface"}
    with pytest.raises(NotCalibrated, match="unheard-of"):
        load_similarity("unheard-of")
