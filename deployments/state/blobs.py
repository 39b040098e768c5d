"""Blobs: bytes kept once under their SHA-256, in any directory that fsspec can open (file, s3, gcs, memory).

How many records refer to a blob is counted in SQL. The order of steps makes a crash harmless at any point:

1. `stage` commits a row without references for every new blob, then writes the files. A crash leaves files
   that a row with refs = 0 names, and the next start's `sweep` removes them.
2. `reference` adds references inside the transaction that also writes the records, and makes sure that the
   file is there while it holds the row's lock: a sweep of another process may have taken it since it was
   staged.
3. `release` takes references away inside the transaction that deletes the records. `sweep` then removes the
   file and after it the row, under the row's lock and only while refs = 0. A crash in between leaves a row
   to sweep.

So no record ever refers to a file that is not there, and no file outlives its row.
"""

import contextlib
import errno
import hashlib
import os
import re
import socket
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import fsspec
import sqlalchemy as sa
from fsspec.implementations.local import LocalFileSystem

from prosopon.deployments.state import schema
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.errors import BlobCorrupt, BlobMissing, StorageFull

_SHA256 = re.compile(r"[0-9a-f]{64}")
_WRITERS = 8
_SWEEP_BATCH = 200
_DAY = 86_400
_HOST = socket.gethostname()


@dataclass(frozen=True)
class Blob:
    data: bytes
    media_type: str = "application/octet-stream"

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


class BlobStore:
    """Thread-safe; any number of processes may share one directory and one database.

    url: of a directory, as fsspec understands it; options go to the file system (credentials, endpoint).
    """

    def __init__(self, records: Records, url: str, options: Mapping[str, object] | None = None) -> None:
        self._records = records
        self._fs, root = fsspec.core.url_to_fs(url, **dict(options or {}))
        self._root = root.rstrip("/")
        self._local = isinstance(self._fs, LocalFileSystem)
        self._temporary = Path(self._root) / ".tmp"
        self._writers = ThreadPoolExecutor(_WRITERS, "blobs")

    def stage(self, blobs: Mapping[str, Blob]) -> None:
        """Write blobs, given by their SHA-256, that a transaction is about to reference."""
        rows = [
            {"sha256": sha256, "size": len(blob.data), "media_type": blob.media_type, "refs": 0}
            for sha256, blob in sorted(blobs.items())
        ]
        if not rows:
            return
        with self._records.write() as db:
            self._records.insert_missing(db, schema.blobs, rows)
        self._write_missing(blobs)

    def reference(self, db: sa.Connection, counts: Mapping[str, int], blobs: Mapping[str, Blob]) -> None:
        """Add references to staged blobs inside the transaction `db`."""
        if not counts:
            return
        rows = [
            {
                "sha256": sha256,
                "size": len(blobs[sha256].data),
                "media_type": blobs[sha256].media_type,
                "refs": 0,
            }
            for sha256 in sorted(counts)
        ]
        self._records.insert_missing(db, schema.blobs, rows)
        table = schema.blobs
        db.execute(
            sa.update(table)
            .where(table.c.sha256 == sa.bindparam("key"))
            .values(refs=table.c.refs + sa.bindparam("count")),
            [{"key": sha256, "count": count} for sha256, count in sorted(counts.items())],
        )
        self._write_missing({sha256: blobs[sha256] for sha256 in counts})

    def release(self, db: sa.Connection, hashes: Iterable[str]) -> list[str]:
        """Take references away inside the transaction `db`; sweep what is returned after it has committed."""
        counts = Counter(hashes)
        table = schema.blobs
        if counts:
            db.execute(
                sa.update(table)
                .where(table.c.sha256 == sa.bindparam("key"))
                .values(refs=table.c.refs - sa.bindparam("count")),
                [{"key": sha256, "count": count} for sha256, count in sorted(counts.items())],
            )
        return sorted(counts)

    def sweep(self, hashes: Sequence[str] | None = None) -> int:
        """Delete those of the given blobs, or of all, that nothing refers to; returns how many."""
        if hashes is None:
            if self._local:
                _remove_abandoned(self._temporary)
            with self._records.read() as db:
                hashes = (
                    db.execute(sa.select(schema.blobs.c.sha256).where(schema.blobs.c.refs == 0))
                    .scalars()
                    .all()
                )
        return sum(
            self._sweep_batch(hashes[start : start + _SWEEP_BATCH])
            for start in range(0, len(hashes), _SWEEP_BATCH)
        )

    def read(self, sha256: str) -> bytes:
        """The bytes, checked against their hash. Raises BlobMissing and BlobCorrupt."""
        try:
            data: bytes = self._fs.cat_file(self._path(sha256))
        except FileNotFoundError:
            raise BlobMissing(sha256) from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise BlobCorrupt(sha256)
        return data

    def files(self) -> set[str]:
        """Hashes of all files in the directory; lists it, so it is for tests and checks by hand."""
        try:
            paths = self._fs.find(self._root)
        except FileNotFoundError:
            return set()
        return {name for path in paths if _SHA256.fullmatch(name := path.rsplit("/", 1)[-1])}

    def close(self) -> None:
        self._writers.shutdown()

    def _sweep_batch(self, hashes: Sequence[str]) -> int:
        table = schema.blobs
        with self._records.write() as db:
            unreferenced = sa.select(table.c.sha256).where(table.c.sha256.in_(hashes), table.c.refs == 0)
            dead = db.execute(unreferenced.order_by(table.c.sha256).with_for_update()).scalars().all()
            list(self._writers.map(self._delete, dead))
            if dead:
                db.execute(sa.delete(table).where(table.c.sha256.in_(dead)))
        return len(dead)

    def _write_missing(self, blobs: Mapping[str, Blob]) -> None:
        def write(item: tuple[str, Blob]) -> None:
            path, data = self._path(item[0]), item[1].data
            if not self._is_whole(path, data):
                self._write(path, data)

        try:
            list(self._writers.map(write, blobs.items()))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull("no space is left for pictures") from error
            raise

    def _is_whole(self, path: str, data: bytes) -> bool:
        """Whether the file is there as it should be: one that was cut or damaged heals when its picture comes again.

        An object store keeps checksums of its own: there the size is enough.
        """
        try:
            if self._fs.size(path) != len(data):
                return False
            return not self._local or Path(path).read_bytes() == data
        except FileNotFoundError:
            return False

    def _write(self, path: str, data: bytes) -> None:
        if not self._local:
            self._fs.pipe_file(path, data)  # an object store shows an object whole or not at all
            return
        final = Path(path)
        _make_folder(final.parent)
        self._temporary.mkdir(exist_ok=True)
        temporary = self._temporary / f"{_HOST}.{os.getpid()}.{uuid.uuid4().hex}"
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(final)
            _sync_folder(final.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _delete(self, sha256: str) -> None:
        path = self._path(sha256)
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(path)

    def _path(self, sha256: str) -> str:
        """Two levels of 256 folders keep any one of them small with millions of blobs."""
        if not _SHA256.fullmatch(sha256):
            raise BlobMissing(sha256)
        return f"{self._root}/{sha256[:2]}/{sha256[2:4]}/{sha256}"


def _make_folder(folder: Path) -> None:
    """The folder and those around it, each of which survives a power failure."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """A file's name is its folder's content: fsync of the file alone does not keep it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_abandoned(folder: Path) -> None:
    """Delete half-written files of processes that are no more: of this host at once, of others after a
    day."""
    for file in folder.glob("*.*.*"):
        host, pid, _ = file.name.rsplit(".", 2)
        with contextlib.suppress(FileNotFoundError):
            if time.time() - file.stat().st_mtime > _DAY or (host == _HOST and not _alive(int(pid))):
                file.unlink()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
