"""Where faces of the bulk ingestion are written: into a store of one's own, or through the server that has it open."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from typing import Protocol, TypeVar
from uuid import UUID

import pyarrow as pa
from anyio.from_thread import start_blocking_portal
from ray.serve.handle import DeploymentHandle
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from prosopon.configs.settings import StateSettings
from prosopon.deployments.services import FaceIndexService
from prosopon.deployments.serving.calls import Overloaded, Unavailable
from prosopon.deployments.serving.remote import remote
from prosopon.deployments.state.errors import StorageBusy
from prosopon.deployments.state.galleries.source_ledger import Outcome, SourceFaces, SourceLedger
from prosopon.deployments.state.galleries.store import GalleryStore
from prosopon.models.faces.detections import Float32
from prosopon.pipelines.ingestion.workers import to_sources

WRITTEN = pa.schema(
    [("location", pa.string()), ("url", pa.string()), ("group", pa.string()), ("outcome", pa.string()),
     ("faces", pa.int64()), ("reason", pa.string()), ("detail", pa.string())]
)  # fmt: skip
"""outcome: null where nothing was written of the picture."""
_PATIENCE = 300.0
"""Seconds that a write is tried again: an index that is behind, or a server's replica that starts again."""
_PAUSE = 0.5

Result = TypeVar("Result")

_patiently = Retrying(
    retry=retry_if_exception_type((StorageBusy, Overloaded, Unavailable)),
    stop=stop_after_delay(_PATIENCE),
    wait=wait_fixed(_PAUSE),
    reraise=True,
)


class Sink(Protocol):
    def write(self, sources: Sequence[SourceFaces]) -> list[Outcome]:
        """All of these or none; safe to repeat. Raises `StateError`."""
        ...

    def delete(self, gallery: int, faces: Sequence[UUID]) -> int:
        """Delete faces with their images; safe to repeat. How many were there. Raises `StateError`."""
        ...

    def close(self) -> None: ...


class StoreSink:
    """A store that this process holds. Raises IndexUnavailable where another process holds it."""

    def __init__(self, state: StateSettings, fingerprint: str, dim: int) -> None:
        self._store = GalleryStore(state, fingerprint, dim)
        self._ledger = SourceLedger(self._store)

    def write(self, sources: Sequence[SourceFaces]) -> list[Outcome]:
        return _patiently(self._ledger.write, sources)

    def delete(self, gallery: int, faces: Sequence[UUID]) -> int:
        return len(_patiently(self._store.delete_faces, gallery, faces))

    def close(self) -> None:
        self._store.close()


class RunningIndex:
    """The FaceIndex of a running application, whose searches see at once what is written. index: its handle."""

    def __init__(self, index: DeploymentHandle) -> None:
        self._index = index
        self._service: FaceIndexService | None = None
        self._running = ExitStack()
        self._loop = self._running.enter_context(start_blocking_portal(name="face-index"))

    def ask(self, question: Callable[[FaceIndexService], Awaitable[Result]]) -> Result:
        """What the deployment answers, asked again for a while where it cannot be reached."""
        return _patiently(lambda: self._loop.call(self._ask, question))

    async def _ask(self, question: Callable[[FaceIndexService], Awaitable[Result]]) -> Result:
        if self._service is None:  # It belongs to the loop in which it is made.
            self._service = remote(self._index, FaceIndexService)
        return await question(self._service)

    def close(self) -> None:
        self._running.close()


class ServerSink(RunningIndex):
    """fingerprint: of the embedder that the faces are from."""

    def __init__(self, index: DeploymentHandle, fingerprint: str) -> None:
        super().__init__(index)
        self._fingerprint = fingerprint

    def write(self, sources: Sequence[SourceFaces]) -> list[Outcome]:
        return self.ask(lambda index: index.ingest(self._fingerprint, tuple(sources)))

    def delete(self, gallery: int, faces: Sequence[UUID]) -> int:
        return len(self.ask(lambda index: index.delete_faces(gallery, tuple(faces))))


class RunningEmbeddings(RunningIndex):
    """`deployments.state.maintenance.Galleries` of the running application."""

    def replace_embeddings(self, fingerprint: str, ids: Sequence[int], embeddings: Float32) -> list[int]:
        return self.ask(lambda index: index.replace_embeddings(fingerprint, list(ids), embeddings))

    def forget_other_embedders(self, keep_vectors: bool) -> None:
        self.ask(lambda index: index.forget_other_embedders(keep_vectors))


class Writer:
    """The last stage where many processes may write: each with a store of its own."""

    def __init__(self, state: StateSettings, fingerprint: str, dim: int) -> None:
        self._sink = StoreSink(state, fingerprint, dim)

    def __call__(self, table: pa.Table) -> pa.Table:
        return write_table(self._sink, table)


def write_table(sink: Sink, table: pa.Table) -> pa.Table:
    """Rows of `LOOKED_AT` to rows of `WRITTEN`."""
    rows = table.to_pylist()
    versions = [row for row in rows if row["version"]]
    for row, outcome in zip(
        versions, sink.write(list(to_sources(versions))) if versions else (), strict=True
    ):
        row["outcome"] = str(outcome)
    for row in rows:
        row["faces"] = len(row["embeddings"] or ())
    return pa.Table.from_pylist(rows, WRITTEN)
