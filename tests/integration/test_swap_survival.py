"""Workers, couriers, ingresses and whole instances killed at random during 200 tasks: every task that was acknowledged
ends once, the points add up, and every webhook arrives with a valid signature."""

import contextlib
import io
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from PIL import Image

from prosopon.configs.settings import StateSettings
from prosopon.deployments.state import schema
from prosopon.deployments.state.database import Records
from prosopon.pipelines.commands.serve import is_ready
from tests.benchmarks.serving import Server, start, stop
from tests.conformance.aifaceswap_client import BASE, Swapper, new_swapper
from tests.integration.test_survival import replicas
from tests.loopback import Loopback, loopback

TASKS = 200
POINTS = 1000
REPLICA_KILLS = 14
INSTANCE_KILLS = 2
SETTINGS = {
    "apis": ["aifaceswap"],
    "fetch": {"allow": ["127.0.0.1"]},
    "swap": {"lease_seconds": 8},
    "webhooks": {"first_pause_seconds": 1},
    "deployments": {
        "swap_worker": {"num_cpus": 0.2, "min_replicas": 2, "max_replicas": 2, "concurrent_batches": 1}
    },
}


def small(path: Path) -> bytes:
    """The picture at a quarter of its size, so that many tasks take little time."""
    stream = io.BytesIO()
    with Image.open(path) as picture:
        picture.reduce(2).save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture
def web(london: list[Path]) -> Iterator[Loopback]:
    with loopback() as outside:
        for number, path in enumerate(london[:6]):
            outside.add(f"/face{number}", small(path))
        stream = io.BytesIO()
        Image.new("RGB", (64, 64)).save(stream, "JPEG")
        outside.add("/nobody", stream.getvalue())
        outside.replies["/hook"] = [200, 500, 200, 200, 503] * 20 + [200]
        yield outside


@dataclass
class Submitter(threading.Thread):
    """Submits one task after the other, whatever happens to the server, until enough are acknowledged."""

    web: Loopback
    server: Server
    key: str
    acknowledged: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        number = 0
        while len(self.acknowledged) < TASKS:
            number += 1
            try:
                answer = self.submit(number)
            except httpx.TransportError as error:
                self.answers[type(error).__name__] += 1
                time.sleep(0.2)
                continue
            self.answers[str(answer.status_code)] += 1
            if answer.status_code == 200:
                self.acknowledged.append(answer.json()["data"]["task_id"])
            time.sleep(0.2)

    def submit(self, number: int) -> httpx.Response:
        """Urls and files in turn; every tenth picture shows nobody."""
        source, face = f"/face{number % 3}", "/nobody" if number % 10 == 0 else f"/face{3 + number % 3}"
        url, headers = f"{self.server.url}{BASE}/faceswap", {"Authorization": f"Bearer {self.key}"}
        hook = self.web.url + "/hook"
        if number % 2:
            body = {"source_image": self.web.url + source, "face_image": self.web.url + face, "webhook": hook}
            return httpx.post(url, json=body, headers=headers, timeout=30)
        files = {"source_image": self.web.pictures[source], "face_image": self.web.pictures[face]}
        return httpx.post(url, data={"webhook": hook}, files=files, headers=headers, timeout=30)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_acknowledged_task_ends_once(tmp_path: Path, web: Loopback, models_mirror: None) -> None:
    dice = random.Random(0)
    server = start(tmp_path, SETTINGS)
    try:
        client = new_swapper(server, POINTS)
        records = Records(StateSettings(home=client.home).database)
        submitter = Submitter(web, server, client.key)
        submitter.start()
        kills = ["replica", "worker"] * (REPLICA_KILLS // 2) + ["instance"] * INSTANCE_KILLS
        dice.shuffle(kills)
        killed: Counter[str] = Counter()
        for kill in kills:
            time.sleep(dice.uniform(1, 3))
            if kill != "instance":
                wanted = "SwapWorker" if kill == "worker" else ""
                while not (alive := [item for item in sorted(replicas(server).items()) if wanted in item[1]]):
                    time.sleep(0.5)  # All of them are starting again.
                pid, name = dice.choice(alive)
                if kill == "worker":
                    wait_for_a_running_task(records)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                killed[name.rsplit(":", 1)[1]] += 1
            else:
                server.kill()
                server = submitter.server = start(tmp_path, SETTINGS)
                killed["instance"] += 1
        submitter.join(300)
        assert len(submitter.acknowledged) >= TASKS
        deadline = time.monotonic() + 120
        while not is_ready(server.url) and time.monotonic() < deadline:
            time.sleep(0.2)
        client.http = httpx.Client(base_url=server.url, timeout=60, headers=client.http.headers)
        check(client, submitter, web, records)
        records.close()
        print(f"\nkilled {dict(killed)}; answers {dict(submitter.answers)}; {len(web.calls)} webhook calls")
    finally:
        stop(server)


def wait_for_a_running_task(records: Records) -> None:
    """For ten seconds at most."""
    deadline = time.monotonic() + 10
    running = sa.select(schema.tasks.c.id).where(schema.tasks.c.state == "running")
    while time.monotonic() < deadline:
        with records.read() as db:
            if db.execute(running).first():
                return
        time.sleep(0.005)


def check(client: Swapper, submitter: Submitter, web: Loopback, records: Records) -> None:
    ended = {task_id: client.wait(task_id) for task_id in submitter.acknowledged}
    states = Counter(task["status"] for task in ended.values())
    print(f"\nacknowledged: {dict(states)}")
    for task_id, task in ended.items():
        expected = "no face is found in face_image" if task["status"] == "failed" else None
        assert task["message"] == expected, task
        if task["status"] == "succeeded":
            name = task["result_image"].rsplit("/", 1)[1]
            answer = client.http.get(f"{BASE}/result/{name}")
            assert answer.status_code == 200, task_id
            Image.open(io.BytesIO(answer.content)).load()
    # A task whose answer was lost in a kill is a task all the same, or never was one: nothing lies in between.
    deadline = time.monotonic() + 60
    while True:
        with records.read() as db:
            tasks = db.execute(schema.tasks.select()).mappings().all()
            deliveries = db.execute(schema.deliveries.select()).mappings().all()
        if all(row["due"] is None for row in (*tasks, *deliveries)) or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    assert {row["state"] for row in tasks} == {"succeeded", "failed"}
    spent = sum(row["points"] for row in tasks if row["state"] == "succeeded")
    assert client.points() == POINTS - spent
    assert Counter(row["task_id"] for row in deliveries) == Counter(row["id"] for row in tasks), (
        "one report each"
    )
    assert all(row["delivered"] for row in deliveries)
    calls = web.by_task()
    assert set(calls) == {row["id"].hex for row in tasks}
    for row in tasks:
        reports = calls[row["id"].hex]
        assert all(call.is_signed_with(client.secret) for call in reports)
        assert len({(call.headers["webhook-id"], call.body) for call in reports}) == 1, (
            "the same in every attempt"
        )
        assert reports[0].document["success"] == int(row["state"] == "succeeded")
    assert max(row["attempts"] for row in tasks) > 1, "some tasks were interrupted"
