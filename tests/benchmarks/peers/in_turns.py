"""Servers under the same load, in turns: what else the machine does meets all of them alike."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.benchmarks.loadgen import Load, closed_loop

SECONDS = 8.0
ROUNDS = 3
CLIENTS = (1, 16)
_READY_SECONDS = 180


@dataclass(frozen=True)
class Contender:
    """address: host and port. requests: whole HTTP requests, sent one after the other."""

    name: str
    address: str
    requests: Sequence[bytes]


def compare(contenders: Sequence[Contender]) -> None:
    """Print requests a second and times of each, of every round, and the middle one's ratio to the first contender."""
    for contender in contenders:
        asyncio.run(_asked(contender, 4, 3))
    loads: dict[tuple[str, int], list[Load]] = {}
    for turn in range(ROUNDS):
        # The order changes, so that nobody is always after the same one.
        for contender in (*contenders[turn % len(contenders) :], *contenders[: turn % len(contenders)]):
            for clients in CLIENTS:
                load = asyncio.run(_asked(contender, clients, SECONDS))
                loads.setdefault((contender.name, clients), []).append(load)
    width = max(len(contender.name) for contender in contenders)
    print(
        f"{'':{width}}{'clients':>9}{'per s':>8}{'of first':>10}{'p50 ms':>9}{'p99 ms':>9}  each round, per s"
    )
    first = {clients: _middle(loads[contenders[0].name, clients]).throughput for clients in CLIENTS}
    for contender in contenders:
        for clients in CLIENTS:
            each = loads[contender.name, clients]
            load = _middle(each)
            print(
                f"{contender.name:{width}}{clients:>9}{load.throughput:>8.1f}"
                f"{load.throughput / first[clients]:>10.2f}{load.percentile(50):>9.1f}{load.percentile(99):>9.1f}  "
                + ", ".join(f"{one.throughput:.1f}" for one in each)
            )


async def _asked(contender: Contender, clients: int, seconds: float) -> Load:
    load = await closed_loop(contender.requests, contender.address, clients, seconds)
    if wrong := {status: count for status, count in load.statuses.items() if status not in (200, 201)}:
        raise SystemExit(f"{contender.name} answered {wrong}")
    return load


def _middle(loads: Sequence[Load]) -> Load:
    order = np.argsort([load.throughput for load in loads])
    return loads[order[len(loads) // 2]]


@contextlib.contextmanager
def running(command: Sequence[str], port: int, folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """A peer's server, as a process group of its own that ends with the block. The address, once it listens."""
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        began = time.monotonic()
        while not _listens(port):
            if process.poll() is not None or time.monotonic() - began > _READY_SECONDS:
                raise SystemExit(f"{command[0]} did not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.5)
        yield f"127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


def _listens(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0
