"""Faces of a set, found and embedded once and kept: again only where the detector or the embedder is another."""

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prosopon.models.evaluation.sets import Portrait, PortraitSet
from prosopon.models.faces.detections import Detections, Float32, RGBImage
from prosopon.models.matching.vectors import normalize
from prosopon.models.pictures.crops import cut
from prosopon.models.roles import FaceDetector, FaceEmbedder
from prosopon.models.weights.checksums import write_atomically

Change = Callable[[RGBImage, Detections], RGBImage]
"""A worse copy of a picture, by the picture and its biggest face."""

Progress = Callable[[int, int], None]
"""Called with the pictures that were looked at and how many there are."""

Arrays = dict[str, NDArray[Any]]

_BATCH = 32
_NOTHING = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty((0, 5, 2), np.float32))


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
        progress: Progress = lambda done, total: None,
    ) -> Embedded:
        """changed: a name for what `change` makes; pictures of whose original no face is found count as missed."""
        path = self._path(portraits, changed, self._embedder.fingerprint)
        if (kept := _load(path)) is None:
            faces = self._faces(portraits, change, changed, progress)
            kept = {"found": faces["found"], "embeddings": self._embed(portraits, change, changed, faces)}
            _keep(path, kept)
        found = tuple(portraits.portraits[number] for number in kept["found"].tolist())
        return Embedded(found, kept["embeddings"], len(portraits.portraits) - len(found))

    def _embed(self, portraits: PortraitSet, change: Change | None, changed: str, faces: Arrays) -> Float32:
        """Unit embeddings ``(N, D)`` of the faces that were found."""
        originals = self._faces(portraits, None, "", lambda done, total: None) if change else faces
        place = {number: row for row, number in enumerate(originals["found"].tolist())}
        chips, embeddings = [], [np.empty((0, self._embedder.dim), np.float32)]
        for row, number in enumerate(faces["found"].tolist()):
            picture = portraits.portraits[number].read()
            assert picture is not None
            if change is not None:
                picture = change(picture, _face(originals, place[number]))
            face = _face(faces, row)
            chips.append(cut(picture, face.boxes[0], face.landmarks[0], self._embedder.crop).pixels)
            if len(chips) == _BATCH or row == len(faces["found"]) - 1:
                embeddings.append(normalize(self._embedder.embed(np.stack(chips))))
                chips = []
        return np.concatenate(embeddings)

    def _faces(
        self, portraits: PortraitSet, change: Change | None, changed: str, progress: Progress
    ) -> Arrays:
        """found: positions of the portraits with a face; boxes, scores, landmarks: of the biggest."""
        path = self._path(portraits, changed, "")
        if (kept := _load(path)) is not None:
            return kept
        originals = self._faces(portraits, None, "", progress) if change else None
        place = {} if originals is None else {n: row for row, n in enumerate(originals["found"].tolist())}
        found, faces = [], []
        for number, portrait in enumerate(portraits.portraits):
            progress(number + 1, len(portraits.portraits))
            picture = portrait.read() if originals is None or number in place else None
            if picture is not None and originals is not None and change is not None:
                picture = change(picture, _face(originals, place[number]))
            seen = self._detector.detect([picture], self._threshold)[0] if picture is not None else _NOTHING
            if len(seen):
                found.append(number)
                faces.append(seen.largest_first().take(np.arange(1)))
        rows = faces or [_NOTHING]
        arrays: Arrays = {
            "found": np.array(found, np.int64),
            "boxes": np.concatenate([face.boxes for face in rows]),
            "scores": np.concatenate([face.scores for face in rows]),
            "landmarks": np.concatenate([face.landmarks for face in rows]),
        }
        _keep(path, arrays)
        return arrays

    def _path(self, portraits: PortraitSet, changed: str, embedder: str) -> Path | None:
        if self._cache is None:
            return None
        parts = (portraits.name, _stamp(portraits.portraits), changed, self._detector.fingerprint, embedder)
        key = hashlib.sha256("\n".join((*parts, str(self._threshold))).encode()).hexdigest()[:24]
        return self._cache / f"{portraits.name}{'-' if changed else ''}{changed}.{key}.npz"


def _face(faces: Arrays, row: int) -> Detections:
    """One of the faces that were found."""
    return Detections(*(faces[name][row : row + 1] for name in ("boxes", "scores", "landmarks")))


def _load(path: Path | None) -> Arrays | None:
    if path is None or not path.exists():
        return None
    with np.load(path, allow_pickle=False) as kept:
        return dict(kept)


def _keep(path: Path | None, arrays: Arrays) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = io.BytesIO()
        np.savez(stream, **arrays)  # type: ignore[arg-type]
        write_atomically(path, stream.getvalue())


def _stamp(portraits: Sequence[Portrait]) -> str:
    """Of the files: names, sizes and times."""
    states = {path: path.stat() for path in {portrait.path for portrait in portraits}}
    told = (
        f"{portrait.key} {states[portrait.path].st_size} {states[portrait.path].st_mtime_ns}"
        for portrait in portraits
    )
    return hashlib.sha256("\n".join(told).encode()).hexdigest()
