"""From distances of embeddings to the similarity that clients see."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtri, ndtri_exp

from prosopon.configs.settings import ModelSettings
from prosopon.models.faces.detections import Float32
from prosopon.models.weights.catalogue import CATALOGUE
from prosopon.models.weights.checksums import write_atomically


@dataclass(frozen=True, slots=True)
class SimilarityCurve:
    """``(tanh((c0 - d) * c1) + 1) / 2`` of the L2 distance d of two unit embeddings: CompreFace's form.

    c0: the distance of similarity 0.5; c1: how steeply similarity falls there. mean: of the distances of two people;
    None where what is kept of an earlier release does not tell it.
    """

    c0: float
    c1: float
    mean: float | None = None

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

    def logit(self, distance: NDArray[np.float64]) -> NDArray[np.float64]:
        """``log(s / (1 - s))`` of the similarity s: linear in the distance, where s itself ends at 0 and 1."""
        return 2 * self.c1 * (self.c0 - distance)

    def among(self, distance: NDArray[np.float64], count: int) -> NDArray[np.float64]:
        """The distance that one pair of two people reaches as rarely as the nearest of `count` reaches this one.

        Strangers' distances are taken to be normal in the tail that the curve was fitted to, between the first and the
        last of `ANCHORS`; at a rate F of one pair, the nearest of `count` has ``1 - (1 - F) ** count``.
        """
        (near, often), (far, seldom) = ANCHORS[0], ANCHORS[-1]
        start, end = self.distance(near), self.distance(far)
        deviation = (start - end) / (ndtri(often) - ndtri(seldom))
        mean = start - deviation * ndtri(often)
        rate = log_ndtr((distance - mean) / deviation)
        # log(1 - (1 - F) ** count), which is log(F) + log(count) where F is too small to be taken from 1.
        least = np.exp(np.minimum(rate, -1e-12))
        nearest = np.where(rate < -30, rate + math.log(count), np.log(-np.expm1(count * np.log1p(-least))))
        found: NDArray[np.float64] = mean + deviation * ndtri_exp(np.minimum(nearest, -1e-12))
        return found

    def of_inner_products(self, products: Float32) -> Float32:
        """Similarities of pairs of unit embeddings from their inner products."""
        return self.similarity(np.sqrt(np.maximum(0, 2 - 2 * products)))


ANCHORS: tuple[tuple[float, float], ...] = ((0.5, 1e-2), (0.9, 1e-3), (0.98, 1e-4))
"""Similarity, and the share of pairs of two people that reach it: what CompreFace's clients expect of the thresholds in
their configuration."""


def fit(impostors: Float32) -> SimilarityCurve:
    """The curve that comes nearest to `ANCHORS`. impostors: L2 distances of unit embeddings, of pairs of two people.

    In ``atanh(2 s - 1) = (c0 - d) * c1`` both unknowns are linear: least squares over the anchors.
    """
    found = np.array([float(np.quantile(impostors, rate)) for _, rate in ANCHORS])
    wanted = np.array([math.atanh(2 * similarity - 1) for similarity, _ in ANCHORS])
    if np.ptp(found) <= 0:
        raise ValueError("the embeddings tell nobody apart: all pairs of two people lie at one distance")
    slope, offset = np.polyfit(found, wanted, 1)
    if slope >= 0:
        raise ValueError("the embeddings tell nobody apart: nearer pairs are not rarer")
    return SimilarityCurve(float(-offset / slope), float(-slope), float(np.mean(impostors, dtype=np.float64)))


class NotCalibrated(LookupError):
    """No similarity, or no scores, are known for an embedder. The message names the command that finds them."""

    def __init__(self, what: str, fingerprint: str) -> None:
        super().__init__(
            f"no {what} known for the embedder '{fingerprint}': run `prosopon calibrate` with pictures of strangers, "
            f"or `prosopon calibrate --like FINGERPRINT` to take what another embedder has (known: "
            f"{', '.join(packaged())})"
        )
        self.what, self.fingerprint = what, fingerprint

    def __reduce__(self) -> tuple[type["NotCalibrated"], tuple[str, str]]:
        return NotCalibrated, (self.what, self.fingerprint)


@cache
def packaged() -> dict[str, dict[str, Any]]:
    """The calibrations of the project's embedders by their fingerprint, made by `prosopon calibrate`.

    c0, c1, mean: of `SimilarityCurve`; impostor_pairs: that they were fitted on.
    """
    table: dict[str, dict[str, Any]] = json.loads(
        (resources.files("prosopon.models.matching") / "calibration.json").read_text()
    )
    return table


def kept(models: ModelSettings, fingerprint: str) -> Path:
    """Where this machine keeps what `prosopon calibrate` found for an embedder."""
    return models.directory / "calibrations" / f"{fingerprint}.json"


def keep(path: Path, entry: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(entry, indent=2).encode() + b"\n")


def same_network(fingerprint: str, known: Mapping[str, Any]) -> str | None:
    """Of the known fingerprints the one whose calibration serves a fingerprint: its own, or that of another release of
    the same artifact, whose form alone differs."""
    if fingerprint in known:
        return fingerprint
    name, _, preprocessing = _parts(fingerprint)
    if name in CATALOGUE and CATALOGUE[name].others:
        return next((other for other in known if _parts(other)[::2] == (name, preprocessing)), None)
    return None


def _parts(fingerprint: str) -> tuple[str, str, str]:
    name, digest, preprocessing = (
        fingerprint.rsplit("-", 2) if fingerprint.count("-") >= 2 else (fingerprint, "", "")
    )
    return name, digest, preprocessing


def calibration(models: ModelSettings, fingerprint: str) -> dict[str, Any] | None:
    """What this machine or the project found for an embedder, by its fingerprint."""
    path = kept(models, fingerprint)
    if path.exists():
        entry: dict[str, Any] = json.loads(path.read_text())
        return entry
    found = same_network(fingerprint, packaged())
    return packaged()[found] if found else None


def load_similarity(models: ModelSettings, fingerprint: str) -> SimilarityCurve:
    """The curve of an embedder, by its fingerprint. Raises `NotCalibrated`."""
    entry = calibration(models, fingerprint)
    if entry is None:
        raise NotCalibrated("similarity is", fingerprint)
    return SimilarityCurve(entry["c0"], entry["c1"], entry.get("mean"))
