"""The records: a SQL database that is the source of truth for everything but the bytes of images.

SQLite is opened in WAL mode, so that readers never wait for the writer, with synchronous=FULL: in WAL mode
NORMAL survives a killed process but may forget the last commits when the power fails, and an acknowledged
write must not be forgotten. The price is one fsync a transaction, which the batches of the write path
share.

A writing transaction takes SQLite's lock when it begins (BEGIN IMMEDIATE). One that began by reading could
not be upgraded once another process has written, and would fail instead of waiting.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from sqlite3 import Connection as SQLiteConnection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from tenacity import retry, retry_if_exception, stop_after_delay, wait_fixed

from prosopon.deployments.state import schema
from prosopon.deployments.state.errors import SchemaTooNew, StorageBusy, StorageFault, StorageFull

_BUSY_SECONDS = 5
"""Transactions take milliseconds: who waits longer is better told so than kept."""
IN_LIST = 5_000
"""Values in one IN list: SQLite and PostgreSQL allow about 32,000 parameters."""
_MIGRATION_SECONDS = 30
_CLOCKS_APART = timedelta(minutes=1)
"""How far the clocks of two machines of a cluster may differ without a claim being taken away."""
_VERSIONS = Path(__file__).parent / "migrations" / "versions"
"""Each file's name begins with its revision, the newest with the highest."""
_REVISION = sa.table("alembic_version", sa.column("version_num", sa.String))
_MIGRATION_LOCK = 0x70726F736F706F6E  # "prosopon"


def now() -> datetime:
    return datetime.now(UTC)


def has_come(column: sa.Column[Any], moment: datetime, farthest: timedelta) -> sa.ColumnElement[bool]:
    """Whether a time on record has come. farthest: how far ahead such a time is ever set.

    One that lies further ahead was written before the clock was set back: to wait for it would be to stand still.
    """
    return sa.or_(column <= moment, column > moment + farthest + _CLOCKS_APART)


class Records:
    """Connections to the database, with its schema brought up to date when it is opened.

    Thread-safe; any number of processes may open one database, also at the same moment.
    """

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        self._migrate()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that only reads. Raises `StorageFault` where the database cannot be read."""
        with _faults(), self.engine.connect() as db:
            yield db

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that is committed when the block ends and rolled back when it raises.

        Raises `StorageBusy` where others keep the database, `StorageFull` where nothing can be added to it.
        """
        with _faults(), self.engine.connect() as connection:
            db = connection.execution_options(writes=True)
            with db.begin():
                yield db

    def close(self) -> None:
        self.engine.dispose()

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    def insert_missing(self, db: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
        """Insert the rows whose unique columns are not taken yet."""
        insert = sqlite.insert if self.is_sqlite else postgresql.insert
        if rows:
            db.execute(insert(table).on_conflict_do_nothing(), rows)

    def ensure_tenant(self, db: sa.Connection, name: str) -> int:
        """Id of the tenant, which is made if it is not there."""
        self.insert_missing(db, schema.tenants, [{"name": name, "created": now()}])
        return int(
            db.execute(sa.select(schema.tenants.c.id).where(schema.tenants.c.name == name)).scalar_one()
        )

    def ensure_gallery(self, db: sa.Connection, tenant: int, kind: str, name: str) -> int:
        """Id of the tenant's gallery, which is made if it is not there."""
        table = schema.galleries
        row = {"tenant_id": tenant, "kind": kind, "name": name, "created": now()}
        self.insert_missing(db, table, [row])
        named = sa.select(table.c.id).where(
            table.c.tenant_id == tenant, table.c.kind == kind, table.c.name == name
        )
        return int(db.execute(named).scalar_one())

    def _migrate(self) -> None:
        """`alembic upgrade head`, one process at a time."""
        found, known = self._revision(), sorted(path.stem[:4] for path in _VERSIONS.glob("[0-9]*.py"))
        if found == known[-1]:
            return
        if found is not None and found not in known:
            raise SchemaTooNew(
                f"{self.engine.url.render_as_string()} has the schema {found} of a later version of Prosopon, this one "
                f"knows {known[-1]}: install that version, or restore a backup from before it"
            )
        # Every replica opens the database, and the first of them all has something to bring up to date.
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(_VERSIONS.parent).replace("%", "%%"))
        with self.write() as db:
            if not self.is_sqlite:
                db.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            config.attributes["connection"] = db
            command.upgrade(config, "head")

    def _revision(self) -> str | None:
        with self.read() as db:
            if not sa.inspect(db).has_table(_REVISION.name):
                return None
            return db.execute(sa.select(_REVISION.c.version_num)).scalar_one_or_none()


@contextmanager
def _faults() -> Iterator[None]:
    """Errors of the database's own as what they mean to a caller."""
    try:
        yield
    except sa.exc.TimeoutError as error:  # No connection of the pool became free.
        raise StorageBusy("too many wait for the database") from error
    except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
        raise _fault(error) from error


def _fault(error: sa.exc.DBAPIError) -> StorageFault:
    """SQLite tells by text, PostgreSQL by SQLSTATE: class 53 is a lack of resources, 53100 a full disk."""
    text = str(error.orig).lower()
    state = getattr(error.orig, "sqlstate", None)
    if state == "53100" or "disk is full" in text:
        return StorageFull("no space is left for the database")
    if "readonly" in text or "unable to open" in text:
        return StorageFault(f"the database cannot be written: {text}")
    if (
        "locked" in text
        or "busy" in text
        or error.connection_invalidated
        or not state
        or state[:2] in _PASSING
    ):
        return StorageBusy("the database is busy or cannot be reached")
    return StorageFault(f"the database failed: {text}")


_PASSING = {"08", "40", "53", "55", "57"}
"""Classes of SQLSTATE that pass: connection, rollback, resources, locks, the operator's intervention."""


def _engine(url: str) -> sa.Engine:
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        if parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(
            parsed,
            connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
            pool_size=8,
            max_overflow=32,
        )
        sa.event.listen(engine, "connect", _configure_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
        return engine
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    return sa.create_engine(parsed, pool_pre_ping=True)


def _configure_sqlite(connection: SQLiteConnection, _: object) -> None:
    connection.isolation_level = None  # transactions are begun by _begin_sqlite, not guessed by the driver
    cursor = connection.cursor()
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "cache_size=-65536", "mmap_size=1073741824"):
        cursor.execute(f"PRAGMA {pragma}")
    _set_wal(cursor)
    cursor.close()


@retry(
    retry=retry_if_exception(lambda error: "locked" in str(error)),
    stop=stop_after_delay(_MIGRATION_SECONDS),
    wait=wait_fixed(0.02),
    reraise=True,
)
def _set_wal(cursor: Any) -> None:
    """SQLite answers "locked" at once, without its busy timeout, when two processes switch a new file to
    WAL."""
    cursor.execute("PRAGMA journal_mode=WAL")


def _begin_sqlite(db: sa.Connection) -> None:
    db.exec_driver_sql("BEGIN IMMEDIATE" if db.get_execution_options().get("writes") else "BEGIN")


def chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Parts that fit into an IN list."""
    for start in range(0, len(values), IN_LIST):
        yield values[start : start + IN_LIST]
