"""Workers and couriers killed at random moments: every task ends once, points add up, every webhook arrives."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from prosopon.configs.settings import StateSettings
from prosopon.deployments.state import schema
from prosopon.deployments.state.blobs import Blob, BlobStore
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.jobs.deliveries import DeliveryStore
from prosopon.deployments.state.jobs.task_types import NewTask, TaskInput
from prosopon.deployments.state.jobs.tasks import TaskStore
from prosopon.deployments.state.keys import KeyStore
from tests.integration.task_processes import SWAP, WEBHOOKS
from tests.loopback import loopback
from tests.paths import ROOT

TASKS = 60
KILLS = 12
"""`make soak` has the long series."""
POINTS = 1000
PROCESSES = ("worker", "worker", "courier")
_RESULTS = "http://server.example/results/"


def begin(role: str, home: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.integration.task_processes", role, str(home)]
    return subprocess.Popen(command, cwd=ROOT)


def test_killed_workers_and_couriers_lose_and_double_nothing(tmp_path: Path) -> None:
    print(f"\n{kill_workers_and_couriers(tmp_path, TASKS, KILLS)}")


def kill_workers_and_couriers(tmp_path: Path, count: int, most_kills: int) -> str:
    """What was seen. Raises AssertionError for what is lost or doubled."""
    dice = random.Random(0)
    state = StateSettings(home=tmp_path)
    records = Records(state.database)
    blobs, keys = BlobStore(records, state.blobs), KeyStore(records)
    tasks, deliveries = TaskStore(records, blobs, SWAP), DeliveryStore(records, WEBHOOKS)
    key, _ = keys.create("test", ["aifaceswap"], credits=POINTS)
    kills, running = 0, [begin(role, tmp_path) for role in PROCESSES]
    with loopback() as web:
        web.replies["/hook"] = [200, 500, 200, 503] * 20 + [200]
        made = {}
        next_kill = time.monotonic() + 1
        deadline = time.monotonic() + 240
        try:
            while True:
                if len(made) < count:
                    picture = Blob(str(len(made)).encode())
                    new = NewTask(
                        key.tenant, key.id, "faceswap", 2, (TaskInput(blob=picture.sha256),), _RESULTS,
                        webhook=web.url + "/hook", uploads={picture.sha256: picture},
                    )  # fmt: skip
                    made[tasks.accept(new)] = len(made)
                elif not tasks.count_open() and not owed(records):
                    break
                else:
                    time.sleep(0.05)
                if time.monotonic() > next_kill and kills < most_kills:
                    slot = dice.randrange(len(running))
                    running[slot].send_signal(signal.SIGKILL)
                    running[slot].wait()
                    running[slot] = begin(PROCESSES[slot], tmp_path)
                    kills += 1
                    next_kill = time.monotonic() + dice.uniform(0.1, 2)
                assert time.monotonic() < deadline, f"{tasks.count_open()} tasks are open"
        finally:
            for process in running:
                process.kill()
                process.wait()
        calls = web.by_task()
        secret = deliveries.secret(key.id)
    with records.read() as db:
        rows = db.execute(schema.tasks.select()).mappings().all()
        reports = db.execute(schema.deliveries.select()).all()
    assert {row["id"] for row in rows} == set(made)
    assert len(reports) == count
    failed = {task for task, number in made.items() if number % 3 == 0}
    for row in rows:
        assert row["state"] == ("failed" if row["id"] in failed else "succeeded")
        told = calls[row["id"].hex]
        assert all(call.is_signed_with(secret) for call in told)
        assert len({(call.headers["webhook-id"], call.body) for call in told}) == 1, (
            "one report, repeated or not"
        )
        if row["state"] == "succeeded":
            name = httpx.URL(told[0].document["result_image"]).path.rsplit("/", 1)[1]
            content = tasks.result(name).data
            assert content == b"%d by %d" % (made[row["id"]], row["attempts"])
    assert keys.balance(key.id) == POINTS - 2 * (count - len(failed))
    interrupted = sum(row["attempts"] > 1 for row in rows)
    repeated = sum(len(told) > 1 for told in calls.values())
    assert interrupted
    assert repeated
    return f"{kills} kills; {interrupted} tasks interrupted, {repeated} webhooks repeated"


def owed(records: Records) -> bool:
    with records.read() as db:
        return bool(
            db.execute(schema.deliveries.select().where(schema.deliveries.c.due.is_not(None))).first()
        )
