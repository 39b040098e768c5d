"""Runs of searches: who works on one, how far it is, how it ends, and what is deleted in the end.

Whoever runs a search holds a claim, which runs out by itself if its process dies, so that another takes the search up.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from prosopon.deployments.state import schema
from prosopon.deployments.state.blobs import Blob, BlobStore
from prosopon.deployments.state.database import Records, now
from prosopon.deployments.state.jobs.searches import LEASE, Search, read_search, set_search
from prosopon.deployments.state.keys import give_back_credits

MAX_ATTEMPTS = 5
"""How often a run is taken up before it is given up: one that kills its process must not do so for ever."""
GIVEN_UP = "INTERRUPTED"
"""Code of a search that is."""
_MAX_MESSAGE = 512
_EXPIRED_AT_ONCE = 200
_searches, _pictures = schema.searches, schema.search_pictures


class SearchRuns:
    """The runs of every tenant's searches. Thread-safe; any number of processes may share one database.

    keep: how long a search stays after it has ended.
    """

    def __init__(
        self, records: Records, blobs: BlobStore, keep: timedelta, clock: Callable[[], datetime] = now
    ) -> None:
        self._records, self._blobs, self._keep, self._now = records, blobs, keep, clock

    def interrupted(self) -> list[UUID]:
        """Running searches that nobody works on."""
        query = sa.select(_searches.c.id).where(_searches.c.state == "running", LEASE.free(self._now()))
        with self._records.read() as db:
            return list(db.execute(query.order_by(_searches.c.claimed)).scalars())

    def take_up(self, search: UUID, claimant: UUID) -> Search | None:
        """Claim an interrupted search; None where somebody else did, or where it has been tried too often."""
        with self._records.write() as db:
            for row in LEASE.take(db, claimant, self._now(), _searches.c.id == search):
                if row.attempts <= MAX_ATTEMPTS:
                    return read_search(db, row)
                self._fail(db, search, claimant, GIVEN_UP, "the search was interrupted too often")
        return None

    def proceed(
        self, search: UUID, claimant: UUID, progress: int | None = None, message: str | None = None
    ) -> bool:
        """Renew the claim, and say how far the run is. False where it is lost: another has the search now."""
        values = {} if progress is None else {"progress": progress, "message": message}
        with self._records.write() as db:
            return LEASE.renew(db, search, claimant, self._now(), **values)

    def finish(self, search: UUID, claimant: UUID, output: Blob, message: str | None = None) -> bool:
        """Record what was found, and in a few words. False where the claim is lost, and with it the result."""
        sha256 = output.sha256
        self._blobs.stage({sha256: output})
        with self._records.write() as db:
            expires = self._now() + self._keep
            done = LEASE.end(
                db, search, claimant, state="done", progress=100, message=message, expires=expires
            )
            kept = done is not None
            if kept:
                self._blobs.reference(db, {sha256: 1}, {sha256: output})
                set_search(db, search, output=sha256)
        if not kept:
            self._blobs.sweep([sha256])
        return kept

    def fail(self, search: UUID, claimant: UUID, code: str, message: str) -> bool:
        """Record why nothing was found, and give the credits back. False where the claim is lost."""
        with self._records.write() as db:
            return self._fail(db, search, claimant, code, message)

    def expire(self) -> int:
        """Delete the searches that have expired, with their pictures and results; returns how many."""
        moment, count = self._now(), 0
        idle = sa.or_(_searches.c.state != "running", _searches.c.claimed <= moment)
        query = sa.select(_searches).where(_searches.c.expires <= moment, idle).with_for_update()
        while True:
            with self._records.write() as db:
                rows = db.execute(query.limit(_EXPIRED_AT_ONCE)).all()
                released = self._delete(db, rows)
            self._blobs.sweep(released)
            count += len(rows)
            if len(rows) < _EXPIRED_AT_ONCE:
                return count

    def delete(self, searches: Sequence[UUID]) -> int:
        """Delete these searches with their pictures and results, whoever's they are; returns how many there were."""
        with self._records.write() as db:
            rows = db.execute(
                sa.select(_searches).where(_searches.c.id.in_(searches)).with_for_update()
            ).all()
            released = self._delete(db, rows)
        self._blobs.sweep(released)
        return len(rows)

    def _fail(self, db: sa.Connection, search: UUID, claimant: UUID, code: str, message: str) -> bool:
        told, expires = message[:_MAX_MESSAGE], self._now() + self._keep
        row = LEASE.end(db, search, claimant, state="failed", code=code, message=told, expires=expires)
        if row is None:
            return False
        _give_back(db, row)
        set_search(db, search, charged=0)
        return True

    def _delete(self, db: sa.Connection, rows: Sequence[Any]) -> list[str]:
        """Delete searches; blobs to sweep."""
        ids = [row.id for row in rows]
        for row in rows:
            if row.state == "running":
                _give_back(db, row)
        gone = sa.delete(_pictures).where(_pictures.c.search_id.in_(ids)).returning(_pictures.c.blob)
        hashes = list(db.execute(gone).scalars())
        db.execute(sa.delete(_searches).where(_searches.c.id.in_(ids)))
        return self._blobs.release(db, [*hashes, *(row.output for row in rows if row.output)])


def _give_back(db: sa.Connection, row: Any) -> None:
    if row.charged:
        give_back_credits(db, row.key_id, row.charged)
