"""Processes killed at random moments of writes through every API: nothing acknowledged is lost or doubled."""

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from prosopon.configs.settings import StateSettings
from prosopon.deployments.state import schema
from prosopon.deployments.state.database import Records
from prosopon.pipelines.commands.serve import is_ready
from tests.benchmarks.serving import Server, start, stop
from tests.loopback import loopback
from tests.soak.writers import WRITERS, Context, Swaps, check_pictures

SETTINGS = {
    "fetch": {"allow": ["127.0.0.1"]},
    "swap": {"lease_seconds": 8, "method": "warp"},
    "webhooks": {"first_pause_seconds": 1},
    # Hundreds of searches are begun, of which none is to be refused.
    "facecheck": {"max_waiting_per_tenant": 10_000, "max_waiting": 10_000},
    "deployments": {
        "swap_worker": {"num_cpus": 0.2, "min_replicas": 2, "max_replicas": 2, "concurrent_batches": 1}
    },
}
BACK_SECONDS = 120
"""Within which a server that has lost a process acknowledges writes again."""


@dataclass(frozen=True)
class Survived:
    """killed: deployment -> processes. acknowledged: writer -> writes. restarts: seconds of each."""

    killed: Counter[str]
    acknowledged: dict[str, int]
    answers: Counter[str]
    restarts: list[float]
    interrupted: int

    def __str__(self) -> str:
        restarts = ", ".join(f"{seconds:.1f}" for seconds in self.restarts)
        return (
            f"killed {dict(self.killed)}; acknowledged {self.acknowledged}; answers {dict(self.answers)}; "
            f"{self.interrupted} swaps interrupted; restarts took {restarts} s"
        )


def replicas(server: Server) -> dict[int, str]:
    """pid -> deployment of the server's replicas."""
    found = {}
    for pid in server.pids():
        try:
            title = Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            continue
        if title.startswith("ray::ServeReplica"):
            found[pid] = title.split("\0")[0].rsplit(":", 1)[1].partition(".")[0]
    return found


def survive(home: Path, pictures: Sequence[bytes], processes: int, instances: int, seed: int = 0) -> Survived:
    """Kills so many replicas and whole instances while every API is written to; then looks at what is left.

    Raises AssertionError for what is lost or doubled, and for a server that does not come back.
    """
    dice = random.Random(seed)
    # A swap's worker is hit while it swaps in every third of the kills.
    kills = [("replica", "worker", "replica")[number % 3] for number in range(processes)]
    kills += ["instance"] * instances
    dice.shuffle(kills)
    killed: Counter[str] = Counter()
    restarts: list[float] = []
    server = start(home, SETTINGS)
    with loopback() as web:
        context = Context(server.url, home, pictures, web)
        writers = [kind(context) for kind in WRITERS]
        try:
            for writer in writers:
                writer.start()
            for kill in kills:
                # Half of the kills hit a server that works, the others one that may be coming back.
                if dice.random() < 0.5:
                    _acknowledging(sum(len(writer.acknowledged) for writer in writers), context, writers)
                time.sleep(dice.uniform(0.5, 2.5))
                if kill == "instance":
                    server.kill()
                    began = time.monotonic()
                    server = start(home, SETTINGS)
                    restarts.append(time.monotonic() - began)
                    context.url = server.url
                else:
                    pid, name = _victim(server, dice, "SwapWorker" if kill == "worker" else "")
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                    kill = name
                killed[kill] += 1
            time.sleep(2)
            for writer in writers:
                writer.stopping.set()
            for writer in writers:
                writer.join(120)
                assert not writer.is_alive(), f"{type(writer).__name__} hangs"
            deadline = time.monotonic() + BACK_SECONDS
            while not is_ready(server.url):
                assert time.monotonic() < deadline, "the server does not come back"
                time.sleep(0.2)
            for writer in writers:
                assert writer.acknowledged, f"{type(writer).__name__}: nothing was acknowledged"
                writer.check()
        finally:
            for writer in writers:
                writer.stopping.set()
            stop(server)
    check_pictures(home, (path.name for path in (home / "blobs").rglob("*") if path.is_file()))
    (swaps,) = [writer for writer in writers if isinstance(writer, Swaps)]
    return Survived(
        killed,
        {type(writer).__name__: len(writer.acknowledged) for writer in writers},
        sum((writer.answers for writer in writers), Counter()),
        restarts,
        swaps.interrupted,
    )


def _acknowledging(known: int, context: Context, writers: Sequence[object]) -> None:
    """Return with the next write that is acknowledged."""
    deadline = time.monotonic() + BACK_SECONDS
    while sum(len(writer.acknowledged) for writer in writers) <= known:  # type: ignore[attr-defined]
        assert time.monotonic() < deadline, f"the server at {context.url} does not come back"
        time.sleep(0.1)


def _victim(server: Server, dice: random.Random, deployment: str) -> tuple[int, str]:
    """One of the server's replicas, once there is any; a worker while a task is running, or after ten seconds."""
    if deployment:
        _wait_for_a_running_task(server.home)
    deadline = time.monotonic() + BACK_SECONDS
    while True:
        alive = [found for found in sorted(replicas(server).items()) if deployment in found[1]]
        if alive:
            return dice.choice(alive)
        assert time.monotonic() < deadline, "no replica comes back"
        time.sleep(0.1)


def _wait_for_a_running_task(home: Path) -> None:
    records = Records(StateSettings(home=home).database)
    running = sa.select(schema.tasks.c.id).where(schema.tasks.c.state == "running")
    deadline = time.monotonic() + 10
    try:
        while time.monotonic() < deadline:
            with records.read() as db:
                if db.execute(running).first():
                    return
            time.sleep(0.005)
    finally:
        records.close()
