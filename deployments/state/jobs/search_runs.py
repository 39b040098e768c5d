"""Runs of searches: who works on one, how far it is, how it ends, and what is deleted in the end.

Whoever runs a search holds a claim, which runs out by itself if its process dies, so that another takes the search up.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from prosopon.deployments.state import schema
from prosopon.deployments.state.blobs import Blob, BlobStore
from prosopon.deployments.state.database import Records, now
from prosopon.deployments.state.jobs.jobs import Hold, Jobs, give_back
from prosopon.deployments.state.jobs.searches import SEARCH, Search

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
        self._records, self._blobs, self._now = records, blobs, clock
        kind = replace(SEARCH, ended=lambda moment: {"expires": moment + keep})
        self._jobs = Jobs(kind, records, blobs, clock)

    def interrupted(self) -> list[UUID]:
        """Running searches that nobody works on."""
        query = sa.select(_searches.c.id).where(_searches.c.state == "running", self._jobs.free())
        with self._records.read() as db:
            return list(db.execute(query.order_by(_searches.c.claimed)).scalars())

    def take_up(self, search: UUID, claimant: UUID) -> Search | None:
        """Claim an interrupted search; None where somebody else did, or where it has been tried too often."""
        with self._records.write() as db:
            taken = self._jobs.take(db, _searches.c.id == search, claimant=claimant)
        return taken[0] if taken else None

    def proceed(
        self, search: UUID, claimant: UUID, progress: int | None = None, message: str | None = None
    ) -> bool:
        """Renew the claim, and say how far the run is. False where it is lost: another has the search now."""
        values = {} if progress is None else {"progress": progress, "message": message}
        return self._jobs.renew(Hold(search, claimant), **values)

    def finish(self, search: UUID, claimant: UUID, output: Blob, message: str | None = None) -> bool:
        """Record what was found, and in a few words. False where the claim is lost, and with it the result."""
        return self._jobs.finish(Hold(search, claimant), output, progress=100, message=message)

    def fail(self, search: UUID, claimant: UUID, code: str, message: str) -> bool:
        """Record why nothing was found, and give the credits back. False where the claim is lost."""
        return self._jobs.fail(Hold(search, claimant), code=code, message=message[:_MAX_MESSAGE])

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

    def _delete(self, db: sa.Connection, rows: Sequence[Any]) -> list[str]:
        """Delete searches; blobs to sweep."""
        ids = [row.id for row in rows]
        for row in rows:
            if row.state == "running":
                give_back(db, SEARCH, row)
        gone = sa.delete(_pictures).where(_pictures.c.search_id.in_(ids)).returning(_pictures.c.blob)
        hashes = list(db.execute(gone).scalars())
        db.execute(sa.delete(_searches).where(_searches.c.id.in_(ids)))
        return self._blobs.release(db, [*hashes, *(row.output for row in rows if row.output)])
