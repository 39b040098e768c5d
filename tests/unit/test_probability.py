"""Scores of detectors as probabilities."""

import numpy as np
import pytest

from prosopon.models.faces.detections import Detections
from prosopon.models.faces.probability import ProbabilityCurve, curve_of
from prosopon.models.training.detection.fit_probability import fit, labelled

CURVE = ProbabilityCurve(half=0.35, slope=10.0)


def test_the_curve_is_a_logistic_one() -> None:
    scores = np.array([0.35, 0.35 + np.log(19) / 10, 0.35 - np.log(19) / 10], np.float32)
    np.testing.assert_allclose(CURVE.probability(scores), [0.5, 0.95, 0.05], atol=1e-6)


@pytest.mark.parametrize("probability", [0.5, 0.8, 0.95, 0.999])
def test_a_threshold_is_carried_back_to_the_detectors_own_score(probability: float) -> None:
    score = np.array([CURVE.score(probability)], np.float32)
    assert CURVE.probability(score)[0] == pytest.approx(probability, abs=1e-5)


def test_below_a_half_nothing_is_a_face_and_nothing_is_certain() -> None:
    assert CURVE.score(0.0) == CURVE.score(0.3) == 0.35
    assert CURVE.score(1.0) == float("inf")


def test_every_detector_has_one() -> None:
    for name in ("centerface", "yunet", "scrfd"):
        assert 0.2 < curve_of(name).half < 0.8 and curve_of(name).slope > 5
    # CenterFace (Xu et al. 2019) is published with a threshold of 0.35.
    assert curve_of("centerface").half == 0.35


def test_a_fit_finds_the_curve_that_made_the_labels() -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(0, 1, 20_000)
    labels = rng.random(20_000) < 1 / (1 + np.exp(-10 * (scores - 0.4)))
    free, half_given = fit(scores, labels), fit(scores, labels, half=0.4)
    assert (free.half, free.slope) == pytest.approx((0.4, 10), rel=0.05)
    assert (half_given.half, half_given.slope) == pytest.approx((0.4, 10), rel=0.05)


def test_a_face_is_one_box_alone() -> None:
    """Two boxes whose noses lie at the annotated one, and one that is elsewhere."""
    boxes = np.array([[0, 0, 20, 20], [1, 1, 21, 21], [50, 50, 60, 60]], np.float32)
    points = np.repeat(np.array([[10.0, 10], [11, 11], [55, 55]], np.float32)[:, None], 5, axis=1)
    faces = Detections(boxes, np.array([0.9, 0.8, 0.7], np.float32), points)
    assert labelled(faces, np.array([[10.0, 10.0]])) == (pytest.approx([0.9, 0.8, 0.7]), [True, False, False])
