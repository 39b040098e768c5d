"""Searches: what they cost, who runs them, what a crash leaves, and what is left in the end."""

import asyncio
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prosopon.configs.settings import FaceCheckSettings
from prosopon.deployments.serving.calls import TooManyRequests
from prosopon.deployments.state import schema
from prosopon.deployments.state.blobs import Blob, BlobStore
from prosopon.deployments.state.database import Records, now
from prosopon.deployments.state.errors import (
    NotEnoughCredits,
    SearchNotFound,
    SearchPictureNotFound,
    SearchRunning,
    SearchWithoutPictures,
    StateError,
    TooManySearchPictures,
)
from prosopon.deployments.state.jobs.search_runs import SearchRuns
from prosopon.deployments.state.jobs.searches import (
    CLAIM,
    GIVEN_UP,
    MAX_ATTEMPTS,
    NewSearchPicture,
    Search,
    SearchStore,
)
from prosopon.deployments.state.keys import Key, KeyStore
from prosopon.pipelines.graphs.searches import Searches

KEEP = timedelta(hours=1)
PRICE = 3


@dataclass
class State:
    """A database of its own, with a clock that is put forward by hand."""

    records: Records
    blobs: BlobStore
    ahead: timedelta = timedelta()
    keys: KeyStore = field(init=False)
    store: SearchStore = field(init=False)
    runs: SearchRuns = field(init=False)

    def __post_init__(self) -> None:
        self.keys = KeyStore(self.records)
        self.store = SearchStore(self.records, self.blobs, KEEP, self.clock)
        self.runs = SearchRuns(self.records, self.blobs, KEEP, self.clock)

    def clock(self) -> datetime:
        return now() + self.ahead

    def key(self, credits: int | None = None, tenant: str = "default") -> Key:
        return self.keys.create("test", tenant=tenant, credits=credits)[0]

    def uploaded(self, key: Key, pictures: int = 1) -> Search:
        return self.store.add_pictures(
            key.tenant, uuid.uuid4(), [picture() for _ in range(pictures)], new=True
        )

    def started(self, key: Key, search: Search, demo: bool | None = None) -> tuple[Search, uuid.UUID]:
        claimant = uuid.uuid4()
        return self.store.start(key.tenant, search.id, key.id, PRICE, claimant, demo), claimant


def picture(image: bytes | None = None) -> NewSearchPicture:
    embedding = np.random.default_rng().normal(size=8).astype(np.float32)
    blob = Blob(image or uuid.uuid4().bytes, "image/jpeg")
    return NewSearchPicture(uuid.uuid4(), embedding, "model-1", b"preview", blob)


OUTPUT = Blob(b'{"items": []}', "application/json")


@pytest.fixture
def state(tmp_path: Path) -> State:
    records = Records(f"sqlite:///{tmp_path / 'records.db'}")
    return State(records, BlobStore(records, f"file://{tmp_path / 'blobs'}"))


def test_a_search_from_upload_to_output(state: State) -> None:
    key = state.key(credits=10)
    search = state.uploaded(key, 2)
    assert search.state == "open" and len(search.pictures) == 2
    assert np.isclose(np.linalg.norm(np.frombuffer(search.pictures[0].embedding, "<f4")), 1)
    running, claimant = state.started(key, search)
    assert running.state == "running" and running.claimant == claimant and running.progress == 0
    assert state.runs.proceed(search.id, claimant, 40, "searching")
    found = state.store.find(key.tenant, search.id)
    assert (found.progress, found.message) == (40, "searching")
    assert state.runs.finish(search.id, claimant, OUTPUT, "nobody")
    done = state.store.find(key.tenant, search.id)
    assert (done.state, done.progress, done.message) == ("done", 100, "nobody")
    assert state.store.output(done) == OUTPUT.data
    assert state.keys.balance(key.id) == 10 - PRICE


def test_asking_again_costs_nothing(state: State) -> None:
    key = state.key(credits=10)
    search = state.uploaded(key)
    _, claimant = state.started(key, search)
    for _ in range(3):
        again, other = state.started(key, search)
        assert again.state == "running" and again.claimant == claimant != other
    state.runs.finish(search.id, claimant, OUTPUT)
    assert state.started(key, search)[0].state == "done"
    assert state.keys.balance(key.id) == 10 - PRICE


def test_a_failed_search_is_not_charged_says_why_once_and_can_be_started_again(state: State) -> None:
    key = state.key(credits=PRICE)
    search = state.uploaded(key)
    _, claimant = state.started(key, search)
    assert state.keys.balance(key.id) == 0
    assert state.runs.fail(search.id, claimant, "failed", "the index is away")
    assert state.keys.balance(key.id) == PRICE
    told, _ = state.started(key, search)
    assert (told.state, told.code, told.message) == ("failed", "failed", "the index is away")
    assert state.keys.balance(key.id) == PRICE
    again, claimant = state.started(key, search)
    assert again.state == "running" and again.code is None
    state.runs.finish(search.id, claimant, OUTPUT)
    assert state.keys.balance(key.id) == 0


def test_a_search_is_not_started_on_too_small_a_balance(state: State) -> None:
    key = state.key(credits=PRICE - 1)
    search = state.uploaded(key)
    with pytest.raises(NotEnoughCredits):
        state.started(key, search)
    assert state.keys.balance(key.id) == PRICE - 1
    assert state.store.find(key.tenant, search.id).state == "open"


def test_a_key_without_limit_is_not_charged_and_gets_nothing_back(state: State) -> None:
    key = state.key()
    search = state.uploaded(key)
    _, claimant = state.started(key, search)
    state.keys.top_up(key.id, 5)
    state.runs.fail(search.id, claimant, "failed", "")
    assert state.keys.balance(key.id) == 5


@pytest.mark.parametrize("same", [False, True], ids=["of a hundred searches", "of one search"])
def test_concurrent_starts_charge_each_search_once(state: State, same: bool) -> None:
    key = state.key(credits=10 * PRICE)
    searches = [state.uploaded(key)] * 100 if same else [state.uploaded(key) for _ in range(100)]
    together = threading.Barrier(10)

    def start(number: int) -> str:
        if number < 10:
            together.wait()
        try:
            found, claimant = state.started(key, searches[number])
        except NotEnoughCredits:
            return "refused"
        return "mine" if found.claimant == claimant else "another's"

    with ThreadPoolExecutor(10) as threads:
        outcomes = list(threads.map(start, range(100)))
    assert outcomes.count("mine") == (1 if same else 10)
    assert outcomes.count("refused") == (0 if same else 90)
    assert state.keys.balance(key.id) == (9 * PRICE if same else 0)


def test_an_interrupted_search_is_taken_up_by_one_and_charged_once(state: State) -> None:
    key = state.key(credits=PRICE)
    search = state.uploaded(key)
    _, dead = state.started(key, search)
    assert state.runs.interrupted() == [] and state.runs.take_up(search.id, uuid.uuid4()) is None
    state.ahead = CLAIM + timedelta(seconds=1)
    assert state.runs.interrupted() == [search.id]
    heirs = [uuid.uuid4() for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        taken = list(threads.map(lambda heir: state.runs.take_up(search.id, heir), heirs))
    won = [heir for heir, found in zip(heirs, taken, strict=True) if found is not None]
    assert len(won) == 1
    assert not state.runs.finish(search.id, dead, OUTPUT), "it had lost its claim"
    assert not state.runs.fail(search.id, dead, "failed", "")
    assert not state.runs.proceed(search.id, dead)
    assert state.runs.finish(search.id, won[0], OUTPUT)
    assert state.store.find(key.tenant, search.id).state == "done"
    assert state.keys.balance(key.id) == 0


def test_a_search_that_is_interrupted_again_and_again_is_given_up_and_not_charged(state: State) -> None:
    key = state.key(credits=PRICE)
    search = state.uploaded(key)
    state.started(key, search)
    for attempt in range(MAX_ATTEMPTS):
        state.ahead += CLAIM + timedelta(seconds=1)
        assert (state.runs.take_up(search.id, uuid.uuid4()) is None) == (attempt == MAX_ATTEMPTS - 1)
    assert state.store.find(key.tenant, search.id).code == GIVEN_UP
    assert state.keys.balance(key.id) == PRICE


def test_a_search_belongs_to_the_tenant(state: State) -> None:
    mine, sibling, foreign = state.key(tenant="a"), state.key(tenant="a"), state.key(tenant="b")
    search = state.uploaded(mine)
    assert state.store.find(sibling.tenant, search.id).id == search.id
    attempts: list[Callable[[], object]] = [
        lambda: state.store.find(foreign.tenant, search.id),
        lambda: state.started(foreign, search),
        lambda: state.store.add_pictures(foreign.tenant, search.id, [picture()], new=False),
        lambda: state.store.add_pictures(foreign.tenant, search.id, [picture()], new=True),
        lambda: state.store.delete_picture(foreign.tenant, search.id, search.pictures[0].id),
    ]
    for attempt in attempts:
        with pytest.raises(SearchNotFound):
            attempt()
    assert state.store.find(mine.tenant, search.id) == search
    assert len(state.blobs.files()) == 1


def test_a_search_takes_three_pictures(state: State) -> None:
    key = state.key()
    search = state.uploaded(key, 2)
    with pytest.raises(TooManySearchPictures):
        state.store.add_pictures(key.tenant, search.id, [picture(), picture()], new=False)
    assert len(state.blobs.files()) == 2
    third = picture()
    full = state.store.add_pictures(key.tenant, search.id, [third], new=False)
    assert [other.id for other in full.pictures] == [*(other.id for other in search.pictures), third.id]
    with pytest.raises(TooManySearchPictures):
        state.store.add_pictures(key.tenant, search.id, [picture()], new=False)


def test_a_deleted_picture_is_gone_and_cannot_be_deleted_twice(state: State) -> None:
    key = state.key()
    search = state.uploaded(key, 2)
    first, second = search.pictures
    assert state.store.delete_picture(key.tenant, search.id, first.id).pictures == (second,)
    assert state.blobs.files() == {second.blob}
    with pytest.raises(SearchPictureNotFound):
        state.store.delete_picture(key.tenant, search.id, first.id)
    assert state.store.delete_picture(key.tenant, search.id, second.id).pictures == ()
    with pytest.raises(SearchWithoutPictures):
        state.started(key, search)


def test_a_picture_that_two_searches_share_stays_until_both_have_let_it_go(state: State) -> None:
    key = state.key()
    searches = [
        state.store.add_pictures(key.tenant, uuid.uuid4(), [picture(b"the same")], new=True) for _ in range(2)
    ]
    for left, search in zip((1, 0), searches, strict=True):
        state.store.delete_picture(key.tenant, search.id, search.pictures[0].id)
        assert len(state.blobs.files()) == left


def test_the_pictures_of_a_running_search_stay_as_they_are(state: State) -> None:
    key = state.key()
    search = state.uploaded(key)
    _, claimant = state.started(key, search)
    with pytest.raises(SearchRunning):
        state.store.add_pictures(key.tenant, search.id, [picture()], new=False)
    with pytest.raises(SearchRunning):
        state.store.delete_picture(key.tenant, search.id, search.pictures[0].id)
    state.runs.finish(search.id, claimant, OUTPUT)
    changed = state.store.add_pictures(key.tenant, search.id, [picture()], new=False)
    assert changed.state == "open" and changed.output is None
    assert len(state.blobs.files()) == 2, "what was found with one picture is no longer kept"


def test_a_search_of_all_faces_follows_a_demo_only_where_it_is_asked_for(state: State) -> None:
    key = state.key(credits=2 * PRICE)
    search = state.uploaded(key)
    demo, claimant = state.started(key, search, demo=True)
    assert demo.demo
    state.runs.finish(search.id, claimant, OUTPUT)
    assert state.started(key, search, demo=None)[0].state == "done"
    assert state.started(key, search, demo=True)[0].state == "done"
    full, _ = state.started(key, search, demo=False)
    assert full.state == "running" and not full.demo
    assert state.keys.balance(key.id) == 0


def test_what_has_expired_is_not_found_and_leaves_nothing_behind(state: State) -> None:
    key = state.key(credits=3 * PRICE)
    idle, done, running, fresh = (state.uploaded(key) for _ in range(4))
    _, claimant = state.started(key, done)
    state.runs.finish(done.id, claimant, OUTPUT)
    state.started(key, running)
    state.ahead = KEEP + timedelta(seconds=1)
    state.store.add_pictures(key.tenant, uuid.uuid4(), [picture()], new=True)
    with pytest.raises(SearchNotFound):
        state.store.find(key.tenant, idle.id)
    assert state.runs.expire() == 4
    for search in (idle, done, running, fresh):
        with pytest.raises(SearchNotFound):
            state.store.find(key.tenant, search.id)
    assert len(state.blobs.files()) == 1
    with state.records.read() as db:
        assert db.execute(sa.select(sa.func.count()).select_from(schema.search_pictures)).scalar_one() == 1
    assert state.keys.balance(key.id) == 2 * PRICE, "the run that nobody finished is not charged"


def test_a_search_that_is_at_work_does_not_expire(state: State) -> None:
    key = state.key()
    search = state.uploaded(key)
    _, claimant = state.started(key, search)
    state.ahead = KEEP + timedelta(seconds=1)
    assert state.runs.proceed(search.id, claimant)
    assert state.runs.expire() == 0
    assert state.runs.finish(search.id, claimant, OUTPUT)
    state.ahead += KEEP - timedelta(minutes=1)
    assert state.store.find(key.tenant, search.id).state == "done", "its result is kept as long as any"


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_credits_are_never_lost_or_doubled(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever happens to searches in whatever order: what is gone from the balance is what was completed."""
    folder = tmp_path_factory.mktemp("credits")
    records = Records(f"sqlite:///{folder / 'records.db'}")
    state = State(records, BlobStore(records, f"file://{folder / 'blobs'}"))
    key, total = state.key(credits=5 * PRICE), 5 * PRICE
    searches, claims, completed = [state.uploaded(key) for _ in range(3)], dict[uuid.UUID, uuid.UUID](), 0
    for _ in range(data.draw(st.integers(1, 15))):
        search = data.draw(st.sampled_from(searches)).id
        claimant = claims.get(search, uuid.uuid4())
        step = data.draw(st.sampled_from(["start", "finish", "fail", "crash", "edit"]))
        try:
            if step == "start":
                mine = uuid.uuid4()
                if state.store.start(key.tenant, search, key.id, PRICE, mine).claimant == mine:
                    claims[search] = mine
            elif step == "finish":
                completed += state.runs.finish(search, claimant, OUTPUT)
            elif step == "fail":
                state.runs.fail(search, claimant, "failed", "")
            elif step == "edit":
                only = state.store.find(key.tenant, search).pictures[0]
                state.store.add_pictures(key.tenant, search, [picture()], new=False)
                state.store.delete_picture(key.tenant, search, only.id)
            else:
                state.ahead += CLAIM + timedelta(seconds=1)
                heir = uuid.uuid4()
                if state.runs.take_up(search, heir):
                    claims[search] = heir
        except StateError:
            pass
        running = sum(state.store.find(key.tenant, search.id).state == "running" for search in searches)
        balance = state.keys.balance(key.id)
        assert balance is not None and balance >= 0
        assert balance + PRICE * (completed + running) == total
    records.close()


class WithoutModels(Searches):
    """Starts searches, and remembers which would be run."""

    def __init__(self, store: SearchStore) -> None:
        self._settings = FaceCheckSettings(max_waiting_per_tenant=3)
        self._store, self._flights, self._flying = store, {}, Counter()
        self.flown: asyncio.Queue[uuid.UUID] = asyncio.Queue()

    def _fly(self, search: Search, claimant: uuid.UUID) -> None:
        self.flown.put_nowait(search.id)
        super()._fly(search, claimant)

    async def _run(self, search: Search, claimant: uuid.UUID) -> None:
        await asyncio.Event().wait()


def test_a_search_whose_client_leaves_while_it_is_started_runs_at_once(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, start, begun, left = state.key(), state.store.start, threading.Event(), threading.Event()
    search = state.uploaded(key)

    def slowly(*args: Any) -> Search:
        begun.set()
        left.wait(10)
        return start(*args)

    async def leave() -> uuid.UUID:
        searches = WithoutModels(state.store)
        asked = asyncio.create_task(searches.start(key, search.id, None))
        await asyncio.to_thread(begun.wait, 10)
        asked.cancel()
        await asyncio.wait([asked])
        left.set()
        return await searches.flown.get()

    monkeypatch.setattr(state.store, "start", slowly)
    assert asyncio.run(asyncio.wait_for(leave(), 20)) == search.id


def test_one_tenants_searches_leave_room_for_anothers(state: State) -> None:
    flooding, other = state.key(tenant="flooding"), state.key(tenant="other")

    async def flood() -> None:
        searches = WithoutModels(state.store)
        first = state.uploaded(flooding)
        for search in (first, state.uploaded(flooding), state.uploaded(flooding)):
            await searches.start(flooding, search.id, None)
        with pytest.raises(TooManyRequests):
            await searches.start(flooding, state.uploaded(flooding).id, None)
        assert (await searches.start(flooding, first.id, None)).state == "running", (
            "asking again is no new one"
        )
        assert (await searches.start(other, state.uploaded(other).id, None)).state == "running"

    asyncio.run(flood())
