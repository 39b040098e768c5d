"""How a replica works: requests that wait together form a batch, and blocking work stays off the event loop."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Literal, TypeVar

from ray import serve
from ray.util.metrics import Histogram

from prosopon.configs.settings import DeploymentSettings
from prosopon.models.runtime.session import Compute

Item = TypeVar("Item")
Result = TypeVar("Result")


def compute_for(settings: DeploymentSettings) -> Compute:
    """The device and the threads that a replica with these settings may use; OpenCV is held to them too."""
    device: Literal["cpu", "cuda"] = "cuda" if settings.num_gpus else "cpu"
    compute = Compute(device, settings.threads, settings.concurrent_batches)
    compute.limit_libraries()
    return compute


class StageMetrics:
    """What operators see of a stage: how long its batches take, and how large they are."""

    def __init__(self, stage: str) -> None:
        self._tags = {"stage": stage}
        self._seconds = Histogram(
            "prosopon_stage_seconds",
            "Time of one batch in a stage.",
            boundaries=[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5],
            tag_keys=("stage",),
        )
        self._batch_size = Histogram(
            "prosopon_batch_size",
            "Items in a batch.",
            boundaries=[1, 2, 4, 8, 16, 32, 64],
            tag_keys=("stage",),
        )

    def observe(self, seconds: float, items: int) -> None:
        self._seconds.observe(seconds, self._tags)
        self._batch_size.observe(items, self._tags)


class Batched(Generic[Item, Result]):
    """A blocking function over a list, called with one item at a time from many requests.

    size: how much of `max_batch_size` an item takes up (a group picture brings many faces); a single item may
    exceed it. observed: False where the function reports to `StageMetrics` itself.
    """

    def __init__(
        self,
        stage: str,
        function: Callable[[list[Item]], Sequence[Result]],
        settings: DeploymentSettings,
        size: Callable[[Item], int] | None = None,
        observed: bool = True,
    ) -> None:
        executor = ThreadPoolExecutor(settings.concurrent_batches, thread_name_prefix=stage)
        metrics = StageMetrics(stage) if observed else None

        def work(items: list[Item]) -> list[Result]:
            # Timed in the thread: what waits for one is not yet in the stage.
            start = time.perf_counter()
            results = list(function(items))
            if metrics:
                metrics.observe(time.perf_counter() - start, len(items))
            return results

        async def run(items: list[Item]) -> list[Result]:
            self._idle -= 1
            try:
                return await asyncio.get_running_loop().run_in_executor(executor, work, items)
            finally:
                self._idle += 1

        self._run = run
        self._idle = settings.concurrent_batches
        self._waits = settings.batch_wait_ms > 0
        self._gather: Callable[[Item], Awaitable[Result]] | None = None
        limit = settings.max_batch_size
        if limit == 1:  # Nothing to gather: the executor's queue is enough.
            return
        # Serve needs an effective size no larger than the batch, or the item would wait for ever.
        self._gather = serve.batch(
            run,
            max_batch_size=limit,
            batch_wait_timeout_s=settings.batch_wait_ms / 1000,
            max_concurrent_batches=settings.concurrent_batches,
            batch_size_fn=(lambda items: min(limit, sum(map(size, items)))) if size else None,
        )

    async def __call__(self, item: Item) -> Result:
        # While a thread is idle nothing is waiting that could be gathered; Serve's queue costs half a millisecond.
        if self._gather is None or (self._idle > 0 and not self._waits):
            return (await self._run([item]))[0]
        return await self._gather(item)
