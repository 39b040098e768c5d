"""A cache of what was computed, by a key that names everything that decides it.

The bytes lie in the blob store. The cache is bounded: the least recently used results leave first. Who computes a
result claims it, for a limited time that is renewed while the work goes on, so that no two processes compute the
same; the claim of a process that died runs out by itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa

from prosopon.deployments.state import schema
from prosopon.deployments.state.blobs import Blob, BlobStore
from prosopon.deployments.state.database import Records, now
from prosopon.deployments.state.errors import BlobCorrupt, BlobMissing
from prosopon.deployments.state.jobs.jobs import Hold, JobKind, Jobs

CLAIM = timedelta(seconds=15)
_TOUCH = timedelta(minutes=1)
"""A result's last use is written down no more often than this: reading must not mean writing."""

_results = schema.results
RESULT = JobKind(
    name="result",
    table=_results,
    payload=lambda _, row: Hold(row.key, row.claimant),
    length=CLAIM,
    until="claimed",
    output="blob",
)


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a result is. made: what whoever makes it has told, pictures of a film for instance."""

    ready: bool
    made: int


class ResultCache:
    """Thread-safe; any number of processes may share one database and one blob store.

    max_bytes: of all results together.
    """

    def __init__(
        self, records: Records, blobs: BlobStore, max_bytes: int, clock: Callable[[], datetime] = now
    ) -> None:
        self._records, self._blobs, self._max_bytes, self._now = records, blobs, max_bytes, clock
        self._jobs = Jobs(RESULT, records, blobs, clock)

    def find(self, key: str) -> Blob | None:
        """The result, which becomes the most recently used; None where it is not there, or no longer whole."""
        columns = (_results.c.blob, _results.c.used, schema.blobs.c.media_type)
        query = sa.select(*columns).join(schema.blobs).where(_results.c.key == key)
        with self._records.read() as db:
            row = db.execute(query).one_or_none()
        if row is None:
            return None
        try:
            blob = Blob(self._blobs.read(row.blob), row.media_type)
        except (BlobMissing, BlobCorrupt):
            self._forget([key])
            return None
        if self._now() - row.used > _TOUCH:
            with self._records.write() as db:
                db.execute(sa.update(_results).where(_results.c.key == key).values(used=self._now()))
        return blob

    def claim(self, key: str, claimant: UUID) -> bool:
        """Whether the claimant is to compute the result; otherwise it is there or somebody else is at it."""
        moment = self._now()
        row = {"key": key, "blob": None, "size": 0, "used": moment, "claimed": moment, "claimant": None}
        with self._records.write() as db:
            self._records.insert_missing(db, _results, [row])
            return bool(self._jobs.take(db, _results.c.key == key, claimant=claimant))

    def renew(self, key: str, claimant: UUID) -> bool:
        """To be called well within `CLAIM` while the work goes on."""
        return self._jobs.renew(Hold(key, claimant))

    def advance(self, key: str, claimant: UUID, made: int) -> bool:
        """Put on record how much of it is made. False where the claim is lost."""
        return self._jobs.renew(Hold(key, claimant), progress=made)

    def standing(self, key: str) -> Standing | None:
        """None where it is not there and nobody makes it."""
        query = sa.select(_results.c.blob, _results.c.progress).where(
            _results.c.key == key, sa.or_(_results.c.blob.is_not(None), sa.not_(self._jobs.free()))
        )
        with self._records.read() as db:
            row = db.execute(query).one_or_none()
        return None if row is None else Standing(row.blob is not None, row.progress or 0)

    def abandon(self, key: str, claimant: UUID) -> None:
        """Give the claim up without a result."""
        with self._records.write() as db:
            db.execute(sa.delete(_results).where(self._jobs.held(Hold(key, claimant))))

    def store(self, key: str, claimant: UUID, blob: Blob) -> None:
        """Keep a claimed result and let the least recently used ones go. One too large for the cache is not kept."""
        size = len(blob.data)
        if size > self._max_bytes:
            return self.abandon(key, claimant)
        if self._jobs.finish(Hold(key, claimant), blob, size=size, used=self._now()):
            self._evict()
        return None

    def computing(self) -> int:
        """How many results are being computed or waited for, by all processes."""
        query = (
            sa.select(sa.func.count())
            .select_from(_results)
            .where(_results.c.blob.is_(None), sa.not_(self._jobs.free()))
        )
        with self._records.read() as db:
            return int(db.execute(query).scalar_one())

    def size(self) -> int:
        """Bytes of all results."""
        with self._records.read() as db:
            return _size(db)

    def _evict(self) -> None:
        """Let the least recently used results go, until the others have room."""
        if self.size() <= self._max_bytes:
            return
        oldest = sa.select(_results.c.key, _results.c.size).where(_results.c.blob.is_not(None))
        leaving = []
        with self._records.write() as db:
            total = _size(db)
            for row in db.execute(oldest.order_by(_results.c.used, _results.c.key)):
                if total <= self._max_bytes:
                    break
                leaving.append(row.key)
                total -= row.size
            released = self._delete(db, leaving)
        self._blobs.sweep(released)

    def _forget(self, keys: list[str]) -> None:
        with self._records.write() as db:
            released = self._delete(db, keys)
        self._blobs.sweep(released)

    def _delete(self, db: sa.Connection, keys: list[str]) -> list[str]:
        mine = _results.c.key.in_(keys)
        hashes = (
            db.execute(sa.select(_results.c.blob).where(mine, _results.c.blob.is_not(None))).scalars().all()
        )
        db.execute(sa.delete(_results).where(mine))
        return self._blobs.release(db, hashes)


def _size(db: sa.Connection) -> int:
    return int(db.execute(sa.select(sa.func.coalesce(sa.func.sum(_results.c.size), 0))).scalar_one())
