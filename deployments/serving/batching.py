"""How a replica works: requests that wait together form a batch, and blocking work stays off the event loop."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Literal, TypeVar

from ray.util.metrics import Gauge, Histogram

from prosopon.configs.settings import DeploymentSettings
from prosopon.models.runtime.occupancy import Occupancy
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
    """A blocking function over a list, called with one item at a time from many requests of one event loop.

    What waits when a thread becomes free is its next batch. Serve's own batches are formed as items come, before there
    is a thread for them (2.60): without a wait each of them has one item, however many are waiting.

    size: how much of `max_batch_size` an item takes up (a group picture brings many faces); a single item may
    exceed it. observed: False where the function reports to `StageMetrics` itself. occupancy: is told what goes on.
    """

    def __init__(
        self,
        stage: str,
        function: Callable[[list[Item]], Sequence[Result]],
        settings: DeploymentSettings,
        size: Callable[[Item], int] = lambda item: 1,
        observed: bool = True,
        occupancy: Occupancy | None = None,
    ) -> None:
        self._function, self._size = function, size
        self._occupancy = occupancy or Occupancy()
        self._most, self._wait = settings.max_batch_size, settings.batch_wait_ms / 1000
        self._metrics = StageMetrics(stage) if observed else None
        self._queued = Gauge("prosopon_waiting", "Items that wait for a stage.", tag_keys=("stage",))
        self._queued.set_default_tags({"stage": stage})
        self._threads = ThreadPoolExecutor(settings.concurrent_batches, thread_name_prefix=stage)
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._taking = threading.Lock()

    async def __call__(self, item: Item) -> Result:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, answer))
        if self._wait and len(self._waiting) < self._most:
            loop.call_later(self._wait, self._threads.submit, self._work, loop)
        else:
            self._threads.submit(self._work, loop)
        return await answer

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread, once for every item: whoever comes first takes those of others along, who then find nothing."""
        batch = self._take()
        if not batch:
            return
        self._queued.set(len(self._waiting))
        # Timed in the thread: what waits for one is not yet in the stage.
        started = time.perf_counter()
        results: Sequence[Result] | Exception
        try:
            with self._occupancy:
                results = self._function([item for item, _ in batch])
            if len(results) != len(batch):
                raise ValueError(f"{len(results)} results of {len(batch)} items")
        except Exception as error:
            results = error
        else:
            if self._metrics:
                self._metrics.observe(time.perf_counter() - started, len(batch))
        loop.call_soon_threadsafe(_answer, [answer for _, answer in batch], results)

    def _take(self) -> list[tuple[Item, "asyncio.Future[Result]"]]:
        """What has waited longest and fits into a batch, without what nobody waits for any more."""
        batch, room = list[tuple[Item, "asyncio.Future[Result]"]](), self._most
        with self._taking:
            while self._waiting:
                item, answer = self._waiting[0]
                if not answer.cancelled():
                    room -= self._size(item)
                    if batch and room < 0:
                        break
                    batch.append((item, answer))
                self._waiting.popleft()
        return batch


def _answer(answers: "list[asyncio.Future[Result]]", results: Sequence[Result] | Exception) -> None:
    for place, answer in enumerate(answers):
        if answer.done():  # Whoever asked is gone.
            continue
        if isinstance(results, Exception):
            answer.set_exception(results)
        else:
            answer.set_result(results[place])
