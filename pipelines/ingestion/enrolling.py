"""Bulk enrolment: pictures of known people into galleries, through the running server where there is one.

Pictures are decoded, looked at and embedded in this process, on all of its cores, and written in groups. What is
enrolled is found in the records, so that a run which was stopped goes on where it was.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from typing import Protocol
from uuid import UUID

import numpy as np
from ray.serve.handle import DeploymentHandle

from prosopon.configs.settings import Settings
from prosopon.deployments.state.blobs import Blob
from prosopon.deployments.state.errors import ImageIdTaken, InvalidEmbedding, InvalidSubject, StateError
from prosopon.deployments.state.galleries.faces import FaceRecord, NewFace
from prosopon.deployments.state.galleries.source_ledger import NO_FACE
from prosopon.deployments.state.galleries.store import GalleryStore
from prosopon.models.faces.detections import Float32
from prosopon.models.load import load_detector, load_embedder
from prosopon.models.pictures.crops import cut
from prosopon.models.pictures.decoding import ImageError, decode, media_type
from prosopon.models.runtime.session import Compute
from prosopon.pipelines.ingestion.cluster import join_running
from prosopon.pipelines.ingestion.folders import LEFT_OUT
from prosopon.pipelines.ingestion.sinks import RunningIndex

SEVERAL_FACES, REFUSED, FAILED, COPY = "several_faces", "refused", "failed", "copy"
_AT_ONCE = 16
_BUSY_NICENESS = 10
"""Beside a server, whose clients wait."""


@dataclass(frozen=True, slots=True)
class Example:
    """A picture to enrol. place: what a report calls it; image_id: chosen so that a repeated run finds it; picture:
    its file, None where there is none; embedding: ``(D,)`` float32 to keep, None where it is to be made of the picture.
    """

    place: str
    subject: str
    image_id: UUID
    picture: bytes | None
    embedding: Float32 | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """What is not enrolled, and why."""

    place: str
    subject: str | None
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Known:
    """What is enrolled already."""


Entry = Example | Skipped | Known


@dataclass(slots=True)
class Summary:
    """What a run did. known: enrolled before; skipped: by reason; kept: of the enrolled, with the embedding they came
    with."""

    done: int = 0
    enrolled: int = 0
    kept: int = 0
    known: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def faultless(self) -> bool:
        return not set(self.skipped) - LEFT_OUT - {COPY}


@dataclass(frozen=True, slots=True)
class Watch:
    """Who follows a run: `skipped` hears of what is not enrolled, `progress` whenever something is done."""

    skipped: Callable[[Skipped], None]
    progress: Callable[[Summary], None]


class Galleries(Protocol):
    """Those methods of `GalleryStore` by which people are enrolled, of a store here or in a running server."""

    def add_faces(self, faces: Sequence[NewFace]) -> list[FaceRecord | StateError]: ...
    def create_subject(self, gallery: int, name: str) -> None: ...


class RunningGalleries(RunningIndex):
    """`Galleries` of the running application. fingerprint: of the embedder that the faces are from."""

    def __init__(self, index: DeploymentHandle, fingerprint: str) -> None:
        super().__init__(index)
        self._fingerprint = fingerprint

    def add_faces(self, faces: Sequence[NewFace]) -> list[FaceRecord | StateError]:
        return [self._add(face) for face in faces]

    def _add(self, face: NewFace) -> FaceRecord | StateError:
        try:
            return self.ask(lambda index: index.add_embedded(self._fingerprint, face))
        except (ImageIdTaken, InvalidEmbedding, InvalidSubject) as error:
            return error

    def create_subject(self, gallery: int, name: str) -> None:
        self.ask(lambda index: index.create_subject(gallery, name))


class FaceReader:
    """The embedding of the face of a picture. Safe to call from several threads."""

    def __init__(self, settings: Settings) -> None:
        self._limits, self._threshold = settings.images, settings.detection.score_threshold
        self._detector = load_detector(settings.models, settings.detection, Compute())
        self._embedder = load_embedder(settings.models, Compute())
        self.fingerprint, self.dim = self._embedder.fingerprint, self._embedder.dim

    def read(self, picture: bytes) -> tuple[int, Float32 | None]:
        """How many faces there are, and the embedding ``(D,)`` of the biggest. Raises `ImageError`."""
        pixels = decode(picture, self._limits)
        (found,) = self._detector.detect([pixels], self._threshold)
        faces = found.take(np.flatnonzero(found.scores >= self._threshold)).largest_first()
        if not len(faces):
            return 0, None
        chip = cut(pixels, faces.boxes[0], faces.landmarks[0], self._embedder.crop).pixels
        return len(faces), self._embedder.embed(chip[np.newaxis])[0]


class Enroller:
    """Enrols into galleries until it is closed. Models are loaded and the galleries opened when there is something to
    do. biggest: of several faces the biggest is the person's; otherwise such a picture is skipped."""

    def __init__(self, settings: Settings, watch: Watch, biggest: bool = False) -> None:
        self._settings, self._watch, self._biggest = settings, watch, biggest
        self._stack = ExitStack()
        self._threads = self._stack.enter_context(
            ThreadPoolExecutor(settings.ingestion.workers or _cores(), "faces")
        )
        self.summary = Summary()

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> "Enroller":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def reader(self) -> FaceReader:
        return FaceReader(self._settings)

    @cached_property
    def galleries(self) -> Galleries:
        """Raises IndexUnavailable where another process holds the store and serves nobody."""
        cluster = join_running(self._settings, None)
        if cluster is not None:
            self._stack.callback(cluster.close)
        if cluster is not None and cluster.index is not None:
            os.nice(_BUSY_NICENESS)
            server = RunningGalleries(cluster.index, self.reader.fingerprint)
            self._stack.callback(server.close)
            return server
        store = GalleryStore(self._settings.state, self.reader.fingerprint, self.reader.dim)
        self._stack.callback(store.close)
        return store

    def enrol(self, gallery: int, entries: Iterable[Entry]) -> None:
        """Raises `StateError` where the gallery, or the storage, takes nothing."""
        entries = iter(entries)
        while part := list(islice(entries, _AT_ONCE)):
            self.summary.known += sum(isinstance(entry, Known) for entry in part)
            for entry in part:
                if isinstance(entry, Skipped):
                    self.skip(entry)
            if examples := [entry for entry in part if isinstance(entry, Example)]:
                self._add(gallery, examples)
            self.summary.done += len(part)
            self._watch.progress(self.summary)

    def _add(self, gallery: int, examples: Sequence[Example]) -> None:
        galleries = self.galleries
        seen = list(self._looked_at(examples))
        results = galleries.add_faces([_face(gallery, *looked_at) for looked_at in seen]) if seen else []
        for (example, _), result in zip(seen, results, strict=True):
            if isinstance(result, (ImageIdTaken, InvalidEmbedding, InvalidSubject)):
                self.skip(Skipped(example.place, example.subject, REFUSED, str(result)))
            elif isinstance(result, StateError):
                raise result
            else:
                self.summary.enrolled += 1

    def _looked_at(self, examples: Sequence[Example]) -> Iterator[tuple[Example, Float32]]:
        """Those that have an embedding, or get one."""
        for example, answer in zip(examples, self._threads.map(self._look, examples), strict=True):
            if isinstance(answer, Skipped):
                self.skip(answer)
            else:
                self.summary.kept += example.embedding is not None
                yield example, answer

    def _look(self, example: Example) -> Float32 | Skipped:
        skipped = partial(Skipped, example.place, example.subject)
        if example.embedding is not None:
            return example.embedding
        assert example.picture is not None
        try:
            count, embedding = self.reader.read(example.picture)
        except ImageError as error:
            return skipped(str(error.reason), str(error))
        except Exception as error:  # One picture that a model cannot take does not end a run over thousands.
            return skipped(FAILED, repr(error))
        if embedding is None:
            return skipped(NO_FACE, "no face was found")
        if count > 1 and not self._biggest:
            return skipped(SEVERAL_FACES, f"{count} faces were found: whose they are is not known")
        return embedding

    def skip(self, skipped: Skipped) -> None:
        self.summary.skipped[skipped.reason] += 1
        self._watch.skipped(skipped)


def _face(gallery: int, example: Example, embedding: Float32) -> NewFace:
    image = None if example.picture is None else Blob(example.picture, media_type(example.picture))
    return NewFace(gallery, example.subject, example.image_id, embedding, image)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
