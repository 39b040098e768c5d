"""The vector index: which face has which embedding, for Milvus.

It is an index over the records: it may lag behind them, and is compared with them whenever a store is
opened. One Milvus collection holds the faces of all galleries, as far as one embedder made them; another
embedder has another collection, since its vectors cannot be compared.

`LiteIndex` keeps a Milvus Lite file. Milvus Lite takes a Python step per stored row on every search (1.6
microseconds a row, over a second for a million), so searches are answered from a view in memory that is loaded from it
(`galleries/memory_search.py`), and it is held by a process of its own. `ServerIndex` talks to a Milvus server, which
also answers the searches.
"""

import hashlib
import logging
import logging.config
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tenacity import RetryCallState, Retrying, retry_if_result, sleep_using_event, wait_exponential

from prosopon.configs.settings import StateSettings, VectorIndexSettings
from prosopon.deployments.state.errors import IndexUnavailable
from prosopon.models.faces.detections import Float32

Ids = NDArray[np.int64]
logger = logging.getLogger(__name__)

MAX_RESULTS = 16_384
"""Milvus' own limit of results of one query."""
_LOCK_SECONDS = 20.0
"""A process that has just been killed may take a moment to let go of a Milvus Lite file."""
_ROWS_A_CALL = 2_000
"""With 2,048 floats each, 16 MB: under a server's limit of 64 MB a message."""


class VectorIndex(Protocol):
    """Rows keyed by face id. Methods raise IndexUnavailable when the index cannot be reached."""

    def upsert(self, ids: Ids, galleries: Ids, embeddings: Float32) -> None:
        """ids, galleries: ``(N,)`` int64; embeddings: ``(N, D)`` float32, unit norm."""
        ...

    def delete(self, ids: Ids) -> None: ...

    def ids(self) -> Ids:
        """Ids of all rows."""
        ...

    def alive(self) -> None:
        """Does nothing where the index can be reached."""
        ...

    def clear(self) -> None: ...

    def drop_others(self) -> None:
        """Forget the faces of every other embedder."""
        ...

    def flush(self) -> None:
        """Write what is in memory or in a log to where it stays."""
        ...

    def close(self) -> None: ...


_PREFIX = "faces_"


def collection_name(fingerprint: str) -> str:
    return f"{_PREFIX}{hashlib.sha256(fingerprint.encode()).hexdigest()[:16]}"


class LiteIndex:
    """A Milvus Lite file, held by a child process (`lite_worker.py`). One at a time may be open for a
    file."""

    def __init__(self, path: str, fingerprint: str, dim: int) -> None:
        self._lock = threading.Lock()
        self._arguments = (path, collection_name(fingerprint), str(dim), str(_LOCK_SECONDS))
        self._start()

    def _start(self) -> None:
        child_reads, parent_writes = os.pipe()
        parent_reads, child_writes = os.pipe()
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "OMP_NUM_THREADS": "1",
        }
        command = [
            sys.executable,
            "-P",  # Nothing of the folder that this is started in.
            "-m",
            "prosopon.deployments.state.vectors.lite_worker",
            str(child_reads),
            str(child_writes),
        ]
        self._process = subprocess.Popen(
            [*command, *self._arguments],
            pass_fds=(child_reads, child_writes),
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # an interrupt at the terminal is for the parent, which closes the pipe
        )
        os.close(child_reads)
        os.close(child_writes)
        self._calls = Connection(parent_writes, readable=False)
        self._answers = Connection(parent_reads, writable=False)
        try:
            self._answer()
        except IndexUnavailable:
            self.close()
            raise

    def upsert(self, ids: Ids, galleries: Ids, embeddings: Float32) -> None:
        for part in _parts(len(ids)):
            self._call("upsert", ids[part], galleries[part], embeddings[part])

    def delete(self, ids: Ids) -> None:
        self._call("delete", ids)

    def ids(self) -> Ids:
        found: Ids = self._call("ids")
        return found

    def embeddings(self, ids: Ids) -> tuple[Ids, Float32]:
        """Of those of the ids that are here: ids, ascending, and ``(N, D)`` float32.

        What was read of the file is kept until `ids` or a change is asked for.
        """
        found: tuple[Ids, Float32] = self._call("embeddings", ids)
        return found

    def alive(self) -> None:
        self._call("alive")

    def clear(self) -> None:
        self._call("clear")

    def drop_others(self) -> None:
        self._call("drop_others", _PREFIX)

    def flush(self) -> None:
        self._call("flush")

    def close(self) -> None:
        self._calls.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _call(self, method: str, *arguments: object) -> Any:
        """A process that has died is started again for the next call; what it had taken in is in its log."""
        with self._lock:
            try:
                self._calls.send((method, arguments))
                return self._answer()
            except (OSError, _Gone) as error:
                self.close()
                self._start()
                raise IndexUnavailable(f"the vector index was gone and is started again: {error}") from None

    def _answer(self) -> Any:
        try:
            value, error = self._answers.recv()
        except (EOFError, OSError):
            raise _Gone(f"exit status {self._process.poll()}") from None
        if error:
            raise IndexUnavailable(f"vector index: {error}")
        return value


class _Gone(IndexUnavailable):
    """The process ended without an answer."""


class ServerIndex:
    """A Milvus server's collection, partitioned by gallery (its partition key). Inner product, since embeddings have
    unit norm.

    The index that the settings name is the one it has: opened with another kind, the server builds that one.
    """

    def __init__(self, settings: StateSettings, fingerprint: str, dim: int) -> None:
        pymilvus = _pymilvus()
        self._name, self._dim, self._types = collection_name(fingerprint), dim, pymilvus.DataType
        self._settings = settings.vector_index
        self._client: Any = _reached(
            lambda: pymilvus.MilvusClient(uri=settings.vectors, token=settings.vectors_token)
        )
        self._open()

    @property
    def candidates(self) -> int:
        """How many times more faces than are wanted are worth asking for."""
        return self._settings.candidates

    def upsert(self, ids: Ids, galleries: Ids, embeddings: Float32) -> None:
        for part in _parts(len(ids)):
            columns = zip(
                ids[part].tolist(), galleries[part].tolist(), embeddings[part].tolist(), strict=True
            )
            rows = [{"id": i, "gallery": g, "embedding": e} for i, g, e in columns]
            _reached(partial(self._client.upsert, self._name, rows))

    def delete(self, ids: Ids) -> None:
        for part in _parts(len(ids)):
            _reached(partial(self._client.delete, self._name, ids=ids[part].tolist()))

    def ids(self) -> Ids:
        def collect() -> list[int]:
            pages = self._client.query_iterator(
                self._name,
                filter="id >= 0",
                output_fields=["id"],
                batch_size=MAX_RESULTS,
                consistency_level="Strong",
            )
            found: list[int] = []
            while page := pages.next():
                found.extend(row["id"] for row in page)
            pages.close()
            return found

        return np.array(_reached(collect), np.int64)

    def search(self, gallery: int, probes: Float32, limit: int, last: int | None = None) -> list[Ids]:
        """Ids of at most `limit` faces of the gallery for each probe, nearest first. limit: up to
        MAX_RESULTS; last: only ids up to this one.

        Strong consistency: what any replica has written before is found.
        """
        answers = _reached(
            lambda: self._client.search(
                self._name,
                data=probes.tolist(),
                filter=f"gallery == {gallery}" + ("" if last is None else f" and id <= {last}"),
                limit=limit,
                anns_field="embedding",
                search_params={"metric_type": "IP", "params": search_parameters(self._settings, limit)},
                consistency_level="Strong",
            )
        )
        return [np.array([hit["id"] for hit in answer], np.int64) for answer in answers]

    def alive(self) -> None:
        _reached(lambda: self._client.has_collection(self._name))

    def clear(self) -> None:
        _reached(lambda: self._client.drop_collection(self._name))
        self._open()

    def drop_others(self) -> None:
        def drop() -> None:
            for name in self._client.list_collections():
                if name.startswith(_PREFIX) and name != self._name:
                    self._client.drop_collection(name)

        _reached(drop)

    def flush(self) -> None:
        _reached(lambda: self._client.flush(self._name))

    def close(self) -> None:
        self._client.close()

    def _open(self) -> None:
        def ensure() -> None:
            if not self._client.has_collection(self._name):
                fields = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
                fields.add_field("id", self._types.INT64, is_primary=True)
                fields.add_field("gallery", self._types.INT64, is_partition_key=True)
                fields.add_field("embedding", self._types.FLOAT_VECTOR, dim=self._dim)
                self._client.create_collection(
                    self._name,
                    schema=fields,
                    index_params=self._index(),
                    num_partitions=self._settings.partitions,
                    num_shards=self._settings.shards,
                )
            elif self._kind() != self._settings.kind:
                self._client.release_collection(self._name)
                for name in self._client.list_indexes(self._name):
                    self._client.drop_index(self._name, name)
                self._client.create_index(self._name, self._index())
            self._client.load_collection(self._name, replica_number=self._settings.replicas)

        _reached(ensure)

    def _kind(self) -> str | None:
        """Of the index that the collection has."""
        for name in self._client.list_indexes(self._name):
            return str(self._client.describe_index(self._name, name)["index_type"])
        return None

    def _index(self) -> Any:
        index = self._client.prepare_index_params()
        index.add_index(
            "embedding",
            index_type=self._settings.kind,
            metric_type="IP",
            params=build_parameters(self._settings),
        )
        return index


_BUILD: dict[str, dict[str, int | float | str | bool]] = {
    "HNSW": {"M": 32, "efConstruction": 256},
    "HNSW_SQ": {"M": 32, "efConstruction": 256, "sq_type": "SQ8"},
    "IVF_FLAT": {"nlist": 1024},
    "IVF_SQ8": {"nlist": 1024},
    "DISKANN": {},
}
"""Of a segment, of which Milvus makes one per million or two of these embeddings (1 GB): Milvus advises lists of
4 sqrt(rows), hence 1024 of 65,000 to 4,096 of a million."""


def build_parameters(settings: VectorIndexSettings) -> dict[str, int | float | str | bool]:
    """What an index is built with."""
    return {**_BUILD[settings.kind], **settings.build}


def search_parameters(settings: VectorIndexSettings, limit: int) -> dict[str, int | float | str | bool]:
    """What an index is searched with for so many candidates; each kind's must be no fewer than these."""
    match settings.kind:
        case "HNSW" | "HNSW_SQ":
            defaults = {"ef": max(256, 2 * limit)}
        case "IVF_FLAT" | "IVF_SQ8":
            defaults = {"nprobe": min(64, int(build_parameters(settings)["nlist"]))}
        case "DISKANN":
            defaults = {"search_list": max(128, 2 * limit)}
    return {**defaults, **settings.search}


def open_index(settings: StateSettings, fingerprint: str, dim: int) -> LiteIndex | ServerIndex:
    """Raises IndexUnavailable where the index cannot be reached, or is a file that another process holds."""
    if settings.vectors_are_local:
        return LiteIndex(settings.vectors, fingerprint, dim)
    return ServerIndex(settings, fingerprint, dim)


@dataclass(slots=True)
class _Change:
    apply: Callable[[VectorIndex], None]
    done: threading.Event = field(default_factory=threading.Event)


class IndexWriter:
    """Applies changes to an index in the order given, in a thread of its own.

    A change that fails is tried again, with growing pauses, before any later one, as long as the index cannot be
    reached. One that an index which can be reached refuses _TRIES times is set aside, so that it keeps no other from
    the index. What is missing when the process ends is repaired at the next start: until then a face whose change was
    set aside is found where searches are answered from memory, and one that was deleted is in no answer. At most
    _QUEUED changes wait: then the callers do.
    """

    _QUEUED = 256
    _TRIES = 6
    _FIRST_PAUSE = 0.2
    _LONGEST_PAUSE = 30.0

    def __init__(self, index: VectorIndex) -> None:
        self._index = index
        self._changes: queue.Queue[_Change | None] = queue.Queue(self._QUEUED)
        self._closing = threading.Event()
        self._again = Retrying(
            retry=retry_if_result(lambda applied: not applied),
            stop=self._is_enough,
            wait=wait_exponential(self._FIRST_PAUSE, max=self._LONGEST_PAUSE),
            sleep=sleep_using_event(self._closing),
            retry_error_callback=lambda _: False,
        )
        self._thread = threading.Thread(target=self._work, name="vector-index", daemon=True)
        self._thread.start()

    def upsert(self, ids: Ids, galleries: Ids, embeddings: Float32) -> threading.Event:
        """Set when the index has it."""
        return self.run(lambda index: index.upsert(ids, galleries, embeddings))

    def delete(self, ids: Ids) -> threading.Event:
        """Set when the index has it."""
        return self.run(lambda index: index.delete(ids))

    def run(self, apply: Callable[[VectorIndex], None]) -> threading.Event:
        """Any change, which may be applied again where it failed. The event is set when it is done."""
        change = _Change(apply)
        self._changes.put(change)
        return change.done

    def has_room(self, seconds: float) -> bool:
        """Whether a change can be queued at once, after waiting for it if need be."""
        deadline = time.monotonic() + seconds
        while self._changes.full():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def close(self, seconds: float = 60) -> None:
        """Wait for what is queued, but not for an index that cannot be reached."""
        self._closing.set()
        self._changes.put(None)
        self._thread.join(seconds)

    def _work(self) -> None:
        while (change := self._changes.get()) is not None:
            if self._again(self._applied, change):
                change.done.set()
            elif self._closing.is_set():
                return

    def _is_enough(self, last: RetryCallState) -> bool:
        tries = last.attempt_number
        if tries >= self._TRIES and self._reachable():
            logger.error("a change is set aside, which the vector index refused %d times", tries)
            return True
        return self._closing.is_set()

    def _applied(self, change: _Change) -> bool:
        try:
            change.apply(self._index)
        except Exception:
            logger.exception("the vector index did not take a change")
            return False
        return True

    def _reachable(self) -> bool:
        try:
            self._index.alive()
        except Exception:
            return False
        return True


def _parts(count: int) -> Sequence[slice]:
    return [slice(start, start + _ROWS_A_CALL) for start in range(0, count, _ROWS_A_CALL)]


def _pymilvus() -> Any:
    """The client's library, which (3.0) sets up logging when it is imported: that closes every handler of the process,
    and with it a replica's log."""
    configure = logging.config.dictConfig
    logging.config.dictConfig = lambda config: None
    try:
        import pymilvus
    finally:
        logging.config.dictConfig = configure
    return pymilvus


def _reached(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except _pymilvus().MilvusException as error:
        raise IndexUnavailable(f"vector index: {error}") from error
