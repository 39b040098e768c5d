"""Faces of a set, found and embedded once and kept: again only where the detector or the embedder is another."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prosopon.models.evaluation.sets import Portrait, PortraitSet
from prosopon.models.faces.detections import Detections, Float32, RGBImage
from prosopon.models.matching.vectors import normalize
from prosopon.models.pictures.crops import cut
from prosopon.models.roles import FaceDetector, FaceEmbedder

Change = Callable[[RGBImage, Detections], RGBImage]
"""A worse copy of a picture, by the picture and its biggest face."""

_BATCH = 32


@dataclass(frozen=True, slots=True)
class Embedded:
    """portraits: in which a face was found; embeddings: ``(N, D)`` float32, unit norm; missed: without a face."""

    portraits: tuple[Portrait, ...]
    embeddings: Float32
    missed: int


class Embedder:
    """A detector and an embedder with a folder in which results are kept.

    threshold: of the detector's score; the biggest face is taken.
    """

    def __init__(
        self, detector: FaceDetector, embedder: FaceEmbedder, cache: Path | None, threshold: float
    ) -> None:
        self._detector, self._embedder = detector, embedder
        self._cache, self._threshold = cache, threshold

    def __call__(
        self,
        portraits: PortraitSet,
        change: Change | None = None,
        changed: str = "",
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Embedded:
        """changed: a name for what `change` makes; pictures of whose original no face is found count as missed."""
        path = self._path(portraits, changed)
        if path is not None and path.exists():
            with np.load(path, allow_pickle=False) as kept:
                return self._result(portraits, kept["found"], kept["embeddings"])
        found, chips, embeddings = [], [], []
        for number, portrait in enumerate(portraits.portraits):
            chip = self._chip(portrait, change)
            if chip is not None:
                found.append(number)
                chips.append(chip)
            if len(chips) == _BATCH or (chips and number == len(portraits.portraits) - 1):
                embeddings.append(normalize(self._embedder.embed(np.stack(chips))))
                chips = []
                progress(number + 1, len(portraits.portraits))
        if chips:
            embeddings.append(normalize(self._embedder.embed(np.stack(chips))))
        numbers = np.array(found, np.int64)
        vectors = np.concatenate(embeddings) if embeddings else np.empty((0, self._embedder.dim), np.float32)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial.npz")
            np.savez(partial, found=numbers, embeddings=vectors)
            partial.replace(path)
        return self._result(portraits, numbers, vectors)

    def _chip(self, portrait: Portrait, change: Change | None) -> RGBImage | None:
        picture = portrait.read()
        if picture is None:
            return None
        faces = self._biggest(picture)
        if change is not None and len(faces):
            picture = change(picture, faces)
            faces = self._biggest(picture)
        if not len(faces):
            return None
        return cut(picture, faces.boxes[0], faces.landmarks[0], self._embedder.crop).pixels

    def _biggest(self, picture: RGBImage) -> Detections:
        return self._detector.detect([picture], self._threshold)[0].largest_first()

    def _path(self, portraits: PortraitSet, changed: str) -> Path | None:
        if self._cache is None:
            return None
        stamp = _stamp(portraits.portraits)
        parts = (portraits.name, stamp, changed, self._detector.fingerprint, self._embedder.fingerprint)
        key = hashlib.sha256("\n".join((*parts, str(self._threshold))).encode()).hexdigest()[:24]
        return self._cache / f"{portraits.name}{'-' if changed else ''}{changed}.{key}.npz"

    @staticmethod
    def _result(portraits: PortraitSet, numbers: np.ndarray, embeddings: Float32) -> Embedded:
        found = tuple(portraits.portraits[number] for number in numbers.tolist())
        return Embedded(found, embeddings, len(portraits.portraits) - len(found))


def _stamp(portraits: Sequence[Portrait]) -> str:
    """Of the files: names, sizes and times."""
    states = {path: path.stat() for path in {portrait.path for portrait in portraits}}
    told = (
        f"{portrait.key} {states[portrait.path].st_size} {states[portrait.path].st_mtime_ns}"
        for portrait in portraits
    )
    return hashlib.sha256("\n".join(told).encode()).hexdigest()
