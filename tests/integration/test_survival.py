"""Processes killed at random moments of a run of enrolments: nothing acknowledged is lost or doubled."""

import os
import random
import signal
import struct
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from prosopon.configs.settings import StateSettings
from prosopon.deployments.state import schema
from prosopon.deployments.state.database import Records
from prosopon.pipelines.commands.serve import is_ready
from tests.benchmarks.serving import Server, start, stop
from tests.conformance.client import Client, new_key

REPLICA_KILLS = 14
INSTANCE_KILLS = 6
APIS = {"apis": ["compreface"]}


def marked(jpeg: bytes, text: str) -> bytes:
    """The same picture in another file: a comment segment makes every enrolled image a blob of its own."""
    comment = text.encode()
    return jpeg[:2] + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + jpeg[2:]


@dataclass
class Enroller(threading.Thread):
    """Enrols one face after the other, whatever happens to the server, and remembers what was acknowledged."""

    pictures: list[bytes]
    key: str
    url: str
    acknowledged: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    attempted: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self.stopping = threading.Event()

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        number, name = 0, uuid.uuid4().hex  # Threads' own numbers are used again.
        while not self.stopping.is_set():
            subject = f"{name}-{number}"
            image = marked(self.pictures[number % len(self.pictures)], subject)
            number += 1
            self.attempted[subject] += 1
            try:
                answer = httpx.post(
                    f"{self.url}/api/v1/recognition/faces",
                    params={"subject": subject},
                    files={"file": ("face.jpg", image)},
                    headers={"x-api-key": self.key},
                    timeout=60,
                )
            except httpx.TransportError as error:
                self.answers[type(error).__name__] += 1
                time.sleep(0.2)
                continue
            self.answers[str(answer.status_code)] += 1
            if answer.status_code == 201:
                self.acknowledged[answer.json()["image_id"]] = (subject, image)


def replicas(server: Server) -> dict[int, str]:
    """pid -> name of the server's replicas."""
    found = {}
    for pid in server.pids():
        try:
            title = Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            continue
        if title.startswith("ray::ServeReplica"):
            found[pid] = title.split("\0")[0]
    return found


def a_replica(server: Server, dice: random.Random) -> int:
    """pid of one of the server's replicas, once there is any."""
    deadline = time.monotonic() + 60
    while not (found := replicas(server)):
        assert time.monotonic() < deadline, "no replica comes back"
        time.sleep(0.1)
    return dice.choice(sorted(found))


def acknowledging(enrollers: list[Enroller]) -> None:
    """Return with the next enrolment that is acknowledged."""
    known, deadline = sum(len(one.acknowledged) for one in enrollers), time.monotonic() + 60
    while sum(len(one.acknowledged) for one in enrollers) == known:
        assert time.monotonic() < deadline, "the server does not come back"
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_nothing_acknowledged_is_lost_or_doubled(
    tmp_path: Path, london: list[Path], models_mirror: None
) -> None:
    dice = random.Random(0)
    server = start(tmp_path, APIS)
    key = new_key(server, "recognition")
    pictures = [path.read_bytes() for path in london[:8]]
    finished: list[Enroller] = []

    def enrollers() -> list[Enroller]:
        threads = [Enroller(pictures, key, server.url) for _ in range(2)]
        for thread in threads:
            thread.start()
        return threads

    kills = ["replica"] * REPLICA_KILLS + ["instance"] * INSTANCE_KILLS
    dice.shuffle(kills)
    running = enrollers()
    recoveries = []
    try:
        for kill in kills:
            # Half of the kills hit a server that works, the others one that may be coming back.
            if dice.random() < 0.5:
                acknowledging(running)
            time.sleep(dice.uniform(0.5, 2.5))
            if kill == "replica":
                os.kill(a_replica(server, dice), signal.SIGKILL)
                continue
            server.kill()
            for thread in running:
                thread.stopping.set()
                thread.join()
            finished += running
            began = time.monotonic()
            server = start(tmp_path, APIS)
            recoveries.append(time.monotonic() - began)
            running = enrollers()
        time.sleep(2)
        for thread in running:
            thread.stopping.set()
            thread.join()
        finished += running
        deadline = time.monotonic() + 60
        while not is_ready(server.url) and time.monotonic() < deadline:
            time.sleep(0.2)
        check(server, key, finished)
    finally:
        stop(server)
    answers = sum((thread.answers for thread in finished), Counter())
    print(
        f"\n{len(kills)} kills; answers: {dict(answers)}; restarts took {[round(r, 1) for r in recoveries]} s"
    )


def check(server: Server, key: str, enrollers: list[Enroller]) -> None:
    """Record, vector and image agree for every acknowledged face; nothing is there twice."""
    acknowledged = {
        image_id: entry for thread in enrollers for image_id, entry in thread.acknowledged.items()
    }
    attempted = sum((thread.attempted for thread in enrollers), Counter())
    assert len(acknowledged) > 20
    client = Client(httpx.Client(base_url=server.url, timeout=60), key)
    page = client.get("/recognition/faces", params={"size": 1000}).json()
    faces = page["faces"]
    for number in range(1, page["total_pages"]):
        faces += client.get("/recognition/faces", params={"size": 1000, "page": number}).json()["faces"]
    stored = {face["image_id"]: face["subject"] for face in faces}
    assert len(stored) == len(faces) == page["total_elements"]
    assert max(Counter(stored.values()).values()) == 1, "an enrolment was done twice"
    assert set(stored.values()) <= set(attempted)
    for image_id, (subject, image) in acknowledged.items():
        assert stored.get(image_id) == subject
        assert client.get(f"/recognition/faces/{image_id}/img").content == image
    # Every record's vector is found, and no vector is without its record.
    records = Records(StateSettings(home=server.home).database)
    with records.read() as db:
        rows = db.execute(schema.faces.select()).mappings().all()
        blobs = db.execute(schema.blobs.select()).mappings().all()
    records.close()
    assert {str(row["image_id"]) for row in rows} == set(stored)
    answer = client.post(
        "/recognition/embeddings/recognize",
        params={"prediction_count": 100_000},
        json={"embeddings": [[1.0] + [0.0] * (len(rows[0]["embedding"]) // 4 - 1)]},
    ).json()
    found = Counter(match["subject"] for match in answer["result"][0]["similarities"])
    assert found == Counter(stored.values())
    files = [path for path in (server.home / "blobs").rglob("*") if path.is_file()]
    assert len(files) == len(blobs) == len({row["blob"] for row in rows})
    assert uuid.UUID(faces[0]["image_id"])
