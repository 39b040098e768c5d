"""The process that holds a Milvus Lite file: `python -m prosopon.deployments.state.vectors.lite_worker`, started by
`vectors.py`.

Milvus Lite is Python: inserting costs 30 microseconds a row, and writing its files holds the interpreter
for seconds. In a process of its own it takes no time from searches. It ends when its parent does, however
that happens, because the pipe between them closes; what it has taken in by then is in Milvus Lite's log.
"""

import errno
import os
import shutil
import sys
import time
from collections.abc import Callable
from functools import cached_property
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from milvus_lite import CollectionSchema, DataDirLockedError, DataType, FieldSchema, MilvusLite
from numpy.typing import NDArray


class LiteCollection:
    """One collection of a Milvus Lite file. It has no vector index: searches are answered from a view in memory that is
    loaded from here (`galleries/memory_search.py`).

    The file is locked at once, and read when it is first needed, which takes seconds for a million rows.
    """

    def __init__(self, path: str, name: str, dim: int, patience: float) -> None:
        self._path, self._name, self._dim, self._patience = path, name, dim, patience
        try:
            self._database = _open(path, patience)
        except DataDirLockedError:
            raise
        except Exception as error:
            self._start_anew(error)

    @cached_property
    def _collection(self) -> Any:
        try:
            return self._get()
        except Exception as error:
            self._database.close()
            self._start_anew(error)
            return self._get()

    def _start_anew(self, error: Exception) -> None:
        """An index over the records: one that is damaged is set aside and made anew from them.

        Raises the error where it tells of the machine and not of the file, or where the folder is not Milvus Lite's:
        nothing of somebody else's is touched.
        """
        path = Path(self._path)
        if _is_of_the_machine(error) or not _is_milvus_lite(path):
            raise error
        aside = path.with_name(f"{path.name}.damaged")
        if aside.exists():  # One is enough to look at, and embeddings are not kept for ever.
            shutil.rmtree(aside)
        path.rename(aside)
        print(
            f"{path} cannot be read ({error!r}): starting an empty one; what was there is in {aside}, "
            "which can be deleted",
            file=sys.stderr,
            flush=True,
        )
        self._database = _open(self._path, self._patience)

    def upsert(
        self, ids: NDArray[np.int64], galleries: NDArray[np.int64], embeddings: NDArray[np.float32]
    ) -> None:
        self._forget()
        columns = zip(ids.tolist(), galleries.tolist(), embeddings.tolist(), strict=True)
        # The newest row of an id is the one that counts, in Milvus Lite too.
        self._collection.insert([{"id": i, "gallery": g, "embedding": e} for i, g, e in columns])

    def delete(self, ids: NDArray[np.int64]) -> None:
        self._forget()
        self._collection.delete(ids.tolist())

    def ids(self) -> NDArray[np.int64]:
        """Ids of all rows, ascending."""
        found = self._rows[0]
        self._forget()
        return found

    def embeddings(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """ids: ascending. Of those that are here: ids, ascending, and their embeddings."""
        known, places, parts = self._rows
        if not len(known):
            return known, np.empty((0, self._dim), np.float32)
        nearest = np.minimum(np.searchsorted(known, ids), len(known) - 1)
        here = known[nearest] == ids
        wanted = places[nearest[here]]
        found, start = np.empty((len(wanted), self._dim), np.float32), 0
        for vectors in parts:
            mine = np.flatnonzero((wanted >= start) & (wanted < start + len(vectors)))
            found[mine] = vectors[wanted[mine] - start]
            start += len(vectors)
        return ids[here], found

    def alive(self) -> None:
        pass

    @cached_property
    def _rows(self) -> tuple[NDArray[np.int64], NDArray[np.int64], list[NDArray[np.float32]]]:
        """Ids of all rows, ascending; where each is among the embeddings; and these, in parts as they lie in the file.

        Read of Milvus Lite's own arrays (3.2: segments, and batches that are in none yet). Its query makes an object
        for each row, which takes seconds for a million, and a copy of all embeddings. As there, the newest row of an
        id is the one that counts, unless a deletion is newer.
        """
        segments, deleted = self._collection._read_snapshot()
        memtable = self._collection._memtable
        tables = [*(segment.table for segment in segments), *memtable._insert_batches]
        parts = [_floats(table.column("embedding"), self._dim) for table in tables]
        if not any(map(len, parts)):
            return np.empty(0, np.int64), np.empty(0, np.int64), parts
        ids, written = (
            np.concatenate([table.column(name).to_numpy() for table in tables]).astype(np.int64)
            for name in ("id", "_seq")
        )
        order = np.lexsort((written, ids))
        newest = order[np.append(ids[order[1:]] != ids[order[:-1]], True)]
        deletions = {**deleted._map, **{id: at for id, (at, *_) in memtable.delete_index_snapshot().items()}}
        known = ids[newest]
        if deletions:
            gone = np.array(sorted(deletions.items()), np.int64)
            nearest = np.minimum(np.searchsorted(gone[:, 0], known), len(gone) - 1)
            newest = newest[(gone[nearest, 0] != known) | (gone[nearest, 1] <= written[newest])]
        return ids[newest], newest, parts

    def _forget(self) -> None:
        self.__dict__.pop("_rows", None)

    def clear(self) -> None:
        if self._database.has_collection(self._name):
            self._database.drop_collection(self._name)
        self.__dict__.pop("_collection", None)
        self._forget()

    def drop_others(self, prefix: str) -> None:
        for name in self._database.list_collections():
            if name.startswith(prefix) and name != self._name:
                self._database.drop_collection(name)

    def flush(self) -> None:
        self._collection.flush()

    def _get(self) -> Any:
        if not self._database.has_collection(self._name):
            fields = [
                FieldSchema(name="id", dtype=DataType.INT64, is_primary=True),
                FieldSchema(name="gallery", dtype=DataType.INT64),
                FieldSchema(name="embedding", dtype=DataType.FLOAT_VECTOR, dim=self._dim),
            ]
            self._database.create_collection(self._name, CollectionSchema(fields=fields))
        return self._database.get_collection(self._name)


def _floats(column: Any, dim: int) -> NDArray[np.float32]:
    """``(N, dim)`` of a column of pyarrow, without a copy where it lies in one piece."""
    pieces = column.chunks if hasattr(column, "chunks") else [column]
    arrays = [piece.flatten().to_numpy().reshape(-1, dim) for piece in pieces]
    return arrays[0] if len(arrays) == 1 else np.concatenate([np.empty((0, dim), np.float32), *arrays])


_OF_THE_MACHINE = {
    errno.EACCES, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EPERM,
    errno.EROFS, errno.ESTALE,
}  # fmt: skip
_ENTRIES = {"LOCK", "collections", "databases"}
"""Of a Milvus Lite folder (milvus-lite 3.2), beside those that begin with a dot."""


def _is_of_the_machine(error: BaseException | None) -> bool:
    """Whether a full disk, a right that is missing or the like is behind an error: another try may do."""
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _OF_THE_MACHINE):
            return True
        error = error.__cause__ or error.__context__
    return False


def _is_milvus_lite(path: Path) -> bool:
    if not path.is_dir() or path.is_symlink():
        return False
    names = {entry.name for entry in path.iterdir()}
    return "LOCK" in names and all(name in _ENTRIES or name.startswith(".") for name in names)


def _open(path: str, patience: float) -> MilvusLite:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + patience
    while True:
        try:
            return MilvusLite(path)
        except DataDirLockedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def serve(calls: Connection, answers: Connection, path: str, name: str, dim: int, patience: float) -> None:
    """Answer (method, arguments) with (value, None) or (None, error text) until the pipe closes."""
    try:
        collection = LiteCollection(path, name, dim, patience)
    except DataDirLockedError:
        answers.send((None, f"{path} is in use by another process"))
        return
    except Exception as error:
        answers.send((None, f"{type(error).__name__}: {error}"))
        return
    answers.send((None, None))
    while True:
        try:
            method, arguments = calls.recv()
        except (EOFError, OSError):
            return
        function: Callable[..., Any] = getattr(collection, method)
        try:
            answers.send((function(*arguments), None))
        except BrokenPipeError:
            return
        except Exception as error:
            answers.send((None, f"{type(error).__name__}: {error}"))


if __name__ == "__main__":
    read, write, directory, collection_name, length, patience = sys.argv[1:]
    serve(
        Connection(int(read), writable=False),
        Connection(int(write), readable=False),
        directory,
        collection_name,
        int(length),
        float(patience),
    )
    # Closing would write and merge files first. The log has every row; the next start must not wait.
    os._exit(0)
