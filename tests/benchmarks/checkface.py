"""CheckFace: faces per second against the bare generator, films from cold and from the cache, memory of a long one.

    python -m tests.benchmarks.checkface                what `make bench` runs
    python -m tests.benchmarks.checkface --long-film    the memory of 200 frames at 1024 px as well (minutes)
    python -m tests.benchmarks.checkface --pyramid      what smaller pictures out of the wavelet pyramid are worth

The bare generator is the loop over latents in two processes of one thread each, in turns with the server on the same
cores.
"""

import argparse
import asyncio
import threading
import time
import uuid
from functools import partial

import httpx
import numpy as np

from tests.benchmarks.bare import Generate
from tests.benchmarks.limits import limit
from tests.benchmarks.server import resident
from tests.benchmarks.serving import Server, serving

SECONDS = 12.0
ROUNDS = 3
DIMS = (256, 512, 1024)
CLIENTS = 8

_client = httpx.Client(timeout=600)
"""Making one takes longer than what it asks for, where that is in the cache."""


def bare(dim: int) -> float:
    """Faces per second of the generator alone, with every core busy."""
    return limit(partial(Generate, dim), [b""], SECONDS)


async def served(server: Server, dim: int, seconds: float = SECONDS) -> float:
    """Faces per second that clients get, every one of another text."""
    run, count = uuid.uuid4(), 0
    started = time.perf_counter()

    async with httpx.AsyncClient(base_url=server.url, timeout=120) as client:

        async def ask(number: int) -> None:
            nonlocal count
            turn = 0
            while time.perf_counter() - started < seconds:
                answer = await client.get(
                    "/api/face/", params={"value": f"{run} {number} {turn}", "dim": dim}
                )
                answer.raise_for_status()
                turn += 1
                count += 1

        await asyncio.gather(*(ask(number) for number in range(CLIENTS)))
    return count / (time.perf_counter() - started)


def faces_per_second(server: Server) -> None:
    print(f"faces/s, {CLIENTS} clients, median of {ROUNDS} turns of {SECONDS:.0f} s each")
    print(f"{'px':>6}{'bare':>8}{'served':>8}{'ratio':>7}")
    for dim in DIMS:
        pairs = [(bare(dim), asyncio.run(served(server, dim))) for _ in range(ROUNDS)]
        alone, through = (float(np.median(column)) for column in zip(*pairs, strict=True))
        ratio = float(np.median([b / a for a, b in pairs]))
        print(f"{dim:>6}{alone:>8.2f}{through:>8.2f}{ratio:>7.2f}")


def timed(server: Server, path: str, headers: dict[str, str] | None = None) -> tuple[float, float, int]:
    """Seconds to the first byte of the body and to the last, and the body's length."""
    started = time.perf_counter()
    with _client.stream("GET", server.url + path, headers=headers) as answer:
        answer.raise_for_status()
        first, size = 0.0, 0
        for chunk in answer.iter_raw():
            first = first or time.perf_counter() - started
            size += len(chunk)
    return first, time.perf_counter() - started, size


def films(server: Server) -> None:
    print("a loop of 50 frames at 400 px (26 pictures), one client")
    for format in ("mp4", "gif", "webp"):
        path = f"/api/{format}/?from_value={uuid.uuid4()}&to_value=yeet&dim=400&num_frames=50"
        first, last, size = timed(server, path)
        cached = sorted(timed(server, path)[1] for _ in range(9))[4]
        print(
            f"{format:>6}: cold {last:.2f} s, first byte after {first:.2f} s, {size / 1000:.0f} kB; "
            f"cached {cached * 1000:.1f} ms"
        )
    path = f"/api/face/?value={uuid.uuid4()}&dim=400"
    first, _, _ = timed(server, path)
    cached = sorted(timed(server, path)[0] for _ in range(9))[4]
    print(f"a face of 400 px: first byte after {first * 1000:.0f} ms, cached {cached * 1000:.1f} ms")


def long_film(server: Server) -> None:
    """The server's memory while it makes 200 frames of 1024 px, against that before."""
    timed(server, f"/api/mp4/?from_value={uuid.uuid4()}&to_value=yeet&dim=1024&num_frames=4")
    before = resident(server.pids())
    peak, finished = before, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not finished.wait(0.5):
            peak = max(peak, resident(server.pids()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    path = f"/api/mp4/?from_value={uuid.uuid4()}&to_value=yeet&dim=1024&num_frames=200"
    _, last, size = timed(server, path)
    finished.set()
    watcher.join()
    print(
        f"200 frames at 1024 px: {last:.0f} s, {size / 1e6:.1f} MB; memory of all processes {before / 2**20:.0f} MiB "
        f"before, at most {peak / 2**20:.0f} MiB meanwhile (the frames are {200 * 3 * 1024**2 / 2**20:.0f} MiB)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--long-film", action="store_true")
    parser.add_argument("--pyramid", action="store_true")
    options = parser.parse_args()
    if options.pyramid:
        from tests.benchmarks.pyramid import main as pyramid

        return pyramid()
    with serving({"apis": ["checkface"]}) as server:
        print(f"server ready after {server.started_seconds:.1f} s")
        if options.long_film:
            return long_film(server)
        faces_per_second(server)
        films(server)


if __name__ == "__main__":
    main()
