"""What the server adds to the models: recognition of one-face pictures of 640 px, against the bare models.

The limit is decode + detect + embed in two processes of one thread each, both cores busy, in the same run.
"""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.benchmarks.bare import Recognise, pictures
from tests.benchmarks.limits import limit
from tests.benchmarks.loadgen import closed_loop, multipart, post
from tests.benchmarks.serving import Server, serving

SECONDS = 10.0
CLIENTS = (1, 4, 16, 64)


def latency(threads: int, repeats: int = 60) -> float:
    """Median milliseconds of one picture, nothing else running."""
    pipeline, data = Recognise(threads), pictures()
    times = []
    for turn in range(repeats):
        start = time.perf_counter()
        pipeline(data[turn % len(data)])
        times.append(time.perf_counter() - start)
    return float(np.median(times[5:])) * 1000


def main() -> None:
    before = limit(Recognise, pictures(), SECONDS)
    one, two = latency(1), latency(2)
    print(f"in process, one picture: {one:.1f} ms with 1 thread, {two:.1f} ms with 2 threads")
    with serving({"apis": ["compreface"]}) as server:
        print(f"server ready after {server.started_seconds:.1f} s")
        headers = {"x-api-key": server.key}
        url = f"{server.url}/api/v1/recognition/recognize"
        requests = [post(url, *multipart("file", "face.jpg", data), headers) for data in pictures()]
        asyncio.run(closed_loop(requests, server.address, 4, 3))
        loads = [asyncio.run(closed_loop(requests, server.address, clients, SECONDS)) for clients in CLIENTS]
        memory = resident(server.pids()) / 2**30
        used = {clients: processor_time(server, requests, clients) for clients in (1, 16)}
    # Machines that others use too are faster at one time than at another: half of the limit is measured afterwards.
    after = limit(Recognise, pictures(), SECONDS)
    bound = (before + after) / 2
    print(
        f"model-bound limit (2 processes x 1 thread): {bound:.1f} pictures/s, {before:.1f} before the server and "
        f"{after:.1f} after it"
    )
    print(f"{'clients':>8}{'per s':>8}{'of limit':>10}{'p50 ms':>9}{'p99 ms':>9}  answers")
    for load in loads:
        refused = f", slowest refusal {load.slowest_refusal * 1000:.0f} ms" if load.slowest_refusal else ""
        print(
            f"{load.clients:>8}{load.throughput:>8.1f}{load.throughput / bound:>10.2f}"
            f"{load.percentile(50):>9.1f}{load.percentile(99):>9.1f}  {dict(load.statuses)}{refused}"
        )
    print(f"resident memory of all processes: {memory:.2f} GiB")
    for clients, parts in used.items():
        told = ", ".join(f"{name} {spent:.1f}" for name, spent in parts.items() if spent >= 0.1)
        print(f"processor time of a request at {clients} clients: {sum(parts.values()):.1f} ms: {told}")
    with serving() as server:
        memory = resident(server.pids()) / 2**30
        print(
            f"with all APIs: ready after {server.started_seconds:.1f} s, {memory:.2f} GiB before any request"
        )


def processor_time(server: Server, requests: Sequence[bytes], clients: int) -> dict[str, float]:
    """Milliseconds of each part of the server for a request, the most first."""
    before = server.processor_seconds()
    load = asyncio.run(closed_loop(requests, server.address, clients, SECONDS))
    spent = {name: seconds - before.get(name, 0) for name, seconds in server.processor_seconds().items()}
    answered = len(load.latencies)
    return {
        name: spent[name] / answered * 1000
        for name in sorted(spent, key=lambda name: spent[name], reverse=True)
    }


def resident(pids: list[int]) -> int:
    """Bytes, pages shared between processes counted once (proportional set size)."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


if __name__ == "__main__":
    main()
