"""Load that comes and goes, changed settings and killed replicas: what clients see of it.

    python -m tests.benchmarks.elasticity

Clients recognise, each sending its next request as soon as it has its answer. One that is told to come back later
(503 with Retry-After) or whose connection breaks tries again, as any client may; a request has failed when it gets any
other error, or no answer within a minute.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tests.benchmarks.bare import pictures
from tests.benchmarks.loadgen import exchange, multipart, post
from tests.benchmarks.serving import Server, serving

PATIENCE = 60.0
ELASTIC = {"min_replicas": 1, "upscale_seconds": 2, "downscale_seconds": 8}
SETTINGS: dict[str, Any] = {
    "apis": ["compreface"],
    "detection": {"colocated": []},
    "deployments": {
        "ingress": {**ELASTIC, "num_cpus": 0.1, "min_replicas": 2, "max_replicas": 2},
        "detector": {
            **ELASTIC, "num_cpus": 0.3, "max_replicas": 3, "target_ongoing_requests": 4,
            "max_batch_size": 1, "max_ongoing_requests": 80, "max_queued_requests": 64,
        },
        "embedder": {**ELASTIC, "num_cpus": 0.1, "max_replicas": 3, "target_ongoing_requests": 2},
        **{role: {"num_cpus": 0.05} for role in ("landmarks", "age", "gender", "mask", "liveness", "face_index")},
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of a client. sent, took: seconds; retries: how often it was told to come back, or cut off."""

    sent: float
    took: float
    status: int
    retries: int


@dataclass
class Crowd:
    """Clients, more or fewer of them as time goes by. pause: seconds that each waits before it asks again."""

    address: str
    requests: list[bytes]
    pause: float = 0.0
    asked: list[Asked] = field(default_factory=list)
    clients: list["asyncio.Task[None]"] = field(default_factory=list)
    leaving: set[int] = field(default_factory=set)

    async def resize(self, number: int) -> None:
        """So many clients from now on; who leaves waits for its answer first."""
        while len(self.clients) < number:
            turn = len(self.clients)
            self.leaving.discard(turn)
            self.clients.append(asyncio.create_task(self._client(turn)))
        self.leaving |= set(range(number, len(self.clients)))
        gone, self.clients = self.clients[number:], self.clients[:number]
        await asyncio.gather(*gone)

    async def _client(self, turn: int) -> None:
        number, connection = turn, None
        while turn not in self.leaving:
            request, sent, retries, status = (
                self.requests[number % len(self.requests)],
                time.monotonic(),
                0,
                0,
            )
            while time.monotonic() - sent < PATIENCE:
                try:
                    connection = connection or await asyncio.open_connection(*self.address.split(":"))
                    status, _ = await asyncio.wait_for(exchange(*connection, request), PATIENCE)
                    if status != 503:
                        break
                    await asyncio.sleep(1)
                except (OSError, asyncio.IncompleteReadError, TimeoutError):
                    connection = None
                    await asyncio.sleep(0.2)
                retries += 1
            self.asked.append(Asked(sent, time.monotonic() - sent, status, retries))
            number += 16
            await asyncio.sleep(self.pause)

    def since(self, moment: float) -> list[Asked]:
        return [one for one in self.asked if one.sent >= moment]


@contextlib.asynccontextmanager
async def crowd(server: Server, pause: float = 0.0) -> AsyncIterator[Crowd]:
    url = f"{server.url}/api/v1/recognition/recognize"
    headers = {"x-api-key": server.key}
    requests = [post(url, *multipart("file", "face.jpg", data), headers) for data in pictures()]
    people = Crowd(server.address, requests, pause)
    try:
        yield people
    finally:
        await people.resize(0)


def summary(asked: Iterable[Asked]) -> str:
    asked = list(asked)
    took = np.array([one.took for one in asked if one.status == 200])
    if not len(took):
        return f"{len(asked)} requests, none answered"
    p50, p99 = np.percentile(took, [50, 99]) * 1000
    return (
        f"{len(asked)} requests, {len(failed(asked))} failed, {sum(bool(one.retries) for one in asked)} tried again, "
        f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, longest {took.max() * 1000:.0f} ms"
    )


def failed(asked: Iterable[Asked]) -> Counter[int]:
    """Statuses of requests without a good answer, also after what a client may do; 0 is none at all."""
    return Counter(one.status for one in asked if one.status != 200)


# ------------------------------------------------------------------------------------------------------- replicas


_OBSERVER = """
import json, sys, time
from pathlib import Path
from prosopon.pipelines.running import join
join(home=Path(sys.argv[1]))
from ray import serve
while True:
    deployments = serve.status().applications["prosopon"].deployments
    print(json.dumps({name: one.replica_states.get("RUNNING", 0) for name, one in deployments.items()}), flush=True)
    time.sleep(1)  # To tell it costs Ray Serve a tenth of a second's work.
"""


class Observer:
    """The replicas of a server, watched by a process of its own: one process can be part of one Ray instance only."""

    def __init__(self, home: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _OBSERVER, str(home)], stdout=subprocess.PIPE, text=True
        )
        self._seen = threading.Event()
        self._replicas: dict[str, int] = {}
        threading.Thread(target=self._read, daemon=True).start()
        if not self._seen.wait(60):
            raise TimeoutError("no replicas are seen")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):  # Ray says a thing or two as well.
                self._replicas = json.loads(line)
                self._seen.set()

    def running(self) -> dict[str, int]:
        """Deployment -> replicas that run, a second ago at most."""
        return dict(self._replicas)

    def __enter__(self) -> "Observer":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


async def reached(
    observer: Observer, wanted: Callable[[Mapping[str, int]], bool], seconds: float
) -> tuple[dict[str, int], float]:
    """Replicas as soon as they are as wanted, and after how many seconds; as they are when the time is over."""
    started = time.monotonic()
    while True:
        replicas = observer.running()
        took = time.monotonic() - started
        if wanted(replicas) or took > seconds:
            return replicas, took
        await asyncio.sleep(0.5)


def pids_of(server: Server, deployment: str) -> list[int]:
    found = []
    for pid in server.pids():
        with contextlib.suppress(OSError):
            if (
                Path(f"/proc/{pid}/cmdline")
                .read_text()
                .startswith(f"ray::ServeReplica:prosopon:{deployment}")
            ):
                found.append(pid)
    return found


# --------------------------------------------------------------------------------------------------------- phases


@dataclass(frozen=True, slots=True)
class Tide:
    """most, least: replicas under load and after it; up, down: seconds until they had followed."""

    asked: list[Asked]
    most: dict[str, int]
    least: dict[str, int]
    up: float
    down: float


async def come_and_go(
    server: Server, observer: Observer, steps: tuple[int, ...], seconds: float, names: tuple[str, ...]
) -> Tide:
    """So many clients, for so many seconds each; then nobody. names: deployments that are to follow."""
    before = observer.running()
    most: Counter[str] = Counter()
    started, up = time.monotonic(), float("nan")
    async with crowd(server) as people:
        for clients in steps:
            await people.resize(clients)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                for name, count in observer.running().items():
                    most[name] = max(most[name], count)
                if up != up and all(most[name] > before[name] for name in names):
                    up = time.monotonic() - started
                await asyncio.sleep(0.5)
        await people.resize(0)
        least, down = await reached(observer, lambda now: all(now[name] == 1 for name in names), 60)
        return Tide(people.asked, dict(most), least, up, down)


async def change_settings(
    server: Server, clients: int, change: Callable[[dict[str, Any]], None], pause: float = 0.0
) -> list[Asked]:
    """Apply changed settings under load. change: gets the Serve config to change it."""
    config = yaml.safe_load((server.home / "serve_config.yaml").read_text())
    change(config)
    changed = server.home / "changed.yaml"
    changed.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "prosopon.pipelines.cli", "deploy", str(changed)]
    async with crowd(server, pause) as people:
        await people.resize(clients)
        await asyncio.sleep(2)
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr)
        await asyncio.sleep(2)
        await people.resize(0)
        return people.asked


@dataclass(frozen=True, slots=True)
class Kills:
    """recoveries: seconds from each kill to the next answer to a request that was sent after it."""

    asked: list[Asked]
    recoveries: list[float]


async def kill_repeatedly(
    server: Server, deployment: str, clients: int, every: float, seconds: float, pause: float = 0.0
) -> Kills:
    """SIGKILL every replica of a deployment again and again, under load."""
    kills: list[float] = []
    async with crowd(server, pause) as people:
        await people.resize(clients)
        await asyncio.sleep(2)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for pid in pids_of(server, deployment):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    kills.append(time.monotonic())
            await asyncio.sleep(every)
        await people.resize(0)
        asked = people.asked
    recoveries = []
    for kill in kills:
        good = [one.sent + one.took for one in asked if one.status == 200 and one.sent >= kill]
        if good:
            recoveries.append(min(good) - kill)
    return Kills(asked, recoveries)


def larger_batches(config: dict[str, Any]) -> None:
    """The embedder's settings as Prosopon knows them."""
    embedder = config["applications"][0]["args"]["deployments"]["embedder"]
    embedder["max_batch_size"] = 16


def larger_share(config: dict[str, Any]) -> None:
    """The embedder's settings as Ray Serve knows them: its replicas alone are replaced."""
    config["applications"][0]["deployments"] = [{"name": "embedder", "ray_actor_options": {"num_cpus": 0.15}}]


async def run(server: Server, observer: Observer) -> None:
    # The Embedder has less to do: one replica keeps up with three Detectors.
    tide = await come_and_go(server, observer, (1, 8, 32, 8), 20, ("Detector",))
    print(f"0 -> 1 -> 8 -> 32 -> 8 -> 0 clients: {summary(tide.asked)}")
    print(f"  replicas at most {tide.most}")
    print(f"  replicas at last {tide.least}; followed up after {tide.up:.1f} s, down after {tide.down:.1f} s")
    for name, change in (("num_cpus", larger_share), ("max_batch_size", larger_batches)):
        asked = await change_settings(server, 8, change)
        print(f"embedder's {name} changed under 8 clients: {summary(asked)}; {dict(failed(asked))}")
    kills = await kill_repeatedly(server, "embedder", 8, 5, 60)
    print(
        f"embedder killed every 5 s for a minute, 8 clients: {summary(kills.asked)}; {dict(failed(kills.asked))}"
    )
    print(f"  seconds to the next answer: {[round(one, 2) for one in kills.recoveries]}")


def main() -> None:
    with serving(SETTINGS) as server, Observer(server.home) as observer:
        asyncio.run(run(server, observer))


if __name__ == "__main__":
    main()
