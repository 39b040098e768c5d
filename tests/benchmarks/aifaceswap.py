"""aifaceswap: swaps per second against the bare function in process, and how long accepting a task takes meanwhile.

The bare function is decode + detect + landmarks + swap + encode of the same files in two processes of one thread each,
every core busy, in the same run. The server's swaps come as files in requests and go as blobs: accepting, recording,
storing and reporting are part of its figure.
"""

import threading
import time
from functools import partial

import httpx
import numpy as np

from prosopon.configs.settings import StateSettings
from prosopon.deployments.state import schema
from prosopon.deployments.state.database import Records, now
from tests.benchmarks.bare import Swap, pictures
from tests.benchmarks.limits import limit
from tests.benchmarks.serving import Server, serving

SECONDS = 12.0
TASKS = 100
ROUNDS = 2
PICTURES = 16
BASE = "/api/aifaceswap/v1"


def submit(client: httpx.Client, picture: bytes, face: bytes) -> tuple[str, float]:
    """The task's id, and the seconds until it was acknowledged."""
    started = time.perf_counter()
    answer = client.post(f"{BASE}/faceswap", files={"source_image": picture, "face_image": face})
    answer.raise_for_status()
    return answer.json()["data"]["task_id"], time.perf_counter() - started


def swaps(server: Server, client: httpx.Client) -> tuple[float, list[float]]:
    """Swaps per second of a hundred tasks, from the first request to the last result; seconds of each acceptance."""
    *sources, face = pictures()[:PICTURES]
    records = Records(StateSettings(home=server.home).database)
    latencies: list[float] = []
    began = now()

    def clients(number: int) -> None:
        with httpx.Client(base_url=server.url, headers=client.headers, timeout=60) as own:
            mine = (sources[(2 * turn + number) % len(sources)] for turn in range(TASKS // 2))
            latencies.extend(submit(own, picture, face)[1] for picture in mine)

    threads = [threading.Thread(target=clients, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while True:
        with records.read() as db:
            rows = db.execute(schema.tasks.select().where(schema.tasks.c.created >= began)).all()
        if all(row.finished for row in rows):
            break
        time.sleep(0.2)
    records.close()
    assert len(rows) == TASKS and all(row.state == "succeeded" for row in rows)
    return TASKS / (max(row.finished for row in rows) - began).total_seconds(), latencies


def accepting(client: httpx.Client, count: int = 40) -> list[float]:
    """Seconds of accepting one task after the other by URL, while a hundred are waiting or run."""
    *sources, face = pictures()[:PICTURES]
    for turn in range(TASKS):
        submit(client, sources[turn % len(sources)], face)
    body = {"source_image": "http://127.0.0.1:9/a.jpg", "face_image": "http://127.0.0.1:9/b.jpg"}
    times = []
    for _ in range(count):
        started = time.perf_counter()
        client.post(f"{BASE}/faceswap", json=body).raise_for_status()
        times.append(time.perf_counter() - started)
    return times


def told(name: str, seconds: list[float]) -> None:
    p50, p95, most = (float(np.percentile(seconds, q)) * 1000 for q in (50, 95, 100))
    print(f"{name}: p50 {p50:.0f} ms, p95 {p95:.0f} ms, at most {most:.0f} ms")


def main() -> None:
    *sources, face = pictures()[:PICTURES]
    settings = {"apis": ["aifaceswap"], "fetch": {"allow": ["127.0.0.1"]}, "swap": {"method": "warp"}}
    with serving(settings) as server:
        print(f"server ready after {server.started_seconds:.1f} s")
        headers = {"Authorization": f"Bearer {server.key}"}
        client = httpx.Client(base_url=server.url, headers=headers, timeout=60)
        submit(client, sources[0], face)
        ratios = []
        for _ in range(ROUNDS):
            alone = limit(partial(Swap, face), sources, SECONDS)
            served, latencies = swaps(server, client)
            ratios.append(served / alone)
            print(f"swaps/s: bare {alone:.2f}, served {served:.2f}, ratio {served / alone:.2f}")
        print(f"ratio, median of {ROUNDS}: {np.median(ratios):.2f}")
        told("accepting files, two clients, workers busy", latencies)
        told(f"accepting urls, one client, {TASKS} tasks open", accepting(client))


if __name__ == "__main__":
    main()
