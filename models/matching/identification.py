"""Open-set identification: which of some people a face belongs to, or to none of them.

A classifier over exemplars. Alone in a collection a person's confidence is the calibrated similarity to the one
picture. Among M pictures a stranger has M chances to look like somebody, so that the nearest of them is falsely
accepted M times as often. The odds are therefore those of the similarity which a pair reaches as rarely as a stranger
reaches anybody here (`SimilarityCurve.among`): 0.5 keeps its meaning, one stranger in a hundred is taken for anybody
enrolled, however many they are. Pictures of one person look alike, and so it is rather less than one.

Pictures of one studio look alike, and so do people of one group: a stranger from there is near to everybody. As much as
a probe is nearer to everybody else than two people are on average is therefore added to its distance to somebody: test
normalisation, with those enrolled as the cohort (Auckenthaler et al. 2000; `OpenSetClassifier.nearer_to_others`).

A lookalike takes its share: the odds are multiplied by the posterior of the person among everybody enrolled,

    p_i = exp(e_i) / (sum_j exp(e_j) + N * mean_c exp(e_c))

with e the logit of the similarity to the nearest of a person's pictures, over the N people j and, where they were
learnt, the strangers c. The strangers' mass N follows the collection's size, as their number does: cohort normalisation
of speaker and face verification (Auckenthaler et al. 2000; Tax and Duin 2008 for the rejecting class).
"""

import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logsumexp

from prosopon.models.faces.detections import Float32
from prosopon.models.matching.calibration import SimilarityCurve

FEWEST_STRANGERS = 200
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Candidate:
    """confidence: 0 to 1; one stranger in a hundred reaches 0.5 with anybody enrolled."""

    label: str
    confidence: float


@dataclass(frozen=True, slots=True)
class OpenSetClassifier:
    """Immutable. labels: of the people; owners: ``(M,)`` position of each picture's person in them.

    embeddings ``(M, D)`` and strangers ``(S, D)``: float32, unit norm; S is 0 where no strangers were learnt.
    """

    curve: SimilarityCurve
    labels: tuple[str, ...]
    owners: NDArray[np.int32]
    embeddings: Float32
    strangers: Float32

    def rank(self, probe: Float32) -> list[Candidate]:
        """Everybody, the most likely first. probe: ``(D,)`` float32, unit norm."""
        confidences = self.confidences(probe[np.newaxis])[0]
        order = np.argsort(-confidences, kind="stable")
        return [Candidate(self.labels[place], float(confidences[place])) for place in order.tolist()]

    def confidences(self, probes: Float32) -> Float32:
        """Of each person: probes ``(P, D)`` float32, unit norm, to ``(P, N)`` float32."""
        confidences: Float32 = expit(self.log_odds(probes))
        return confidences

    def log_odds(self, probes: Float32) -> Float32:
        """As `confidences`, before the sigmoid: what to compare where confidences are too near 0 or 1."""
        of_pictures = self._distances(probes, self.embeddings)
        nearest = np.full((len(probes), len(self.labels)), np.inf)
        np.minimum.at(nearest.T, self.owners, of_pictures.T)
        people = self.curve.logit(nearest)
        everybody = logsumexp(people, axis=1)
        if len(self.strangers):
            strangers = logsumexp(self.curve.logit(self._distances(probes, self.strangers)), axis=1)
            mass = math.log(len(self.labels) / len(self.strangers))
            everybody = np.logaddexp(everybody, strangers + mass)
        alike = self.nearer_to_others(of_pictures)
        rarity = self.curve.logit(self.curve.among(nearest + alike, len(self.embeddings)))
        log_odds: Float32 = (rarity + people - everybody[:, np.newaxis]).astype(np.float32)
        return log_odds

    def nearer_to_others(self, of_pictures: NDArray[np.float64]) -> NDArray[np.float64]:
        """How much nearer each probe is to the others than two people are: ``(P, M)`` distances to ``(P, N)``, >= 0.

        The mean is of everybody else's pictures, none of them taken for nearer than similarity 0.5, since one person
        who is enrolled under two names is no studio. It is shrunk: two people tell nothing, every further one counts as
        much as what is known without them.
        """
        if self.curve.mean is None or len(self.labels) < 3:
            return np.zeros((len(of_pictures), len(self.labels)))
        bounded = np.maximum(of_pictures, self.curve.c0)
        own = np.zeros((len(of_pictures), len(self.labels)))
        np.add.at(own.T, self.owners, bounded.T)
        pictures = np.bincount(self.owners, minlength=len(self.labels))
        others = (bounded.sum(axis=1, keepdims=True) - own) / (len(self.owners) - pictures)
        seen = len(self.labels) - 2
        nearer: NDArray[np.float64] = np.maximum(0, self.curve.mean - others) * (seen / (seen + 1))
        return nearer

    def _distances(self, probes: Float32, exemplars: Float32) -> NDArray[np.float64]:
        """``(P, M)``, in double precision: the least bits of nearby pictures count."""
        products = probes.astype(np.float64) @ exemplars.T.astype(np.float64)
        distances: NDArray[np.float64] = np.sqrt(np.maximum(0, 2 - 2 * products))
        return distances

    def to_bytes(self) -> bytes:
        """The same classifier always gives the same bytes, so that two trainers agree."""
        stream = io.BytesIO()
        header = {
            "format": _FORMAT,
            "c0": self.curve.c0,
            "c1": self.curve.c1,
            "mean": self.curve.mean,
            "labels": self.labels,
        }
        arrays = (
            np.frombuffer(json.dumps(header).encode(), np.uint8),
            self.owners,
            self.embeddings,
            self.strangers,
        )
        for array in arrays:
            np.save(stream, array, allow_pickle=False)
        return stream.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "OpenSetClassifier":
        """Raises ValueError for what `to_bytes` did not write."""
        stream = io.BytesIO(data)
        text, owners, embeddings, strangers = (np.load(stream, allow_pickle=False) for _ in range(4))
        header = json.loads(text.tobytes())
        if header["format"] != _FORMAT:
            raise ValueError(f"a classifier of format {header['format']}, not {_FORMAT}")
        curve = SimilarityCurve(header["c0"], header["c1"], header.get("mean"))
        return cls(curve, tuple(header["labels"]), owners, embeddings, strangers)


def fit(
    labels: Sequence[str], embeddings: Float32, curve: SimilarityCurve, strangers: Float32 | None = None
) -> OpenSetClassifier:
    """A classifier of the people with these pictures.

    labels: the person of each row of embeddings ``(M, D)``; strangers: ``(S, D)`` of people who are nobody enrolled,
    all float32 of unit norm. As many strangers are used as there are people, but not fewer than
    `FEWEST_STRANGERS` where there are so many: the first ones, so that the result is always the same.

    Raises ValueError without a picture.
    """
    if not len(labels):
        raise ValueError("a classifier needs at least one picture")
    people = tuple(dict.fromkeys(labels))
    place = {label: index for index, label in enumerate(people)}
    owners = np.array([place[label] for label in labels], np.int32)
    if strangers is None:
        strangers = np.empty((0, embeddings.shape[1]), np.float32)
    used = strangers[: max(FEWEST_STRANGERS, len(people))]
    return OpenSetClassifier(
        curve,
        people,
        owners,
        np.ascontiguousarray(embeddings, np.float32),
        np.ascontiguousarray(used, np.float32),
    )
