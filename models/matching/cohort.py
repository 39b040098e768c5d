"""Strangers: embeddings of people who do not exist, computed once per embedder and kept beside the weights.

Run as a program it computes them for the settings on its standard input, and ends when its parent does.
"""

import contextlib
import fcntl
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import numpy as np

from prosopon.configs.settings import DetectionSettings, ModelSettings
from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.generation.latents import Z_DIM
from prosopon.models.load import load_detector, load_embedder
from prosopon.models.matching.vectors import normalize
from prosopon.models.pictures.crops import cut
from prosopon.models.roles import FaceDetector, FaceEmbedder
from prosopon.models.runtime.session import Compute
from prosopon.models.weights.catalogue import CATALOGUE
from prosopon.models.weights.checksums import write_atomically
from prosopon.models.weights.registry import ModelUnavailable, Registry, Weights

SIZE = 500
GENERATOR = ("mobilestylegan-mapper", "mobilestylegan-generator")
_SAVE_EVERY = 25
_RESOLUTION = 512
_NICE = 19

Progress = Callable[[int, int], None]
"""Called with the strangers that there are and how many there will be."""


class StrangerSource(Protocol):
    """Portraits of people who are nobody's enrolment."""

    fingerprint: str
    """Changes whenever the portraits do."""

    def portrait(self, number: int) -> RGBImage:
        """The stranger of this number, from 0, always the same."""
        ...


class GeneratedStrangers:
    """The generator's faces: everybody of them another one, and none of a real person.

    Not truncated: faces near the mean resemble one another more than people do.
    """

    def __init__(self, models: ModelSettings, compute: Compute) -> None:
        """Raises `ModelUnavailable` where the generator's weights are not on this machine."""
        # They bring torch, which takes longer than all else: those who ask for a cohort shall not wait for it.
        from prosopon.models.generation.mobile_stylegan import MobileStyleGan, MobileStyleGanMapper

        mapper, generator = _weights(models)
        self._mapper = MobileStyleGanMapper(*_pair(mapper), compute)
        self._generator = MobileStyleGan(*_pair(generator), compute, _RESOLUTION)
        self.fingerprint = f"{self._mapper.fingerprint}+{self._generator.fingerprint}"

    def portrait(self, number: int) -> RGBImage:
        z = np.random.default_rng(number).standard_normal((1, Z_DIM), dtype=np.float32)
        picture: RGBImage = self._generator.generate(self._mapper.map(z))[0]
        return picture


def _weights(models: ModelSettings) -> list[Weights]:
    """Of the catalogue's generator, whatever else the settings choose: one cohort an embedder is enough."""
    registry = Registry.of(models)
    return [registry.weights(CATALOGUE[name]) for name in GENERATOR]


def _pair(weights: Weights) -> tuple[Path, Path]:
    graph, tensors = weights.paths
    return graph, tensors


def can_be_generated(models: ModelSettings) -> bool:
    """Whether the generator's weights are on this machine."""
    try:
        return bool(_weights(models))
    except ModelUnavailable:
        return False


@dataclass(frozen=True, slots=True)
class Cohort:
    """embeddings: ``(S, D)`` float32, unit norm. fingerprint: of the portraits and of the embedder."""

    fingerprint: str
    embeddings: Float32


def cohort_path(models: ModelSettings, embedder: str) -> Path:
    """Where the strangers of an embedder, by its fingerprint, are kept."""
    return models.directory / "cohorts" / f"{sha256(embedder.encode()).hexdigest()[:16]}.npy"


def load_cohort(models: ModelSettings, embedder: str, size: int = SIZE) -> Cohort | None:
    """The strangers of an embedder, by its fingerprint; None while there are fewer than `size` of them."""
    kept = _read(cohort_path(models, embedder), embedder)
    return kept if kept is not None and len(kept.embeddings) >= size else None


def compute_cohort(
    source: StrangerSource,
    detector: FaceDetector,
    embedder: FaceEmbedder,
    path: Path,
    progress: Progress = lambda done, total: None,
    size: int = SIZE,
) -> Cohort:
    """Embed `size` strangers and keep them in `path`. What an earlier run has done is not done again.

    One process at a time works on a file; another one waits and finds the result.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fingerprint = f"{source.fingerprint}+{embedder.fingerprint}"
    with _locked(path.with_suffix(".lock")):
        kept = _read(path, embedder.fingerprint)
        found: list[Float32] = []
        if kept is not None and kept.fingerprint == fingerprint:
            found = list(kept.embeddings)
        number = _first_unused(path) if found else 0
        while len(found) < size:
            embedding = _embed(source.portrait(number), detector, embedder)
            number += 1
            if embedding is not None:
                found.append(embedding)
            progress(len(found), size)
            if len(found) % _SAVE_EVERY == 0 or len(found) == size:
                _write(path, embedder.fingerprint, fingerprint, np.stack(found), number)
    return Cohort(fingerprint, np.stack(found))


def _embed(picture: RGBImage, detector: FaceDetector, embedder: FaceEmbedder) -> Float32 | None:
    """Of the biggest face; None where the detector finds none."""
    faces = detector.detect([picture], 0.5)[0].largest_first()
    if not len(faces):
        return None
    chip = cut(picture, faces.boxes[0], faces.landmarks[0], embedder.crop).pixels
    embedding: Float32 = normalize(embedder.embed(chip[np.newaxis])[0])
    return embedding


def _write(path: Path, embedder: str, fingerprint: str, embeddings: Float32, number: int) -> None:
    stream = io.BytesIO()
    header = {"embedder": embedder, "fingerprint": fingerprint, "number": number}
    np.save(stream, np.frombuffer(json.dumps(header).encode(), np.uint8), allow_pickle=False)
    np.save(stream, embeddings, allow_pickle=False)
    write_atomically(path, stream.getvalue())


def _load(path: Path) -> tuple[dict[str, str | int], Float32]:
    with path.open("rb") as stream:
        header = json.loads(np.load(stream, allow_pickle=False).tobytes())
        return header, np.load(stream, allow_pickle=False)


def _read(path: Path, embedder: str) -> Cohort | None:
    try:
        header, embeddings = _load(path)
    except (OSError, ValueError, EOFError):  # Absent or damaged: it is computed again.
        return None
    return Cohort(str(header["fingerprint"]), embeddings) if header["embedder"] == embedder else None


def _first_unused(path: Path) -> int:
    return int(_load(path)[0]["number"])


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> None:
    """For a server, which starts this as a process of the lowest priority: faces take minutes."""
    os.nice(_NICE)
    parent, compute = os.getppid(), Compute()
    compute.limit_libraries()
    settings = json.load(sys.stdin)
    models = ModelSettings.model_validate(settings["models"])
    detector = load_detector(models, DetectionSettings.model_validate(settings["detection"]), compute)
    embedder = load_embedder(models, compute)

    def orphaned(done: int, total: int) -> None:
        if os.getppid() != parent:
            sys.exit("the server has ended")

    path = cohort_path(models, embedder.fingerprint)
    compute_cohort(GeneratedStrangers(models, compute), detector, embedder, path, orphaned)


if __name__ == "__main__":
    main()
