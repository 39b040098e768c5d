"""Where faces of the bulk ingestion are written: into a store of one's own, or through the server that has it open."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from prosopon.configs.settings import StateSettings
from prosopon.deployments.serving.calls import Overloaded, Unavailable, call
from prosopon.deployments.state.errors import IndexUnavailable
from prosopon.deployments.state.galleries.source_ledger import Outcome, SourceFaces, SourceLedger
from prosopon.deployments.state.galleries.store import GalleryStore
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


class Sink(Protocol):
    def write(self, sources: Sequence[SourceFaces]) -> list[Outcome]:
        """All of these or none; safe to repeat. Raises `StateError`."""
        ...

    def close(self) -> None: ...


class StoreSink:
    """A store that this process holds. Raises IndexUnavailable where another process holds it."""

    def __init__(self, state: StateSettings, fingerprint: str, dim: int) -> None:
        self._store = GalleryStore(state, fingerprint, dim)
        self._ledger = SourceLedger(self._store)

    def write(self, sources: Sequence[SourceFaces]) -> list[Outcome]:
        return _patiently(lambda: self._ledger.write(sources))

    def close(self) -> None:
        self._store.close()


class ServerSink:
    """The FaceIndex of a running application, whose searches see at once what is written.

    index: its handle; fingerprint: of the embedder that the faces are from.
    """

    def __init__(self, index: Any, fingerprint: str) -> None:
        self._index, self._fingerprint = index, fingerprint
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="face-index", daemon=True)
        self._thread.start()

    def write(self, sources: Sequence[SourceFaces]) -> list[Outcome]:
        return _patiently(lambda: asyncio.run_coroutine_threadsafe(self._write(sources), self._loop).result())

    async def _write(self, sources: Sequence[SourceFaces]) -> list[Outcome]:
        # The handle's router belongs to the loop in which its method is first looked up.
        outcomes: list[Outcome] = await call(self._index.ingest, self._fingerprint, tuple(sources))
        return outcomes

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


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


def _patiently(work: Callable[[], Result]) -> Result:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return work()
        except (IndexUnavailable, Overloaded, Unavailable):
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)
