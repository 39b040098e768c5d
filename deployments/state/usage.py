"""What each key has used, by day: requests, pictures, and points.

There is one row for each key and day that saw any, and none is kept for longer than `KEPT_DAYS`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from prosopon.deployments.state import schema
from prosopon.deployments.state.database import Records

KEPT_DAYS = 400
_table = schema.usage


@dataclass(frozen=True, slots=True)
class Used:
    """points: those charged on a day less those given back on it, which may be for work of the day before."""

    requests: int = 0
    pictures: int = 0
    points: int = 0

    def __add__(self, other: "Used") -> "Used":
        return Used(
            self.requests + other.requests, self.pictures + other.pictures, self.points + other.points
        )


@dataclass(frozen=True, slots=True)
class DayOfKey:
    """day: in UTC; key: its id."""

    day: date
    key: int


def today() -> date:
    """In UTC."""
    return datetime.now(UTC).date()


def add(db: sa.Connection, uses: Mapping[DayOfKey, Used]) -> None:
    """Count these inside the transaction `db`."""
    insert = (sqlite.insert if db.dialect.name == "sqlite" else postgresql.insert)(_table)
    columns = ("requests", "pictures", "points")
    summed = insert.on_conflict_do_update(
        index_elements=[_table.c.day, _table.c.key_id],
        set_={name: _table.c[name] + insert.excluded[name] for name in columns},
    )
    # In one order: two writers of the same rows must not wait for each other.
    for at in sorted(uses, key=lambda one: (one.day, one.key)):
        used = uses[at]
        row = {"day": at.day, "key_id": at.key}
        db.execute(summed, row | {name: getattr(used, name) for name in columns})


class UsageStore:
    """Thread-safe; any number of processes may share one database."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def add(self, uses: Mapping[DayOfKey, Used]) -> None:
        """Count these, and forget the days that are too old."""
        with self._records.write() as db:
            add(db, uses)
            db.execute(sa.delete(_table).where(_table.c.day < today() - timedelta(KEPT_DAYS)))

    def days(self, count: int, key: int | None = None) -> Sequence[tuple[DayOfKey, Used]]:
        """Of the last so many days, today's included, oldest first; of one key, or of all."""
        asked = sa.select(_table).where(_table.c.day > today() - timedelta(count))
        if key is not None:
            asked = asked.where(_table.c.key_id == key)
        with self._records.read() as db:
            rows = db.execute(asked.order_by(_table.c.day, _table.c.key_id)).all()
        return [(DayOfKey(row.day, row.key_id), Used(row.requests, row.pictures, row.points)) for row in rows]
