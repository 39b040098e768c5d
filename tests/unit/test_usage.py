"""What keys have used, by day: sums, and what is forgotten."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from prosopon.deployments.state.database import Records
from prosopon.deployments.state.errors import NotEnoughCredits
from prosopon.deployments.state.keys import KeyStore, give_back_credits
from prosopon.deployments.state.usage import KEPT_DAYS, DayOfKey, UsageStore, Used, today
from prosopon.pipelines.http import keys as module
from prosopon.pipelines.http.keys import Authenticator


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(f"sqlite:///{tmp_path / 'records.db'}")


def test_uses_of_a_day_are_summed_and_days_too_old_are_forgotten(records: Records) -> None:
    usage = UsageStore(records)
    key = KeyStore(records).create("a")[0].id
    old, oldest = today() - timedelta(KEPT_DAYS - 1), today() - timedelta(KEPT_DAYS + 1)
    usage.add(
        {DayOfKey(today(), key): Used(2, 1), DayOfKey(old, key): Used(7), DayOfKey(oldest, key): Used(8)}
    )
    usage.add({DayOfKey(today(), key): Used(3, 4, 5)})
    assert usage.days(KEPT_DAYS, key) == [
        (DayOfKey(old, key), Used(7)),
        (DayOfKey(today(), key), Used(5, 5, 5)),
    ]
    assert usage.days(KEPT_DAYS * 2) == usage.days(KEPT_DAYS), "what is forgotten is gone"
    assert usage.days(1, key) == [(DayOfKey(today(), key), Used(5, 5, 5))]


def test_points_are_counted_with_what_is_charged_and_given_back(records: Records) -> None:
    store, usage = KeyStore(records), UsageStore(records)
    key, free = store.create("pays", credits=10)[0].id, store.create("without limit")[0].id
    store.charge(key, 7)
    store.charge(free, 4)
    with pytest.raises(NotEnoughCredits):
        store.charge(key, 7)
    with records.write() as db:
        give_back_credits(db, key, 2)
    assert {at.key: used.points for at, used in usage.days(1)} == {key: 5, free: 4}


def test_requests_are_written_down_a_moment_later(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_COUNTED_SECONDS", 0.05)
    key = KeyStore(records).create("a")[0]
    usage = UsageStore(records)

    async def use() -> None:
        keys = Authenticator(KeyStore(records), usage)
        for _ in range(3):
            keys.use(key, Used(requests=1))
        keys.use(key, Used(pictures=1))
        await asyncio.sleep(0.5)
        keys.use(key, Used(requests=1))
        await asyncio.sleep(0.5)
        keys._threads.shutdown()

    asyncio.run(use())
    assert usage.days(1) == [(DayOfKey(today(), key.id), Used(4, 1))]
