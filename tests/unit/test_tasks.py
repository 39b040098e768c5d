"""Tasks: accepted and charged together, claimed by one, ended once; their webhooks are owed until delivered."""

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from prosopon.configs.settings import SwapSettings, WebhookSettings
from prosopon.deployments.state.blobs import Blob, BlobStore
from prosopon.deployments.state.database import Records, now
from prosopon.deployments.state.errors import (
    CannotRetry,
    KeyNotFound,
    NotEnoughCredits,
    ResultExpired,
    StateError,
    TaskNotFound,
    TooManyTasks,
)
from prosopon.deployments.state.jobs.deliveries import DeliveryStore, enqueue
from prosopon.deployments.state.jobs.task_expiry import TaskExpiry
from prosopon.deployments.state.jobs.task_types import ClaimedTask, NewTask, TaskInput, TaskResult
from prosopon.deployments.state.jobs.tasks import TaskStore
from prosopon.deployments.state.keys import Key, KeyStore
from prosopon.pipelines.apis.aifaceswap.wire import notification

RESULTS = "https://faces.example/results/"
HOOK = "https://client.example/hook"
PICTURE = Blob(b"picture", "image/png")


class Clock:
    def __init__(self) -> None:
        self.moment = now()

    def __call__(self) -> datetime:
        return self.moment

    def advance(self, **step: float) -> None:
        self.moment += timedelta(**step)


@dataclass
class State:
    records: Records
    blobs: BlobStore
    keys: KeyStore
    tasks: TaskStore
    deliveries: DeliveryStore
    expiry: TaskExpiry
    clock: Clock
    key: Key

    def new(self, **changes: object) -> NewTask:
        """A swap of an uploaded face into a picture of the web."""
        values: dict[str, object] = {
            "tenant": self.key.tenant,
            "key": self.key.id,
            "kind": "faceswap",
            "points": 2,
            "inputs": (TaskInput(url="https://pictures.example/a.png"), TaskInput(blob=PICTURE.sha256)),
            "results_url": RESULTS,
            "webhook": HOOK,
            "uploads": {PICTURE.sha256: PICTURE},
        }
        return NewTask(**{**values, **changes})  # type: ignore[arg-type]

    def claim(self) -> ClaimedTask:
        task = self.tasks.claim()
        assert task is not None
        return task

    def credits(self) -> int | None:
        return next(key.credits for key in self.keys.list() if key.id == self.key.id)


def state_over(records: Records, folder: Path) -> State:
    clock = Clock()
    blobs = BlobStore(records, f"file://{folder / 'blobs'}")
    keys = KeyStore(records)
    key, _ = keys.create("test", ["aifaceswap"], tenant=f"tenant-{uuid4()}", credits=10)
    settings = SwapSettings(max_waiting=8, max_waiting_per_tenant=5)
    return State(
        records,
        blobs,
        keys,
        TaskStore(records, blobs, settings, clock, notification),
        DeliveryStore(records, WebhookSettings(concurrency=8, per_host=2, per_key=6), clock),
        TaskExpiry(records, blobs, settings, clock),
        clock,
        key,
    )


@pytest.fixture
def state(tmp_path: Path) -> State:
    return state_over(Records(f"sqlite:///{tmp_path / 'records.db'}"), tmp_path)


def test_an_accepted_task_is_charged_and_waits(state: State) -> None:
    task = state.tasks.accept(state.new())
    record = state.tasks.find(task, state.key.tenant)
    assert (record.state, record.points, record.attempts, record.finished) == ("waiting", 2, 0, None)
    assert state.credits() == 8
    with pytest.raises(TaskNotFound):
        state.tasks.find(task, state.key.tenant + 1)


def test_what_cannot_be_paid_is_not_accepted_and_leaves_nothing(state: State) -> None:
    for error, key, points in ((NotEnoughCredits, state.key.id, 11), (KeyNotFound, 999_999, 2)):
        with pytest.raises(error):
            state.tasks.accept(state.new(key=key, points=points))
    assert state.credits() == 10
    assert not state.tasks.list()
    assert not state.blobs.files()


def test_of_requests_that_race_for_the_last_points_as_many_win_as_are_paid_for(state: State) -> None:
    state.keys.charge(state.key.id, 3)  # 7 are left: enough for three tasks

    def accept(_: int) -> bool:
        try:
            state.tasks.accept(state.new())
        except NotEnoughCredits:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        accepted = sum(pool.map(accept, range(8)))
    assert accepted == 3
    assert state.credits() == 1
    assert len(state.tasks.list()) == 3


def test_a_worker_gets_the_inputs_in_their_order_the_oldest_task_first(state: State) -> None:
    first = state.tasks.accept(state.new(kind="multi_faceswap", indices=(1, 0)))
    state.clock.advance(seconds=1)
    second = state.tasks.accept(state.new())
    claimed = state.claim()
    assert (claimed.id, claimed.kind, claimed.indices, claimed.attempt) == (
        first,
        "multi_faceswap",
        (1, 0),
        1,
    )
    assert claimed.inputs[0].url == "https://pictures.example/a.png"
    assert state.tasks.read(claimed.inputs[1]) == PICTURE.data
    assert state.tasks.find(first).state == "running"
    assert state.claim().id == second
    assert state.tasks.claim() is None


def test_workers_share_the_tasks(state: State) -> None:
    made = [state.tasks.accept(state.new(points=1)) for _ in range(5)]

    def work(_: int) -> list[object]:
        mine = []
        while task := state.tasks.claim():
            assert state.tasks.succeed(task, TaskResult(Blob(task.id.bytes), ".png"))
            mine.append(task.id)
        return mine

    with ThreadPoolExecutor(4) as pool:
        done = Counter(task for part in pool.map(work, range(4)) for task in part)
    assert done == Counter(made)


def test_a_result_is_found_by_its_name_and_reported(state: State) -> None:
    task = state.tasks.accept(state.new())
    result = Blob(b"result", "image/webp")
    assert state.tasks.succeed(state.claim(), TaskResult(result, ".webp", 0.75, "inswapper"))
    record = state.tasks.find(task)
    assert record.state == "succeeded"
    assert (record.similarity, record.method) == (0.75, "inswapper")
    assert record.finished == state.clock.moment
    assert record.result_url is not None
    name = record.result_url.removeprefix(RESULTS)
    assert len(name) > 40 and name.endswith(".webp")
    assert state.tasks.result(name) == result
    with pytest.raises(TaskNotFound):
        state.tasks.result("x" + name)
    (owed,) = state.deliveries.claim({}, {})
    assert (owed.task, owed.url, owed.host, owed.attempt) == (task, HOOK, "client.example", 1)
    assert json.loads(owed.body) == {
        "success": 1, "type": 1, "task_id": task.hex, "result_image": record.result_url,
    }  # fmt: skip
    assert state.credits() == 8


def test_a_failure_gives_the_points_back_once_and_says_why(state: State) -> None:
    task = state.tasks.accept(state.new(kind="multi_faceswap", indices=(0,)))
    claimed = state.claim()
    assert state.tasks.fail(claimed, "no face")
    assert not state.tasks.fail(claimed, "no face"), "it has ended"
    assert not state.tasks.succeed(claimed, TaskResult(Blob(b"late"), ".png"))
    assert state.credits() == 10
    record = state.tasks.find(task)
    assert (record.state, record.message, record.result_url) == ("failed", "no face", None)
    (owed,) = state.deliveries.claim({}, {})
    document = json.loads(owed.body)
    assert (document["success"], document["type"], document["message"]) == (0, 2, "no face")


def test_a_films_length_is_charged_once_and_given_back_with_the_rest(state: State) -> None:
    """Of a film that was uploaded at once, of one from elsewhere by its worker, whatever its attempt."""
    uploaded = state.tasks.accept(state.new(points=5, film_points=3))
    state.tasks.charge_film(state.claim(), 3)
    assert (state.credits(), state.tasks.find(uploaded).points) == (5, 5)
    fetched = state.tasks.accept(state.new(points=2))
    task = state.claim()
    for _ in range(2):
        state.tasks.charge_film(task, 3)
    assert (state.credits(), state.tasks.find(fetched).points) == (0, 5)
    with pytest.raises(NotEnoughCredits):
        state.tasks.charge_film(task, 4)
    assert state.tasks.fail(task, "no face")
    assert state.credits() == 5
    state.tasks.charge_film(task, 9)
    assert state.credits() == 5, "it has ended"


def test_the_progress_of_a_film_is_on_record_while_the_claim_holds(state: State) -> None:
    identity = state.tasks.accept(state.new())
    task = state.claim()
    assert state.tasks.find(identity).progress is None
    assert state.tasks.advance(task, 0.25)
    assert state.tasks.find(identity).progress == 0.25
    state.clock.advance(seconds=21)
    state.claim()
    assert not state.tasks.advance(task, 0.5), "another worker has it"
    assert state.tasks.find(identity).progress == 0.25


def test_a_task_without_webhook_owes_none(state: State) -> None:
    state.tasks.accept(state.new(webhook=None))
    state.tasks.fail(state.claim(), "no face")
    assert not state.deliveries.claim({}, {})


def test_the_task_of_a_dead_worker_is_taken_over_and_its_late_result_dropped(state: State) -> None:
    state.tasks.accept(state.new())
    dead = state.claim()
    state.clock.advance(seconds=19)
    assert state.tasks.claim() is None
    assert state.tasks.renew(dead)
    state.clock.advance(seconds=19)
    assert state.tasks.claim() is None, "renewed"
    state.clock.advance(seconds=2)
    second = state.claim()
    assert (second.id, second.attempt) == (dead.id, 2)
    assert not state.tasks.renew(dead)
    late, result = Blob(b"late"), Blob(b"result")
    assert not state.tasks.succeed(dead, TaskResult(late, ".png"))
    assert state.tasks.find(dead.id).state == "running"
    assert state.tasks.succeed(second, TaskResult(result, ".png"))
    assert not state.tasks.succeed(dead, TaskResult(late, ".png"))
    assert not state.tasks.fail(dead, "late")
    assert len(state.deliveries.of_task(dead.id)) == 1
    assert state.credits() == 8
    assert late.sha256 not in state.blobs.files()


def test_a_claim_that_ran_out_still_ends_the_task_if_nobody_took_over(state: State) -> None:
    state.tasks.accept(state.new())
    slow = state.claim()
    state.clock.advance(minutes=5)
    assert state.tasks.succeed(slow, TaskResult(Blob(b"result"), ".png"))
    assert state.tasks.claim() is None


def test_tenants_take_turns_however_many_tasks_one_has(state: State) -> None:
    other, _ = state.keys.create("other", ["aifaceswap"])
    for _ in range(5):
        state.tasks.accept(state.new())
        state.clock.advance(seconds=1)
    theirs = [state.tasks.accept(state.new(tenant=other.tenant, key=other.id)) for _ in range(2)]
    order = [state.claim().id in theirs for _ in range(7)]
    assert order == [False, True, False, True, False, False, False]


def test_a_clock_that_jumps_ahead_stops_nothing(state: State) -> None:
    jump(state, 6)


def test_a_clock_that_is_set_back_stops_nothing(state: State) -> None:
    jump(state, -6)


def jump(state: State, hours: float) -> None:
    """Neither a claim whose worker died nor a webhook that is owed waits until the clock is where it was."""
    task = state.tasks.accept(state.new())
    state.claim()
    state.clock.advance(hours=hours)
    second = state.claim()
    assert (second.id, second.attempt) == (task, 2)
    assert state.tasks.claim() is None
    assert state.tasks.succeed(second, TaskResult(Blob(b"result"), ".png"))
    (delivery,) = state.deliveries.claim({}, {})
    state.deliveries.failed(delivery, 500, "not now", timedelta(seconds=5))
    assert not state.deliveries.claim({}, {})
    state.clock.advance(hours=hours)
    assert len(state.deliveries.claim({}, {})) == 1


def test_a_postponed_task_is_due_after_its_pause(state: State) -> None:
    task = state.tasks.accept(state.new())
    state.tasks.postpone(state.claim(), timedelta(seconds=30), "the server is away")
    assert state.tasks.find(task).state == "waiting"
    assert state.tasks.claim() is None
    state.clock.advance(seconds=31)
    assert state.claim().attempt == 2


def test_a_task_that_is_put_back_is_due_at_once_and_was_not_attempted(state: State) -> None:
    state.tasks.accept(state.new())
    for _ in range(10):
        state.tasks.put_back(state.claim(), "its worker was stopped")
    assert state.claim().attempt == 1


def test_what_another_worker_has_taken_over_is_not_put_back(state: State) -> None:
    task = state.tasks.accept(state.new())
    dead = state.claim()
    state.clock.advance(minutes=5)
    state.claim()
    state.tasks.put_back(dead, "its worker was stopped")
    assert state.tasks.find(task).state == "running"


def test_too_many_tasks_of_one_tenant_or_of_all_are_refused(state: State) -> None:
    for _ in range(5):
        state.tasks.accept(state.new(points=0))
    with pytest.raises(TooManyTasks, match="your"):
        state.tasks.accept(state.new(points=0))
    other, _ = state.keys.create("other", ["aifaceswap"], tenant="other")
    for _ in range(3):
        state.tasks.accept(state.new(tenant=other.tenant, key=other.id))
    with pytest.raises(TooManyTasks, match="this server"):
        state.tasks.accept(state.new(tenant=other.tenant, key=other.id))
    state.tasks.fail(state.claim(), "x")
    state.tasks.accept(state.new(tenant=other.tenant, key=other.id))


def test_pictures_are_deleted_when_their_time_has_come(state: State) -> None:
    done, waiting = state.tasks.accept(state.new()), None
    shared = Blob(b"result")
    state.tasks.succeed(state.claim(), TaskResult(shared, ".png"))
    waiting = state.tasks.accept(state.new())
    url = state.tasks.find(done).result_url
    assert url is not None
    name = url.removeprefix(RESULTS)
    state.clock.advance(hours=23.9)
    assert state.expiry.expire() == 0
    assert state.tasks.result(name) == shared
    state.clock.advance(hours=0.2)
    with pytest.raises(ResultExpired):
        state.tasks.result(name)
    assert state.expiry.expire() == 1
    assert state.blobs.files() == {PICTURE.sha256}, "the waiting task has the same face"
    with pytest.raises(ResultExpired):
        state.tasks.result(name)
    assert state.tasks.find(done).result_url is None
    state.tasks.fail(state.claim(), "no face")
    state.clock.advance(hours=25)
    state.expiry.expire()
    assert not state.blobs.files()
    assert state.tasks.find(waiting).state == "failed"


def test_records_are_forgotten_at_last_but_not_while_a_webhook_is_owed(state: State) -> None:
    task = state.tasks.accept(state.new())
    state.tasks.fail(state.claim(), "no face")
    state.clock.advance(days=31)
    state.expiry.expire()
    assert state.tasks.find(task)
    (owed,) = state.deliveries.claim({}, {})
    state.deliveries.delivered(owed, 200)
    state.expiry.expire()
    with pytest.raises(TaskNotFound):
        state.tasks.find(task)


def test_a_failed_task_can_be_done_again_and_is_charged_again(state: State) -> None:
    task = state.tasks.accept(state.new())
    with pytest.raises(CannotRetry):
        state.claim()
        state.tasks.retry(task)
    state.clock.advance(seconds=21)
    state.tasks.fail(state.claim(), "no face")
    assert state.credits() == 10
    state.tasks.retry(task)
    assert state.credits() == 8
    again = state.claim()
    assert (again.id, again.attempt) == (task, 1)
    assert state.tasks.read(again.inputs[1]) == PICTURE.data
    state.tasks.succeed(again, TaskResult(Blob(b"result"), ".png"))
    assert [json.loads(owed.body)["success"] for owed in state.deliveries.claim({}, {})] in ([0, 1], [1, 0])
    with pytest.raises(CannotRetry):
        state.tasks.retry(task)
    with pytest.raises(TaskNotFound):
        state.tasks.retry(uuid4())


def test_a_failed_task_without_points_or_pictures_stays_failed(state: State) -> None:
    task = state.tasks.accept(state.new())
    state.tasks.fail(state.claim(), "no face")
    state.keys.charge(state.key.id, 9)
    with pytest.raises(NotEnoughCredits):
        state.tasks.retry(task)
    state.keys.top_up(state.key.id, 9)
    state.clock.advance(hours=25)
    with pytest.raises(CannotRetry):
        state.tasks.retry(task)
    assert state.tasks.find(task).state == "failed"


def test_waiting_for_another_attempt_can_be_cut_short(state: State) -> None:
    task = state.tasks.accept(state.new())
    state.tasks.postpone(state.claim(), timedelta(hours=1), "away")
    state.tasks.retry(task)
    assert state.claim().attempt == 2
    assert state.credits() == 8


# ------------------------------------------------------------------------------------------------------- webhooks


def owe(state: State, *hooks: str) -> None:
    """One task whose end is reported to each of the hooks, one after the other."""
    task = state.tasks.accept(state.new(points=0, webhook=None))
    state.tasks.fail(state.claim(), "x")
    with state.records.write() as db:
        for hook in hooks or (HOOK,):
            state.clock.advance(milliseconds=1)
            enqueue(db, task, state.key.id, hook, b"{}", state.clock.moment)


def test_a_failed_attempt_is_repeated_with_the_same_bytes_until_delivered(state: State) -> None:
    owe(state)
    (first,) = state.deliveries.claim({}, {})
    assert not state.deliveries.claim({}, {}), "claimed"
    state.deliveries.failed(first, 500, "answered 500", timedelta(seconds=5))
    assert not state.deliveries.claim({}, {})
    state.clock.advance(seconds=6)
    (second,) = state.deliveries.claim({}, {})
    assert (second.id, second.body, second.attempt) == (first.id, first.body, 2)
    state.deliveries.delivered(second, 200)
    state.clock.advance(days=1)
    assert not state.deliveries.claim({}, {})
    (record,) = state.deliveries.of_task(first.task)
    assert (record.attempts, record.status, record.error, record.due) == (2, 200, None, None)
    assert record.delivered


def test_calls_that_are_due_or_under_way_are_open_and_those_that_pause_are_not(state: State) -> None:
    assert state.deliveries.count_open() == 0
    owe(state, "https://a.example/", "https://b.example/", "https://c.example/")
    assert state.deliveries.count_open() == 3
    first, second, third = state.deliveries.claim({}, {})
    assert state.deliveries.count_open() == 3
    state.deliveries.delivered(first, 200)
    state.deliveries.failed(second, 500, "answered 500", None)
    state.deliveries.failed(third, 500, "answered 500", timedelta(seconds=5))
    assert state.deliveries.count_open() == 0
    state.clock.advance(seconds=6)
    assert state.deliveries.count_open() == 1


def test_what_is_given_up_is_on_record(state: State) -> None:
    owe(state)
    (only,) = state.deliveries.claim({}, {})
    state.deliveries.failed(only, None, "cannot be reached", None)
    state.clock.advance(days=1)
    assert not state.deliveries.claim({}, {})
    (record,) = state.deliveries.of_task(only.task)
    assert (record.error, record.due, record.delivered) == ("cannot be reached", None, None)


def test_the_attempt_of_a_dead_courier_is_made_again(state: State) -> None:
    owe(state)
    (dead,) = state.deliveries.claim({}, {})
    state.clock.advance(minutes=1)
    (second,) = state.deliveries.claim({}, {})
    assert second.id == dead.id
    state.deliveries.failed(dead, 500, "late", timedelta(hours=1))
    assert state.deliveries.of_task(dead.task)[0].error is None, "what the dead one has to say counts no more"


def test_a_host_or_key_with_many_calls_leaves_room_for_others(state: State) -> None:
    owe(state, *["https://hanging.example/"] * 300)
    owe(state, "https://other.example/")
    found = Counter(delivery.host for delivery in state.deliveries.claim({}, {}))
    assert found == {"hanging.example": 2, "other.example": 1}
    found = Counter(delivery.host for delivery in state.deliveries.claim({"hanging.example": 2}, {}))
    assert not found
    assert not state.deliveries.claim({"x.example": 8}, {}), "all are under way"
    owe(state, "https://third.example/")
    assert not state.deliveries.claim({}, {state.key.id: 6}), "the key has its share"
    assert len(state.deliveries.claim({"x.example": 7}, {})) == 1


def test_couriers_share_the_calls(state: State) -> None:
    owe(state, *(f"https://host{number}.example/" for number in range(20)))

    def deliver(_: int) -> list[object]:
        mine = []
        while owed := state.deliveries.claim({}, {}):
            for delivery in owed:
                state.deliveries.delivered(delivery, 200)
                mine.append(delivery.id)
        return mine

    with ThreadPoolExecutor(4) as pool:
        delivered = Counter(call for part in pool.map(deliver, range(4)) for call in part)
    assert len(delivered) == 20
    assert set(delivered.values()) == {1}


def test_every_key_has_a_secret_of_its_own_until_it_is_replaced(state: State) -> None:
    other, _ = state.keys.create("other", ["aifaceswap"])
    secret = state.deliveries.secret(state.key.id)
    assert state.deliveries.secret(state.key.id) == secret
    assert state.deliveries.secret(other.id) != secret
    replaced = state.deliveries.replace_secret(state.key.id)
    assert replaced == state.deliveries.secret(state.key.id) != secret
    calls: list[Callable[[int], bytes]] = [state.deliveries.secret, state.deliveries.replace_secret]
    for call in calls:
        with pytest.raises(StateError):
            call(999_999)
