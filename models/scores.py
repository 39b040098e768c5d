"""FaceCheck's scores, 0 to 100, in the bands that its users know, and the space of embeddings they are measured in.

Embeddings of faces share a direction that tells nobody apart, the mean face, and a bad picture of anybody lies near
it. Without it (Jegou and Chum 2012, "Negative evidences and co-occurences in image retrieval", section 3) strangers
and bad pictures are told apart better; how far an embedding lies from it says how good its picture is; and several
pictures of one person add up to a probe in which the better ones count more.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.calibration import NotCalibrated
from models.types import Float32
from models.vectors import normalize

CERTAIN, CONFIDENT, UNCERTAIN, WEAK = 90, 83, 70, 50
"""The lowest score of each band."""

BANDS: tuple[tuple[int, float], ...] = ((WEAK, 1e-3), (UNCERTAIN, 1e-4), (CONFIDENT, 1e-5), (CERTAIN, 1e-6))
"""The lowest score of each band, and the share of pairs of two people that score as much or more."""

GENUINE = 97
"""The score of the median pair of one person in good pictures."""

_MEASURED = (1e-2, 1e-3)
_WEIGHT = 4
"""How much more a picture counts that lies farther from the mean: chosen by `python -m tests.benchmarks.fusion`."""


@dataclass(frozen=True, slots=True)
class ScoreCurve:
    """Straight lines between anchors, which fall: distances, L2 of unit vectors, and the score at each."""

    distances: tuple[float, ...]
    scores: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.distances) != len(self.scores) or len(self.distances) < 2:
            raise ValueError("a curve needs as many distances as scores, two or more")
        if min(np.diff(self.distances)) <= 0 or max(np.diff(self.scores)) > 0:
            raise ValueError("distances must rise from anchor to anchor, and scores fall")

    def score(self, distance: Float32) -> NDArray[np.int64]:
        """Any shape, distances in 0..2, to whole scores in 0..100. Rounded down: a band begins at its anchor."""
        exact = np.interp(distance, self.distances, self.scores)
        # What is a whole score but for the last bit of a float is that score.
        return np.floor(np.clip(exact + 1e-9, 0, 100)).astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class FaceSpace:
    """Embeddings without their mean ``(D,)``; a mean of zero leaves them as they are."""

    mean: Float32
    curve: ScoreCurve

    def center(self, embeddings: Float32) -> Float32:
        """Unit embeddings ``(..., D)`` to unit vectors of this space."""
        return normalize(embeddings - self.mean)

    def quality(self, embedding: Float32) -> float:
        """The weight of a picture in a probe, by its unit embedding ``(D,)``."""
        return float(np.linalg.norm(embedding - self.mean) ** _WEIGHT)

    def probe(self, embeddings: Float32, qualities: Float32) -> Float32:
        """Unit embeddings ``(N, D)`` of one person and their weights ``(N,)`` to one unit vector of this space.

        By its inner product with an embedding, or by its distance to it, the nearest faces can be looked for among
        embeddings as they are: what is left out, the mean, adds the same to all.
        """
        weights = np.maximum(qualities, 1e-6)[:, np.newaxis]
        return normalize((self.center(embeddings) * weights).sum(axis=0))

    def distances(self, probe: Float32, embeddings: Float32) -> Float32:
        """From a probe ``(D,)`` of this space to unit embeddings ``(N, D)``: ``(N,)``, 0..2."""
        found: Float32 = np.linalg.norm(self.center(embeddings) - probe, axis=1).astype(np.float32)
        return found


def fit(impostors: Float32, genuine: Float32) -> ScoreCurve:
    """The curve after which strangers reach each band at the rate of `BANDS`.

    impostors, genuine: L2 distances of unit vectors, of pairs of two people and of one. 0 is the median pair of two
    people, `GENUINE` that of one, 100 the same vector. Beyond the rarer of the measured rates the distribution of
    impostors is continued as a normal one through the quantiles at both: large sets of photographs contain some people
    twice, so that what is rarer than one in ten thousand there is not two people.

    Raises ValueError where the embeddings tell people apart too badly for a band of certainty.
    """
    common, rare = (float(np.quantile(impostors, rate)) for rate in _MEASURED)
    normal = NormalDist()
    step = (common - rare) / (normal.inv_cdf(_MEASURED[0]) - normal.inv_cdf(_MEASURED[1]))
    anchors = {
        score: rare + step * (normal.inv_cdf(rate) - normal.inv_cdf(_MEASURED[1])) for score, rate in BANDS
    }
    anchors |= {0: float(np.median(impostors)), GENUINE: float(np.median(genuine)), 100: 0.0}
    falling = sorted(anchors.items(), reverse=True)
    return ScoreCurve(
        tuple(round(distance, 4) for _, distance in falling), tuple(float(score) for score, _ in falling)
    )


@cache
def _table() -> dict[str, Any]:
    """By the embedder's name, made by `python -m tests.benchmarks.scores --write`."""
    table: dict[str, Any] = json.loads((resources.files("models") / "scores.json").read_text())
    return table


def calibrated() -> tuple[str, ...]:
    """Names of the embedders whose scores are known."""
    return tuple(_table())


def load_space(embedder: str, fingerprint: str, dim: int) -> FaceSpace:
    """The space of an embedder.

    The mean is that of certain weights: others of the same name (all of InsightFace's embedders are called `arcface`)
    are scored as they are, after the curve of the weights that were measured. Raises `NotCalibrated`.
    """
    if embedder not in _table():
        raise NotCalibrated(f"no scores are known for '{embedder}': add it to models/scores.json")
    entry = _table()[embedder]
    if entry["fingerprint"] == fingerprint:
        return FaceSpace(np.array(entry["mean"], np.float32), _curve(entry["centered"]))
    return FaceSpace(np.zeros(dim, np.float32), _curve(entry["plain"]))


def _curve(entry: dict[str, Any]) -> ScoreCurve:
    return ScoreCurve(tuple(entry["distances"]), tuple(entry["scores"]))
