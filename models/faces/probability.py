"""From a detector's own score to the probability that its box is a face.

Detectors score on scales of their own: CenterFace gives a good portrait 0.7. Clients send thresholds of 0.8 to 0.95 and
mean a probability.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from prosopon.models.faces.detections import Detections, Float32

TABLE = Path(__file__).parent / "probability.json"
"""Made by `python -m prosopon.models.training.detection.fit_probability`."""


@dataclass(frozen=True, slots=True)
class ProbabilityCurve:
    """``1 / (1 + exp(-slope * (score - half)))``, rising; a slope of 0 leaves scores as they are.

    half: the score at which one box in two is a face. What scores less is no face, whatever a client asks for.
    """

    half: float
    slope: float

    def probability(self, scores: Float32) -> Float32:
        """Any shape, scores to probabilities in 0..1."""
        if not self.slope:
            return scores
        probability: Float32 = (1 / (1 + np.exp(-self.slope * (scores - self.half)))).astype(np.float32)
        return probability

    def score(self, probability: float) -> float:
        """The score from which on boxes have at least this probability, and never less than `half`."""
        if not self.slope:
            return probability
        if probability >= 1:
            return float("inf")
        if probability <= 0.5:
            return self.half
        return self.half + float(np.log(probability / (1 - probability))) / self.slope

    def told(self, faces: Detections) -> Detections:
        """The same faces with probabilities as their scores."""
        return Detections(faces.boxes, self.probability(faces.scores), faces.landmarks)


@cache
def curve_of(detector: str) -> ProbabilityCurve:
    """Of a detector, by its name."""
    entry = json.loads(TABLE.read_text())[detector]
    return ProbabilityCurve(entry["half"], entry["slope"])
