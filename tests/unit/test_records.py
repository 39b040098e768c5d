"""The database: its migrations, and what a transaction promises."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from prosopon.deployments.state import schema
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.errors import SchemaTooNew, StorageBusy, StorageFull
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


def test_people_of_an_older_database_are_found_without_regard_to_case(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'older.db'}"
    config = Config()
    config.set_main_option("script_location", str(ROOT / "deployments/state/migrations"))
    with sa.create_engine(url).begin() as db:
        config.attributes["connection"] = db
        command.upgrade(config, "0007")
        time = "2026-01-01"
        db.exec_driver_sql(f"insert into tenants (name, created) values ('acme', '{time}')")
        for kind in ("compreface", "facecheck"):
            values = f"(1, '{kind}', '{kind}', '{time}')"
            db.exec_driver_sql(f"insert into galleries (tenant_id, kind, name, created) values {values}")
        for gallery, name in ((1, "Zoë"), (1, "ZOË"), (2, "https://example.org/A")):
            values = f"({gallery}, '{name}', true, '{time}')"
            db.exec_driver_sql(f"insert into subjects (gallery_id, name, explicit, created) values {values}")
    with Records(url).read() as db:
        rows = db.execute(sa.select(schema.subjects.c.name, schema.subjects.c.folded)).all()
    assert rows == [("Zoë", "zoë"), ("ZOË", "zoë"), ("https://example.org/A", None)]


def test_processes_that_open_a_new_database_together_all_succeed(tmp_path: Path) -> None:
    program = (
        "import sys; from prosopon.deployments.state.database import Records; Records(sys.argv[1]).close()"
    )
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


def test_a_database_that_another_keeps_is_busy_and_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prosopon.deployments.state.database._BUSY_SECONDS", 0.2)
    records = Records(f"sqlite:///{tmp_path / 'records.db'}")
    other = sqlite3.connect(tmp_path / "records.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageBusy) as busy, records.write():
        raise AssertionError("not reached")
    assert (busy.value.status, busy.value.retry_after) == (503, 2)
    with records.read() as db:
        assert db.execute(sa.select(schema.keys)).all() == []
    other.execute("ROLLBACK")
    with records.write() as db:
        records.ensure_tenant(db, "acme")


def test_a_full_database_keeps_what_it_has(tmp_path: Path) -> None:
    records = Records(f"sqlite:///{tmp_path / 'records.db'}")
    with records.write() as db:
        records.ensure_tenant(db, "acme")
        pages = db.exec_driver_sql("PRAGMA page_count").scalar_one()
    with pytest.raises(StorageFull), records.write() as db:
        db.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        for number in range(10_000):
            records.ensure_tenant(db, f"{number:0200}")
    with records.read() as db:
        assert db.execute(sa.select(schema.tenants.c.name)).scalars().all() == ["acme"]


def test_a_later_versions_database_is_named_in_one_line(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'records.db'}"
    with Records(url).write() as db:
        db.execute(sa.text("update alembic_version set version_num = '9999'"))
    with pytest.raises(SchemaTooNew, match="9999"):
        Records(url)
    config = tmp_path / "config.yaml"
    config.write_text(f"applications: [{{name: prosopon, args: {{state: {{home: {tmp_path}}}}}}}]\n")
    command = [sys.executable, "-m", "prosopon.pipelines.cli", "keys", "list", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and "later version" in done.stderr
