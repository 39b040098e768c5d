"""FaceCheck's scores, 0 to 100, in the bands that its users know, and the space of embeddings they are measured in.

Embeddings of faces share a direction that tells nobody apart, the mean face, and a bad picture of anybody lies near
it. Without it (Jegou and Chum 2012, "Negative evidences and co-occurences in image retrieval", section 3) strangers
and bad pictures are told apart better; how far an embedding lies from it says how good its picture is; and several
pictures of one person add up to a probe in which the better ones count more.

Two steps of speaker verification follow. Directions in which a person's pictures differ, because they are blurred or
small, count less than others: within-class covariance normalisation (Hatch, Kajarekar and Stolcke 2006). And some
faces, of probes and of the index, are near to many strangers: a distance is scaled so that strangers come as near to
one face as to another. That is symmetric score normalisation (Kenny 2010, "Bayesian speaker verification with heavy
tailed priors", section 5), with the strangers' covariance instead of a cohort of them.
"""

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prosopon.configs.settings import ModelSettings
from prosopon.models.faces.detections import Float32
from prosopon.models.matching.calibration import NotCalibrated, calibration, same_network
from prosopon.models.matching.vectors import normalize

CERTAIN, CONFIDENT, UNCERTAIN, WEAK = 90, 83, 70, 50
"""The lowest score of each band."""

BANDS: tuple[tuple[int, float], ...] = ((WEAK, 1e-3), (UNCERTAIN, 1e-4), (CONFIDENT, 1e-5), (CERTAIN, 1e-6))
"""The lowest score of each band, and the share of pairs of two people that score as much or more."""

GENUINE = 97
"""The score of the median pair of one person in good pictures."""

SPACES = Path(__file__).parent.parent / "weights" / "face_spaces.npz"
PARTS = ("mean", "whitening", "spread")
"""Of the learnt spaces, float16. Made, like `scores.json`, by `python -m tests.benchmarks.scores --write`."""

_MEASURED = (1e-3, 1e-4)
_CAUTION = 2
"""Of the people that a curve is made from so many times fewer reach a band: others may resemble one another more."""
_WEIGHT = 2
"""How much more a picture counts that lies farther from the mean. This and the three below were chosen on every second
person of `data/london`: `python -m tests.benchmarks.fusion` judges on the others."""
_NEAREST_PICTURE = 0.25
"""How much the nearest of the pictures counts besides all of them together."""
_DEVIATIONS = 3.5
"""The similarity at which distances of all faces are made equal, in deviations of strangers' similarities."""
_WITHIN_SHRINKAGE, _SPREAD_SHRINKAGE = 0.8, 0.1
"""Of the covariances towards a multiple of the identity."""
_SMALLEST = 0.1
"""Of the scale of squared distances, however widely strangers' similarities are spread."""


@dataclass(frozen=True, slots=True)
class ScoreCurve:
    """Straight lines between anchors, which fall: distances in a space of faces, and the score at each."""

    distances: tuple[float, ...]
    scores: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.distances) != len(self.scores) or len(self.distances) < 2:
            raise ValueError("a curve needs as many distances as scores, two or more")
        if min(np.diff(self.distances)) <= 0 or max(np.diff(self.scores)) > 0:
            raise ValueError("distances must rise from anchor to anchor, and scores fall")

    def score(self, distance: Float32) -> NDArray[np.int64]:
        """Any shape, distances from 0, to whole scores in 0..100. Rounded down: a band begins at its anchor."""
        exact = np.interp(distance, self.distances, self.scores)
        # What is a whole score but for the last bits of a float is that score.
        return np.floor(np.clip(exact + 1e-4, 0, 100)).astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """One person in some pictures, unit vectors of a space. fused: ``(D,)``, of all; pictures: ``(N, D)``."""

    fused: Float32
    pictures: Float32


@dataclass(frozen=True, slots=True, eq=False)
class FaceSpace:
    """Where faces are compared.

    mean: ``(D,)``, what is taken from unit embeddings; whitening: ``(D, D)``, symmetric, what the rest is multiplied
    by; spread: ``(D, D)``, covariance of people's unit vectors after both.
    """

    mean: Float32
    whitening: Float32
    spread: Float32
    curve: ScoreCurve

    def project(self, embeddings: Float32) -> Float32:
        """Unit embeddings ``(..., D)`` to unit vectors of this space."""
        away: Float32 = np.matmul(embeddings - self.mean, self.whitening)
        return normalize(away)

    def quality(self, embedding: Float32) -> float:
        """How good the picture is, by its unit embedding ``(D,)``: its weight in a probe."""
        return float(self._weights(embedding, _WEIGHT))

    def probe(self, embeddings: Float32, exponent: float = _WEIGHT) -> Probe:
        """Of unit embeddings ``(N, D)``, in whatever order; a picture that is there twice counts once.

        exponent: of the pictures' weights.
        """
        once = np.unique(embeddings, axis=0)
        pictures = self.project(once)
        weights = np.maximum(self._weights(once, exponent), 1e-6)[:, np.newaxis]
        fused: Float32 = (pictures * weights).sum(axis=0)
        return Probe(normalize(fused), pictures)

    def direction(self, probe: Probe) -> Float32:
        """The probe as a unit vector ``(D,)`` among unit embeddings: the nearest to it there are about the nearest to
        the probe here. They differ in what a linear search cannot know: how each face is scaled, and single pictures.
        """
        return normalize(self.whitening @ probe.fused)

    def distances(self, probe: Probe, embeddings: Float32) -> Float32:
        """From a probe to unit embeddings ``(N, D)``: ``(N,)``, from 0."""
        vectors = self.project(embeddings)
        alone = np.stack([self._from_one(picture, vectors) for picture in probe.pictures])
        return combined(self._from_one(probe.fused, vectors), alone)

    def _from_one(self, vector: Float32, vectors: Float32) -> Float32:
        # From the difference: products of unit vectors lose half the digits where it matters, near zero.
        apart = np.linalg.norm(vectors - vector, axis=1).astype(np.float32)
        scaled: Float32 = apart / np.sqrt(self._scale(vector, vectors))
        return scaled

    def all_distances(self, first: Float32, second: Float32) -> Float32:
        """From each of the vectors ``(M, D)`` of this space to each of ``(N, D)``: ``(M, N)``, from 0."""
        squares = np.maximum(2 - 2 * (first @ second.T), 0)
        found: Float32 = np.sqrt(squares / self._scale(first, second))
        return found

    def _scale(self, first: Float32, second: Float32) -> Float32:
        """Of squared distances between unit vectors of this space, ``(..., D)`` and ``(N, D)``: ``(..., N)``."""
        spread = np.sqrt(self._deviations(first)[..., np.newaxis] * self._deviations(second))
        scale: Float32 = np.maximum(1 - _DEVIATIONS * spread, _SMALLEST).astype(np.float32)
        return scale

    def _weights(self, embeddings: Float32, exponent: float) -> Float32:
        weights: Float32 = np.linalg.norm(embeddings - self.mean, axis=-1) ** exponent
        return weights

    def _deviations(self, vectors: Float32) -> Float32:
        """Standard deviation of people's similarities to unit vectors of this space ``(..., D)``."""
        variances = np.einsum("...d,...d->...", vectors @ self.spread, vectors)
        deviations: Float32 = np.sqrt(np.maximum(variances, 0))
        return deviations


def combined(fused: Float32, alone: Float32) -> Float32:
    """The distance of a probe from those of its fused vector ``(...)`` and of its pictures ``(N, ...)``.

    What is near to one picture alone counts as well: the others may be too bad to show anybody.
    """
    together: Float32 = (fused + _NEAREST_PICTURE * alone.min(axis=0)) / (1 + _NEAREST_PICTURE)
    return together


def plain_space(dim: int, curve: ScoreCurve) -> FaceSpace:
    """Embeddings as they are, of a model whose space has not been learnt."""
    return FaceSpace(
        np.zeros(dim, np.float32), np.eye(dim, dtype=np.float32), np.zeros((dim, dim), np.float32), curve
    )


def learn_space(people: Float32, good: Float32, bad: Float32, curve: ScoreCurve) -> FaceSpace:
    """people ``(N, D)``: unit embeddings, each of somebody else. good, bad ``(M, D)``: of pictures of somebody and of
    worse pictures of the same people."""
    mean = people.mean(axis=0)
    away = normalize(bad - mean) - normalize(good - mean)
    values, vectors = np.linalg.eigh(_shrunk(away.T @ away / len(away), _WITHIN_SHRINKAGE))
    whitening = (vectors * (values / values.mean()) ** -0.5) @ vectors.T
    projected = normalize((people - mean) @ whitening)
    spread = _shrunk(np.cov(projected.T), _SPREAD_SHRINKAGE)
    return FaceSpace(_as_stored(mean), _as_stored(whitening), _as_stored(spread), curve)


def _as_stored(array: NDArray[Any]) -> Float32:
    return array.astype(np.float16).astype(np.float32)


def _shrunk(covariance: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Ledoit and Wolf 2004: the sample's covariance, and a share of the identity of the same trace."""
    identity = np.eye(len(covariance)) * np.trace(covariance) / len(covariance)
    mixed: NDArray[np.float64] = (1 - share) * covariance + share * identity
    return mixed


def fit(impostors: Float32, genuine: Float32) -> ScoreCurve:
    """The curve after which strangers reach each band at the rate of `BANDS`, or more rarely.

    impostors, genuine: distances of pairs of two people and of one. 0 is the median pair of two people, `GENUINE` that
    of one, 100 the same vector. Beyond the rarer of the measured rates the distribution of impostors is continued as
    an exponential one through the quantiles at both: large sets of photographs contain some people twice, so that what
    is rarer than one in ten thousand there is not two people. (A normal one falls faster than what is left when these
    are taken out.)

    Raises ValueError where the embeddings tell people apart too badly for a band of certainty.
    """
    common, rare = (float(np.quantile(impostors, rate / _CAUTION)) for rate in _MEASURED)
    step = (common - rare) / math.log(_MEASURED[0] / _MEASURED[1])
    anchors = {score: common - step * math.log(_MEASURED[0] / rate) for score, rate in BANDS}
    anchors |= {0: float(np.median(impostors)), GENUINE: float(np.median(genuine)), 100: 0.0}
    falling = sorted(anchors.items(), reverse=True)
    return ScoreCurve(
        tuple(round(distance, 4) for _, distance in falling), tuple(float(score) for score, _ in falling)
    )


@cache
def packaged() -> dict[str, dict[str, Any]]:
    """By the embedder's fingerprint, made by `python -m tests.benchmarks.scores --write`."""
    table: dict[str, dict[str, Any]] = json.loads(
        (resources.files("prosopon.models.matching") / "scores.json").read_text()
    )
    return table


def load_space(models: ModelSettings, fingerprint: str, dim: int) -> FaceSpace:
    """The space of an embedder, by its fingerprint.

    Where only a calibration of this machine is known, embeddings are compared as they are. Raises `NotCalibrated`.
    """
    if found := same_network(fingerprint, packaged()):
        with np.load(SPACES) as arrays:
            mean, whitening, spread = (arrays[f"{found}/{part}"].astype(np.float32) for part in PARTS)
        return FaceSpace(mean, whitening, spread, _curve(packaged()[found]["learnt"]))
    known = calibration(models, fingerprint) or {}
    if "scores" not in known:
        raise NotCalibrated("scores are", fingerprint)
    return plain_space(dim, _curve(known["scores"]))


def as_entry(curve: ScoreCurve) -> dict[str, Any]:
    """As it is kept."""
    return {"distances": list(curve.distances), "scores": list(curve.scores)}


def _curve(entry: dict[str, Any]) -> ScoreCurve:
    return ScoreCurve(tuple(entry["distances"]), tuple(entry["scores"]))
