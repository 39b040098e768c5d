"""From distances of embeddings to the similarity that clients see."""

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

from prosopon.models.faces.detections import Float32


@dataclass(frozen=True, slots=True)
class SimilarityCurve:
    """``(tanh((c0 - d) * c1) + 1) / 2`` of the L2 distance d of two unit embeddings: CompreFace's form.

    c0: the distance of similarity 0.5; c1: how steeply similarity falls there.
    """

    c0: float
    c1: float

    def similarity(self, distance: Float32) -> Float32:
        """Any shape, distances in 0..2, to similarities in 0..1."""
        similarity: Float32 = ((np.tanh((self.c0 - distance) * self.c1) + 1) / 2).astype(np.float32)
        return similarity

    def distance(self, similarity: float) -> float:
        """The distance of a similarity. Those at or beyond 0 and 1 give the infinities."""
        if similarity <= 0:
            return math.inf
        if similarity >= 1:
            return -math.inf
        return self.c0 - math.atanh(2 * similarity - 1) / self.c1

    def of_inner_products(self, products: Float32) -> Float32:
        """Similarities of pairs of unit embeddings from their inner products."""
        return self.similarity(np.sqrt(np.maximum(0, 2 - 2 * products)))


FALSE_MATCH_RATE = 1e-3
"""Where similarity is 0.5."""

GENUINE_SIMILARITY = 0.97858
"""Similarity of the median pair of one person: the example of CompreFace's documentation."""


def fit(impostors: Float32, genuine: Float32) -> SimilarityCurve:
    """The curve that gives 0.5 at `FALSE_MATCH_RATE` and `GENUINE_SIMILARITY` to the median genuine pair.

    impostors, genuine: L2 distances of unit embeddings, of pairs of two people and of one.
    """
    c0 = float(np.quantile(impostors, FALSE_MATCH_RATE))
    median = float(np.median(genuine))
    if median >= c0:
        raise ValueError(
            "pairs of one person lie no closer than those of two: the embeddings tell nobody apart"
        )
    return SimilarityCurve(c0, math.atanh(2 * GENUINE_SIMILARITY - 1) / (c0 - median))


class NotCalibrated(LookupError):
    """No similarity curve is known for an embedder."""


@cache
def curves() -> dict[str, SimilarityCurve]:
    """The calibrated curves by the embedder's name, made by `python -m tests.benchmarks.calibrate`.

    All of InsightFace's embedders are called `arcface` and share one curve, which was measured with the
    smallest of them; the larger ones tell people apart better, so that it is strict for them.
    """
    table = json.loads((resources.files("prosopon.models.matching") / "calibration.json").read_text())
    return {name: SimilarityCurve(entry["c0"], entry["c1"]) for name, entry in table.items()}


def load_similarity(embedder: str) -> SimilarityCurve:
    """The curve of an embedder, by its `name`. Raises `NotCalibrated`."""
    if embedder not in curves():
        raise NotCalibrated(
            f"no similarity curve is known for '{embedder}': add it to models/matching/calibration.json"
        )
    return curves()[embedder]
