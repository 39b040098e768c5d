"""The cache of results and registered latents: bounded, least recently used first, whole or not at all; claims."""

import asyncio
import threading
import time
import uuid
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from prosopon.deployments.serving.calls import Overloaded
from prosopon.deployments.serving.fair_queue import FairQueue
from prosopon.deployments.state.blobs import Blob, BlobStore
from prosopon.deployments.state.database import Records, now
from prosopon.deployments.state.latents import LatentStore
from prosopon.deployments.state.results import CLAIM, ResultCache, Standing
from prosopon.models.generation.latents import Latent, latent_of_seed
from prosopon.pipelines.graphs.results import Results, Tell


class Clock:
    def __init__(self) -> None:
        self.moment = now()

    def __call__(self) -> datetime:
        return self.moment

    def advance(self, step: timedelta) -> None:
        self.moment += step


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(f"sqlite:///{tmp_path / 'records.db'}")


@pytest.fixture
def blobs(records: Records, tmp_path: Path) -> BlobStore:
    return BlobStore(records, f"file://{tmp_path / 'blobs'}")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(records: Records, blobs: BlobStore, clock: Clock) -> ResultCache:
    return ResultCache(records, blobs, 1000, clock)


def put(cache: ResultCache, key: str, data: bytes) -> None:
    claimant = uuid4()
    assert cache.claim(key, claimant)
    cache.store(key, claimant, Blob(data, "image/png"))


def test_what_is_stored_is_found_also_by_another_process(
    cache: ResultCache, records: Records, blobs: BlobStore
) -> None:
    assert cache.find("a") is None
    put(cache, "a", b"picture")
    assert cache.find("a") == Blob(b"picture", "image/png")
    assert ResultCache(records, blobs, 1000).find("a") == Blob(b"picture", "image/png")


def test_the_least_recently_used_leave_first(cache: ResultCache, blobs: BlobStore, clock: Clock) -> None:
    for key in "abc":
        put(cache, key, key.encode() * 300)
        clock.advance(timedelta(minutes=2))
    assert cache.find("a") is not None
    clock.advance(timedelta(minutes=2))
    put(cache, "d", b"d" * 300)
    assert [key for key in "abcd" if cache.find(key)] == ["a", "c", "d"]
    assert cache.size() == 900 and len(blobs.files()) == 3


def test_what_is_larger_than_the_cache_is_not_kept(cache: ResultCache, blobs: BlobStore) -> None:
    put(cache, "small", b"s" * 900)
    put(cache, "large", b"l" * 1001)
    assert cache.find("large") is None and cache.find("small") is not None
    assert cache.claim("large", uuid4())


def test_two_keys_may_have_the_same_bytes(cache: ResultCache, blobs: BlobStore, clock: Clock) -> None:
    put(cache, "a", b"same" * 100)
    clock.advance(timedelta(minutes=2))
    put(cache, "b", b"same" * 100)
    assert len(blobs.files()) == 1
    clock.advance(timedelta(minutes=2))
    put(cache, "c", b"c" * 400)
    assert cache.find("a") is None and cache.find("b") is not None


def test_a_damaged_or_missing_file_is_forgotten_and_can_be_made_again(
    cache: ResultCache, blobs: BlobStore, tmp_path: Path
) -> None:
    for spoil in (lambda path: path.write_bytes(b"other"), lambda path: path.unlink()):
        put(cache, "a", b"picture")
        spoil(next(path for path in (tmp_path / "blobs").rglob("*") if len(path.name) == 64))
        assert cache.find("a") is None
        put(cache, "a", b"picture")
        assert cache.find("a") is not None
        cache._forget(["a"])


def test_one_claim_at_a_time(cache: ResultCache, clock: Clock) -> None:
    first, second = uuid4(), uuid4()
    assert cache.claim("a", first) and not cache.claim("a", second)
    assert cache.computing() == 1
    cache.abandon("a", second)
    assert not cache.claim("a", second), "only the claimant can give up"
    cache.abandon("a", first)
    assert cache.computing() == 0 and cache.claim("a", second)


def test_the_claim_of_a_dead_process_runs_out_unless_it_is_renewed(cache: ResultCache, clock: Clock) -> None:
    first, second = uuid4(), uuid4()
    assert cache.claim("a", first)
    clock.advance(CLAIM / 2)
    cache.renew("a", first)
    clock.advance(CLAIM / 2 + timedelta(seconds=1))
    assert not cache.claim("a", second)
    clock.advance(CLAIM)
    assert cache.claim("a", second)
    cache.store("a", first, Blob(b"too late"))
    assert cache.find("a") is None
    cache.store("a", second, Blob(b"in time"))
    assert cache.find("a") == Blob(b"in time")


def test_how_far_a_result_is_everybody_sees(cache: ResultCache, clock: Clock) -> None:
    first, second = uuid4(), uuid4()
    assert cache.standing("a") is None
    assert cache.claim("a", first) and cache.standing("a") == Standing(False, 0)
    assert cache.advance("a", first, 7) and not cache.advance("a", second, 99)
    assert cache.standing("a") == Standing(False, 7)
    clock.advance(2 * CLAIM)
    assert cache.standing("a") is None, "nobody makes it any more"
    assert cache.claim("a", second)
    cache.store("a", second, Blob(b"film"))
    found = cache.standing("a")
    assert found is not None and found.ready


def test_what_is_told_of_the_work_is_put_on_record(
    cache: ResultCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prosopon.pipelines.graphs.results._TELL_SECONDS", 0)

    async def scenario() -> None:
        making, looking = Results(cache), Results(cache)
        told, go_on = asyncio.Event(), asyncio.Event()

        async def work(tell: Tell) -> bytes:
            await tell(3)
            told.set()
            await go_on.wait()
            return b"result"

        asked = asyncio.create_task(making.get("a", "image/png", work, room()))
        await told.wait()
        assert await looking.standing("a") == Standing(False, 3)
        go_on.set()
        await asked
        ended = await looking.standing("a")
        assert ended is not None and ended.ready

    asyncio.run(asyncio.wait_for(scenario(), 10))


class Work:
    """Something slow that counts how often it is done."""

    def __init__(self, seconds: float = 0.2) -> None:
        self.seconds, self.begun, self.done = seconds, 0, 0

    async def __call__(self, tell: Tell) -> bytes:
        self.begun += 1
        await asyncio.sleep(self.seconds)
        self.done += 1
        return b"result"


def test_many_who_ask_for_the_same_wait_for_one_computation(cache: ResultCache) -> None:
    async def scenario() -> None:
        processes, work = [Results(cache), Results(cache)], Work()
        got = await asyncio.gather(*(processes[i % 2].get("a", "image/png", work, room()) for i in range(20)))
        assert work.begun == 1 and {blob.data for blob in got} == {b"result"}

    asyncio.run(scenario())


def test_the_work_ends_when_the_last_has_gone_and_not_before(cache: ResultCache) -> None:
    async def scenario() -> None:
        results, work = Results(cache), Work(0.5)
        first, second = (asyncio.create_task(results.get("a", "image/png", work, room())) for _ in range(2))
        await asyncio.sleep(0.1)
        first.cancel()
        assert (await second).data == b"result" and work.done == 1
        impatient = [asyncio.create_task(results.get("b", "image/png", work, room())) for _ in range(2)]
        await asyncio.sleep(0.1)
        for task in impatient:
            task.cancel()
        await asyncio.sleep(0.7)
        assert (work.begun, work.done) == (2, 1) and cache.computing() == 0
        assert (await results.get("b", "image/png", work, room())).data == b"result"

    asyncio.run(scenario())


def test_who_leaves_while_the_claim_is_made_leaves_no_claim(
    cache: ResultCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = cache.claim

    def slowly(key: str, claimant: uuid.UUID) -> bool:
        time.sleep(0.3)
        return claim(key, claimant)

    async def scenario() -> None:
        monkeypatch.setattr(cache, "claim", slowly)
        task = asyncio.create_task(Results(cache).get("a", "image/png", Work(), room()))
        await asyncio.sleep(0.15)
        task.cancel()
        await asyncio.sleep(0.6)
        assert cache.computing() == 0

    asyncio.run(scenario())


def test_a_failure_reaches_everybody_and_is_not_kept(cache: ResultCache) -> None:
    async def fail(tell: Tell) -> bytes:
        await asyncio.sleep(0.1)
        raise ValueError("no")

    async def scenario() -> None:
        results = Results(cache)
        got = await asyncio.gather(
            *(results.get("a", "image/png", fail, room()) for _ in range(3)), return_exceptions=True
        )
        assert [type(error) for error in got] == [ValueError] * 3
        assert (await results.get("a", "image/png", Work(), room())).data == b"result"

    asyncio.run(scenario())


def test_the_oldest_latents_leave_and_nobody_is_refused(records: Records) -> None:
    store, z = LatentStore(records, 60), latent_of_seed(5)
    added = [store.add(z, "generator-1") for _ in range(120)]
    kept = [store.find(latent) is not None for latent in added]
    assert all(kept[-60:]) and not any(kept[:40])


def test_registered_latents_come_back_as_a_generator_sees_them(records: Records) -> None:
    store = LatentStore(records, 100)
    z, plus = latent_of_seed(5), Latent(np.random.default_rng(0).standard_normal((23, 512)))
    first, second = store.add(z, "generator-1", "test"), store.add(plus, "generator-1")
    found = store.find(first)
    assert found is not None and found.fingerprint is None, "z suits every generator"
    np.testing.assert_array_equal(found.latent.numbers, z.numbers)
    found = store.find(second)
    assert found is not None and found.fingerprint == "generator-1"
    np.testing.assert_array_equal(found.latent.numbers, plus.numbers.astype(np.float32))
    assert store.find(uuid4()) is None


def test_who_is_refused_has_written_nothing(cache: ResultCache) -> None:
    async def ask() -> None:
        full, work = FairQueue(0, 0, "wait"), Work()
        with pytest.raises(Overloaded):
            await Results(cache).get("a", "image/png", work, full)
        assert cache.computing() == 0
        await Results(cache).get("a", "image/png", work, room())
        found = await Results(cache).get("a", "image/png", work, full)  # What is there needs no turn.
        assert found.data == b"result"

    asyncio.run(ask())


def room() -> FairQueue:
    return FairQueue(100, 100, "wait")


def test_a_flood_is_refused_before_its_results_are_looked_for(
    cache: ResultCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that is slow to answer keeps a few of its caller's waiting, and refuses the others at once."""
    looked, answer = list[str](), threading.Event()

    def find(key: str) -> None:
        looked.append(key)
        answer.wait(10)

    async def ask() -> None:
        results, full = Results(cache), FairQueue(0, 0, "wait")
        asked = [asyncio.create_task(results.get(f"{n}", "image/png", Work(), full)) for n in range(50)]
        done, waiting = await asyncio.wait(asked, timeout=1)
        assert all(isinstance(task.exception(), Overloaded) for task in done)
        assert 1 <= len(waiting) == len(looked) <= 4
        shared = asyncio.create_task(results.get("0", "image/png", Work(), full))
        await asyncio.sleep(0.05)
        assert not shared.done(), "what is looked for already is waited for"
        answer.set()
        await asyncio.gather(*waiting, shared, return_exceptions=True)

    monkeypatch.setattr(cache, "find", find)
    asyncio.run(ask())
