"""From one machine to servers: the records of a home into an empty PostgreSQL database."""

from collections.abc import Callable

import sqlalchemy as sa

from prosopon.deployments.state import schema
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.errors import StateError

_ROWS = 5_000


def move_records(source: Records, target: Records, progress: Callable[[str, int], None]) -> int:
    """Copy every row of every table, all or none; how many there were. Nothing is changed in the source.

    progress: called with a table and how many of its rows are copied. Raises StateError where the target has rows
    already, or the databases are not SQLite and PostgreSQL.
    """
    if not source.is_sqlite or target.is_sqlite:
        raise StateError("records are copied from a home's SQLite database into a PostgreSQL database")
    moved = 0
    with source.read() as reading, target.write() as writing:
        for table in schema.metadata.sorted_tables:
            if writing.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first():
                raise StateError(f"the database is not empty: it has {table.name}")
        for table in schema.metadata.sorted_tables:
            rows = reading.execute(sa.select(table)).mappings()
            count = 0
            while part := rows.fetchmany(_ROWS):
                writing.execute(sa.insert(table), [dict(row) for row in part])
                count += len(part)
            moved += count
            progress(table.name, count)
        _continue_ids(reading, writing)
    return moved


def _continue_ids(reading: sa.Connection, writing: sa.Connection) -> None:
    """Let the new database count on from the highest id that was ever given, since none is given twice."""
    given = sa.table("sqlite_sequence", sa.column("name"), sa.column("seq"))
    known = {table.name for table in schema.metadata.sorted_tables}
    for name, last in reading.execute(sa.select(given.c.name, given.c.seq)):
        if name in known and last:
            writing.execute(sa.select(sa.func.setval(sa.func.pg_get_serial_sequence(name, "id"), last)))
