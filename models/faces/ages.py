"""Ages as distributions over years, and the ranges that are answered."""

import numpy as np

from prosopon.models.faces.detections import Float32
from prosopon.models.roles import Age

# Classes are whole years; the first stands for the months before the first birthday and counts as a quarter
# year (dlib's age predictor example, `get_estimated_age`).
YEARS = np.concatenate([[0.25], np.arange(1, 81)]).astype(np.float32)

CONFIDENCE = 0.5
"""An age range is the shortest that holds at least this much of the distribution."""


def expected_age(probabilities: Float32) -> Float32:
    """``(N, 81)`` probabilities of the years 0..80 to ``(N,)`` expected years."""
    return (probabilities @ YEARS).astype(np.float32)


def age_range(probabilities: Float32, confidence: float = CONFIDENCE) -> Age:
    """The shortest range of years around the expectation that holds at least `confidence` of the mass.

    probabilities: ``(81,)``, one face. The range always contains the rounded expectation; of equally short
    ranges the most probable one is taken. `Age.probability` is the mass inside, never below `confidence`.
    """
    years = len(probabilities)
    centre = min(int(np.floor(probabilities @ YEARS + 0.5)), years - 1)
    cumulative = np.concatenate([[0.0], np.cumsum(probabilities, dtype=np.float64)])
    cumulative /= cumulative[-1]
    lows = np.repeat(np.arange(centre + 1), years - centre)
    highs = np.tile(np.arange(centre, years), centre + 1)
    mass = cumulative[highs + 1] - cumulative[lows]
    width = np.where(mass >= min(confidence, 1 - 1e-9), highs - lows, years)
    best = np.lexsort((-mass, width))[0]
    return Age(int(lows[best]), int(highs[best]), float(mass[best]))
