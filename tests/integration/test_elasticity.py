"""A server whose load, settings and replicas change under its clients. Long forms: `tests.benchmarks.elasticity`."""

import asyncio
import contextlib
import json
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from prosopon.pipelines.commands.serve import is_ready
from tests.benchmarks import elasticity
from tests.benchmarks.elasticity import Observer, failed
from tests.benchmarks.serving import Server, serving
from tests.conformance.client import new_key, part

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

PAUSE = 0.15
"""Seconds between the requests of a client: what is asked all the time, and takes no core from other tests."""
QUICK = {
    "num_cpus": 0.05, "min_replicas": 1, "max_replicas": 2, "target_ongoing_requests": 0.005,
    "upscale_seconds": 1, "downscale_seconds": 4, "log_calls": True,
}  # fmt: skip
FOLLOWING = {
    "detector": "Detector",
    "embedder": "embedder",
    "landmarks": "landmarks",
    "age": "age",
    "mask": "mask",
    "quality": "quality",
    "generator": "Generator",
    "video_encoder": "VideoEncoder",
}
SETTINGS = {
    "apis": ["compreface", "checkface"],
    "detection": {"colocated": []},
    "deployments": {
        # Gender is told by the network of ages, which is deployed once.
        **{role: {**QUICK, "max_batch_size": 1} for role in (*FOLLOWING, "gender")},
        "ingress": {"num_cpus": 0.1, "min_replicas": 2, "max_replicas": 2},
        "liveness": {"num_cpus": 0.01},
        "face_index": {"num_cpus": 0.05, "log_calls": True},
    },
}


@pytest.fixture(scope="module")
def server(models_mirror: None) -> Iterator[Server]:
    with serving(SETTINGS) as server:
        yield server


def test_every_deployment_follows_the_load_up_and_down(
    server: Server, observer: Observer, london: list[Path]
) -> None:
    stop, statuses = threading.Event(), Counter[int]()
    answers: dict[str, int] = {}

    def recognise(number: int) -> None:
        with httpx.Client(base_url=server.url, timeout=120, headers={"x-api-key": server.key}) as http:
            while not stop.is_set():
                answer = http.post(
                    "/api/v1/recognition/recognize?face_plugins=age,gender,mask,pose,quality",
                    files={"file": part(london[number])},
                )
                statuses[answer.status_code] += 1

    def generate(kind: str) -> None:
        with httpx.Client(base_url=server.url, timeout=120) as http:
            while not stop.is_set():
                text = f"from_value={uuid.uuid4()}&to_value=b&value={uuid.uuid4()}"
                answer = http.get(f"/api/{kind}/?{text}&dim=64&num_frames=12")
                statuses[answer.status_code] += 1

    work = [threading.Thread(target=recognise, args=(number,)) for number in range(6)]
    work += [threading.Thread(target=generate, args=(kind,)) for kind in ("face", "mp4")]

    def at_rest() -> None:
        """Each has a single replica, within two minutes."""
        now, _ = asyncio.run(
            elasticity.reached(observer, lambda now: all(now[name] == 1 for name in FOLLOWING.values()), 120)
        )
        assert {name: now[name] for name in FOLLOWING.values()} == dict.fromkeys(FOLLOWING.values(), 1)

    at_rest()  # What asks the models at the start is work too.
    for thread in work:
        thread.start()
    try:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            for name, count in observer.running().items():
                answers[name] = max(answers.get(name, 0), count)
            if all(answers[name] == 2 for name in FOLLOWING.values()):
                break
            time.sleep(1)
    finally:
        stop.set()
        for thread in work:
            thread.join()
    assert {name: answers[name] for name in FOLLOWING.values()} == dict.fromkeys(FOLLOWING.values(), 2)
    assert set(statuses) == {200}
    at_rest()


def logged(server: Server, request_id: str) -> set[str]:
    """Deployments in whose logs a request's id stands."""
    found = set()
    for pid in server.pids():
        with contextlib.suppress(OSError):
            if not Path(f"/proc/{pid}/cmdline").read_text().startswith("ray::ServeReplica"):
                continue
            for file in Path(f"/proc/{pid}/fd").iterdir():
                path = file.readlink()
                if path.name.startswith("replica_") and request_id in (text := path.read_text()):
                    records = [json.loads(line) for line in text.splitlines() if request_id in line]
                    assert all(record["request_id"] == request_id for record in records)
                    found |= {record["deployment"].removeprefix("prosopon_") for record in records}
    return found


def test_one_id_follows_a_request_through_every_replica(server: Server, london: list[Path]) -> None:
    recognised, generated = f"recognise-{uuid.uuid4()}", f"generate-{uuid.uuid4()}"
    # A gallery that nobody has searched yet is not copied to the ingress.
    headers = {"x-api-key": new_key(server, "recognition"), "X-Request-ID": recognised}
    files = {"file": part(london[0])}
    url = f"{server.url}/api/v1/recognition/recognize?face_plugins=age,pose"
    assert httpx.post(url, files=files, headers=headers, timeout=60).status_code == 200
    url = f"{server.url}/api/mp4/?from_value={uuid.uuid4()}&to_value=b&dim=32&num_frames=4"
    assert httpx.get(url, headers={"X-Request-ID": generated}, timeout=60).status_code == 200
    deadline, through, film = time.monotonic() + 20, set[str](), set[str]()
    while time.monotonic() < deadline:
        through, film = logged(server, recognised), logged(server, generated)
        if len(through) >= 6 and len(film) >= 3:
            break
        time.sleep(0.5)
    assert through == {"Ingress", "Detector", "embedder", "age", "landmarks", "FaceIndex"}
    assert film == {"Ingress", "VideoEncoder", "Generator"}


@pytest.mark.parametrize("change", [elasticity.larger_share, elasticity.larger_batches])
def test_changed_settings_of_the_embedder_lose_no_request(server: Server, change: object) -> None:
    asked = asyncio.run(elasticity.change_settings(server, 2, change, PAUSE))  # type: ignore[arg-type]
    print(elasticity.summary(asked))
    assert len(asked) > 10
    assert not failed(asked)
    if change is elasticity.larger_share:  # Of one deployment; the other replaces every replica.
        assert not any(one.retries for one in asked), "no client had to try again"


def test_a_killed_embedder_fails_no_request_that_cannot_be_repeated(
    server: Server, observer: Observer
) -> None:
    kills = asyncio.run(elasticity.kill_repeatedly(server, "embedder", 2, 5, 15, PAUSE))
    print(elasticity.summary(kills.asked), [round(one, 2) for one in kills.recoveries])
    assert len(kills.recoveries) >= 2
    assert not failed(kills.asked)
    back, _ = asyncio.run(elasticity.reached(observer, lambda now: now["embedder"] >= 1, 60))
    assert back["embedder"] >= 1


@pytest.fixture
def ending(models_mirror: None) -> Iterator[Server]:
    """A server that a test may end."""
    with serving({"apis": ["checkface"]}) as running:
        yield running


def test_a_running_request_is_answered_before_the_server_ends(ending: Server) -> None:
    answers: list[httpx.Response] = []
    asked = f"?from_value={uuid.uuid4()}&to_value=b&dim=256&num_frames=40"

    def film() -> None:
        answers.append(httpx.get(f"{ending.url}/api/mp4/{asked}", timeout=60))

    thread = threading.Thread(target=film)
    thread.start()
    deadline = time.monotonic() + 60
    while not (told := httpx.get(f"{ending.url}/api/mp4/progress/{asked}").json())["made"]:
        assert time.monotonic() < deadline, told
        time.sleep(0.02)
    assert told["state"] == "making" and not answers
    said = len(ending.log.read_text())
    ending.process.send_signal(signal.SIGTERM)
    thread.join()
    assert [answer.status_code for answer in answers] == [200]
    assert ending.process.wait(60) == 0
    assert not is_ready(ending.url)
    lines = ending.log.read_text()[said:].strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("stopping"), f"nothing of Ray's: {lines}"
