"""Jobs: work on record that is done after the answer, or by one for all who ask for it.

A kind of job is declared once, as a `JobKind`: in which table its rows stand, what whoever works on a row is given of
it (the payload), how long a lease lasts, how often a row is taken up, what was paid for it and what is owed when it
ends. Everything that happens to a row follows from that and stands here: it is taken, renewed, postponed, finished or
given up. `table.py` lists the kinds. What is done with a payload is a function, which `serving/working.py` calls.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID, uuid4

import sqlalchemy as sa

from prosopon.deployments.state.blobs import Blob, BlobStore
from prosopon.deployments.state.database import Records, now
from prosopon.deployments.state.jobs.lease import Lease
from prosopon.deployments.state.keys import give_back_credits

Payload = TypeVar("Payload")


class Held(Protocol):
    """A row that somebody has: its key, and who that is."""

    @property
    def id(self) -> Any: ...
    @property
    def claimant(self) -> UUID: ...


@dataclass(frozen=True, slots=True)
class Hold:
    """A `Held` and no more."""

    id: Any
    claimant: UUID


@dataclass(frozen=True, slots=True)
class States:
    """What the column `state` says of a row."""

    waiting: str
    running: str
    done: str
    failed: str


Values = Mapping[str, object]
Owed = Callable[[sa.Connection, sa.Row[Any]], None]


@dataclass(frozen=True, slots=True)
class JobKind(Generic[Payload]):
    """A kind of job. Columns are named as the table names them; what a kind does not have is None.

    payload: of a row that has just been taken, in that transaction. until: column of when a row is free to be taken,
    null where there is nothing to do. length: of a lease; farthest: how far ahead a row is postponed, where that is
    farther. attempts: column that counts how often a row was taken. most_attempts: it is given up when it would be
    taken once more, with the values of `given_up(attempts)`. price: column of the credits that `key_id` paid, who gets
    them back where the job fails. output: column of the blob that came of it. ended: what a row says once it has ended,
    either way. owed: is called with the row in the transaction that ends a job, to put on record what others are owed.
    """

    name: str
    table: sa.Table
    payload: Callable[[sa.Connection, sa.Row[Any]], Payload]
    length: timedelta
    until: str = "due"
    farthest: timedelta = timedelta()
    states: States | None = None
    attempts: str | None = None
    most_attempts: int | None = None
    given_up: Callable[[int], Values] | None = None
    price: str | None = None
    output: str | None = None
    ended: Callable[[datetime], Values] | None = None
    owed: Owed | None = None

    @property
    def key(self) -> sa.Column[Any]:
        (column,) = self.table.primary_key.columns
        return column

    @property
    def lease(self) -> Lease:
        columns = self.table.c
        counted = None if self.attempts is None else columns[self.attempts]
        return Lease(self.key, columns[self.until], columns["claimant"], self.length, counted, self.farthest)

    def state(self, name: str) -> Values:
        """name: a field of `States`."""
        return {} if self.states is None else {"state": getattr(self.states, name)}


class Jobs(Generic[Payload]):
    """The jobs of one kind. Thread-safe; any number of processes may share one database and one blob store."""

    def __init__(
        self,
        kind: JobKind[Payload],
        records: Records,
        blobs: BlobStore | None = None,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self.kind, self._lease = kind, kind.lease
        self._records, self._blobs, self._now = records, blobs, clock

    def free(self) -> sa.ColumnElement[bool]:
        """Rows that are to be done and that nobody has at this moment."""
        return self._lease.free(self._now())

    def held(self, job: Held) -> sa.ColumnElement[bool]:
        """The row of a job, while whoever holds it still does."""
        return self._lease.held(job.id, job.claimant)

    def take(
        self,
        db: sa.Connection,
        wanted: sa.ColumnElement[bool],
        most: int | None = None,
        claimant: UUID | None = None,
    ) -> list[Payload]:
        """Have free rows for one's own for the length of a lease; of more than `most` those that were free longest.

        Those that were taken too often already are given up instead.
        """
        claimant = claimant or uuid4()
        rows = self._lease.take(db, claimant, self._now(), wanted, most, **self.kind.state("running"))
        return [self.kind.payload(db, row) for row in rows if not self._gave_up(db, row)]

    def _gave_up(self, db: sa.Connection, row: sa.Row[Any]) -> bool:
        kind = self.kind
        if kind.attempts is None or kind.most_attempts is None:
            return False
        attempts = row._mapping[kind.attempts]
        if attempts <= kind.most_attempts:
            return False
        values = kind.given_up(attempts) if kind.given_up else {}
        self._fail(db, Hold(row._mapping[kind.key.name], row.claimant), values)
        return True

    def renew(self, job: Held, **values: object) -> bool:
        """To be called well within the lease while the work goes on. False where it is lost: another has the row."""
        with self._records.write() as db:
            return self._lease.renew(db, job.id, job.claimant, self._now(), **values)

    def postpone(self, job: Held, pause: timedelta = timedelta(), **values: object) -> bool:
        """Give a job back, to be taken again after the pause. False where the lease is lost."""
        due = self._now() + pause
        with self._records.write() as db:
            row = self._lease.end(db, job.id, job.claimant, due, **{**self.kind.state("waiting"), **values})
        return row is not None

    def finish(self, job: Held, output: Blob | None = None, **values: object) -> bool:
        """End a job with what came of it. False where the lease is lost, and then nothing is changed."""
        images = {} if output is None else {output.sha256: output}
        if images:
            self._stored.stage(images)
        with self._records.write() as db:
            finished = self._end(db, job, {**self.kind.state("done"), **values}, output) is not None
        if images and not finished:
            self._stored.sweep(list(images))
        return finished

    def fail(self, job: Held, **values: object) -> bool:
        """End a job without a result, and give back what was paid. False where the lease is lost."""
        with self._records.write() as db:
            return self._fail(db, job, values)

    def _fail(self, db: sa.Connection, job: Held, values: Values) -> bool:
        row = self._end(db, job, {**self.kind.state("failed"), **values})
        if row is not None:
            give_back(db, self.kind, row)
        return row is not None

    def _end(
        self, db: sa.Connection, job: Held, values: Values, output: Blob | None = None
    ) -> sa.Row[Any] | None:
        kind = self.kind
        last = kind.ended(self._now()) if kind.ended else {}
        row = self._lease.end(db, job.id, job.claimant, None, **{**last, **values})
        if row is None:
            return None
        if output is not None and kind.output is not None:
            self._stored.reference(db, {output.sha256: 1}, {output.sha256: output})
            mine = sa.update(kind.table).where(kind.key == job.id)
            db.execute(mine.values({kind.output: output.sha256}))
        if kind.owed is not None:
            kind.owed(db, row)
        return row

    @property
    def _stored(self) -> BlobStore:
        if self._blobs is None:
            raise TypeError(f"{self.kind.name}: no blob store for what comes of it")
        return self._blobs


def give_back(db: sa.Connection, kind: JobKind[Any], row: sa.Row[Any]) -> None:
    """What was paid for a job, to who paid it."""
    if kind.price is not None and (paid := row._mapping[kind.price]):
        give_back_credits(db, row.key_id, paid)
