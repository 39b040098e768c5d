"""How work on record is claimed: swaps, searches, webhooks, trainings and results alike.

Whoever works on a row holds it for a limited time and renews that while the work goes on. If its process dies, the
lease runs out by itself and another takes the row up. Only who holds a row ends it, in the transaction that records
what came of it: so it ends once, whatever dies meanwhile.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from prosopon.deployments.state.database import has_come


@dataclass(frozen=True, slots=True)
class Lease:
    """On the rows of a table, by three of its columns.

    until: when a row is free to be taken, null where there is nothing to do. claimant: who has it. attempts: how often
    it was taken; None where that is not counted. length: of a lease. farthest: how far ahead `until` is ever set, where
    that is farther.
    """

    key: sa.Column[Any]
    until: sa.Column[Any]
    claimant: sa.Column[Any]
    length: timedelta
    attempts: sa.Column[Any] | None = None
    farthest: timedelta = timedelta()

    def free(self, moment: datetime) -> sa.ColumnElement[bool]:
        """Nobody has the row, or whoever had it shows no sign of life."""
        return has_come(self.until, moment, max(self.length, self.farthest))

    def held(self, key: Any, claimant: UUID) -> sa.ColumnElement[bool]:
        """The claimant still has the row; a lease that has run out counts while nobody has taken the row up."""
        return sa.and_(self.key == key, self.claimant == claimant, self.until.is_not(None))

    def take(
        self,
        db: sa.Connection,
        claimant: UUID,
        moment: datetime,
        wanted: sa.ColumnElement[bool],
        most: int | None = None,
        **values: object,
    ) -> Sequence[sa.Row[Any]]:
        """The rows that are wanted and free, which the claimant has from now on; of more than `most` those that have
        been free for longest. What others are just taking is passed over. values: of other columns."""
        rows = sa.select(self.key).where(wanted, self.free(moment)).order_by(self.until).limit(most)
        mine = db.execute(rows.with_for_update(skip_locked=True)).scalars().all()
        if not mine:
            return ()
        columns: dict[Any, Any] = {self.until: moment + self.length, self.claimant: claimant}
        if self.attempts is not None:
            columns[self.attempts] = self.attempts + 1
        taken = sa.update(self.key.table).where(self.key.in_(mine)).values(columns).values(values)
        return db.execute(taken.returning(self.key.table)).all()

    def renew(self, db: sa.Connection, key: Any, claimant: UUID, moment: datetime, **values: object) -> bool:
        """To be called well within the lease while the work goes on. False where it is lost: another has the row."""
        columns = {self.until.name: moment + self.length, **values}
        renewed = db.execute(sa.update(self.key.table).where(self.held(key, claimant)).values(columns))
        return renewed.rowcount == 1

    def end(
        self, db: sa.Connection, key: Any, claimant: UUID, again: datetime | None = None, **values: object
    ) -> sa.Row[Any] | None:
        """Give the row back: for good, or to be free again at a moment. The row, or None where the lease is lost and
        nothing is changed."""
        columns = {self.until.name: again, self.claimant.name: None, **values}
        ended = sa.update(self.key.table).where(self.held(key, claimant)).values(columns)
        return db.execute(ended.returning(self.key.table)).one_or_none()
