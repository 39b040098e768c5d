"""What the bare models can do with every core busy: the bound that a server's throughput is judged by.

In the environment of the server's own replicas: its allocation of memory is worth an eighth, and its runtimes more.
"""

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from multiprocessing.synchronize import Barrier as BarrierType

from prosopon.pipelines.running import PROCESS_ENVIRONMENT

Work = Callable[[bytes], object]


def _busy(
    make: Callable[[], Work],
    pictures: Sequence[bytes],
    seconds: float,
    barrier: BarrierType,
    results: "multiprocessing.Queue[float]",
) -> None:
    work = make()
    work(pictures[0])
    barrier.wait()
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        work(pictures[count % len(pictures)])
        count += 1
    results.put(count / (time.perf_counter() - start))


def limit(make: Callable[[], Work], pictures: Sequence[bytes], seconds: float, processes: int = 2) -> float:
    """Pictures per second of so many processes of one thread each. make: loads the models; it is pickled."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(processes), context.Queue()
    workers = [
        context.Process(target=_busy, args=(make, pictures, seconds, barrier, results))
        for _ in range(processes)
    ]
    before = dict(os.environ)
    # Libraries read it when a process starts.
    os.environ |= {"OMP_NUM_THREADS": "1", **PROCESS_ENVIRONMENT}
    try:
        for worker in workers:
            worker.start()
    finally:
        os.environ.clear()
        os.environ |= before
    total = sum(results.get() for _ in workers)
    for worker in workers:
        worker.join()
    return total
