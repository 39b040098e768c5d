"""The database: its migrations, and what a transaction promises."""

import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from prosopon.deployments.state import schema
from prosopon.deployments.state.database import Records
from tests.paths import ROOT


def _structure(engine: sa.Engine) -> dict[str, str]:
    """Every table and index as SQLite describes it, without white space."""
    with engine.connect() as db:
        rows = db.execute(sa.text("select name, sql from sqlite_master where sql is not null"))
        return {
            name: "".join(sorted("".join(sql.split()).replace('"', "").lower()))
            for name, sql in rows
            if not name.startswith(("alembic", "sqlite"))
        }


def test_migrations_build_the_declared_tables(tmp_path: Path) -> None:
    migrated = Records(f"sqlite:///{tmp_path / 'migrated.db'}")
    with migrated.read() as db:
        assert compare_metadata(MigrationContext.configure(db), schema.metadata) == []
    declared = sa.create_engine(f"sqlite:///{tmp_path / 'declared.db'}")
    schema.metadata.create_all(declared)
    assert _structure(migrated.engine) == _structure(declared)


def test_processes_that_open_a_new_database_together_all_succeed(tmp_path: Path) -> None:
    program = "import sys; from deployments.state.database import Records; Records(sys.argv[1]).close()"
    url = f"sqlite:///{tmp_path / 'sub' / 'records.db'}"
    processes = [subprocess.Popen([sys.executable, "-c", program, url], cwd=ROOT) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4


def test_sqlite_is_durable_and_checks_references(tmp_path: Path) -> None:
    records = Records(f"sqlite:///{tmp_path / 'records.db'}")
    with records.read() as db:
        pragmas = {
            name: db.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    with pytest.raises(sa.exc.IntegrityError), records.write() as db:
        db.execute(
            sa.text(
                "insert into subjects (gallery_id, name, explicit, created) values (7, 'a', 1, '2026-01-01')"
            )
        )


def test_a_transaction_that_raises_changes_nothing(tmp_path: Path) -> None:
    records = Records(f"sqlite:///{tmp_path / 'records.db'}")
    with pytest.raises(RuntimeError), records.write() as db:
        records.ensure_tenant(db, "acme")
        raise RuntimeError
    with records.read() as db:
        assert db.execute(sa.select(schema.tenants)).all() == []


def test_tenants_and_galleries_are_made_once(tmp_path: Path) -> None:
    records = Records(f"sqlite:///{tmp_path / 'records.db'}")
    made = []
    for _ in range(2):
        with records.write() as db:
            tenant = records.ensure_tenant(db, "acme")
            made.append((tenant, records.ensure_gallery(db, tenant, "facecheck", "index")))
    assert made[0] == made[1]


def test_ids_are_not_used_twice(tmp_path: Path) -> None:
    records = Records(f"sqlite:///{tmp_path / 'records.db'}")
    with records.write() as db:
        first = records.ensure_tenant(db, "acme")
    with records.write() as db:
        db.execute(sa.delete(schema.tenants))
    with records.write() as db:
        assert records.ensure_tenant(db, "acme") > first
