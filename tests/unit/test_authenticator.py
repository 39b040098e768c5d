"""Keys while the database is busy."""

import asyncio
import sqlite3
import time
from pathlib import Path

import pytest

from prosopon.deployments.state.database import Records
from prosopon.deployments.state.errors import StorageBusy
from prosopon.deployments.state.keys import KeyStore
from prosopon.pipelines.http import keys as module
from prosopon.pipelines.http.keys import Authenticator


def test_a_known_key_works_while_the_database_is_kept_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prosopon.deployments.state.database._BUSY_SECONDS", 1.5)
    monkeypatch.setattr(module, "_REMEMBERED_SECONDS", 0.0)
    store = KeyStore(Records(f"sqlite:///{tmp_path / 'records.db'}"))
    (_, known), (_, other) = store.create("a"), store.create("b")
    locker = sqlite3.connect(tmp_path / "records.db", isolation_level=None)

    async def ask() -> None:
        keys = Authenticator(store)
        assert await keys.find(known)
        store._records.close()  # An open connection could still read: another process came first.
        locker.execute("PRAGMA locking_mode=EXCLUSIVE")
        locker.execute("PRAGMA journal_mode=DELETE")
        locker.execute("BEGIN EXCLUSIVE")
        started = time.monotonic()
        found = await keys.find(known)
        assert found and found.name == "a"
        at_once = time.monotonic() - started
        with pytest.raises(StorageBusy):
            await keys.find(other)
        waited = time.monotonic() - started - at_once
        assert at_once < waited, "nobody asks the database"
        locker.execute("ROLLBACK")
        locker.close()
        found = await keys.find(other)
        assert found and found.name == "b"

    asyncio.run(ask())
