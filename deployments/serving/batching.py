"""How a replica works: requests that wait together form a batch, and blocking work stays off the event loop."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from ray import serve
from ray.util.metrics import Histogram

from prosopon.configs.settings import DeploymentSettings, ModelSettings
from prosopon.deployments.serving.messages import ModelCard, Timed
from prosopon.models.roles import Chips
from prosopon.models.runtime.session import Compute

Item = TypeVar("Item")
Result = TypeVar("Result")
Results = TypeVar("Results")


def compute_for(settings: DeploymentSettings) -> Compute:
    """The device and the threads that a replica with these settings may use; OpenCV is held to them too."""
    compute = Compute("cuda" if settings.num_gpus else "cpu", settings.threads)
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
    exceed it.
    """

    def __init__(
        self,
        stage: str,
        function: Callable[[list[Item]], Sequence[Result]],
        settings: DeploymentSettings,
        size: Callable[[Item], int] | None = None,
    ) -> None:
        executor = ThreadPoolExecutor(settings.concurrent_batches, thread_name_prefix=stage)
        metrics = StageMetrics(stage)

        def work(items: list[Item]) -> list[Result]:
            # Timed in the thread: what waits for one is not yet in the stage.
            start = time.perf_counter()
            results = list(function(items))
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


@dataclass(frozen=True, slots=True)
class FaceModel(Generic[Results]):
    """A model of faces as a replica runs it.

    stage: its name in the metrics. predict: chips ``(N, S, S, 3)`` uint8, a batch for each crop of the card -> one
    result per face, as a list or as rows of an array.
    """

    stage: str
    card: ModelCard
    predict: Callable[..., Results]

    def warm_up(self) -> None:
        """The first run allocates: it is not a client's."""
        self.predict(*(np.zeros((1, crop.size, crop.size, 3), np.uint8) for crop in self.card.crops))

    def __call__(self, groups: Sequence[Sequence[Chips]]) -> list[Timed[Results]]:
        """The chips of several requests, stacked for one run, and the results dealt out."""
        start = time.perf_counter()
        stacked = (
            groups[0] if len(groups) == 1 else [np.concatenate(chips) for chips in zip(*groups, strict=True)]
        )
        results: Any = self.predict(*stacked)
        milliseconds = (time.perf_counter() - start) * 1000 / max(1, len(stacked[0]))
        ends = np.cumsum([len(chips[0]) for chips in groups])
        return [
            Timed(results[end - len(chips[0]) : end], milliseconds)
            for chips, end in zip(groups, ends, strict=True)
        ]


class FaceModelReplica(Generic[Results]):
    """A `FaceModel` deployed by itself. Not deployed where the Detector runs it (`detection.colocated`)."""

    load: Callable[[ModelSettings, Compute], FaceModel[Results]]

    def __init__(self, models: ModelSettings, settings: DeploymentSettings) -> None:
        model = self.load(models, compute_for(settings))
        model.warm_up()
        self._card = model.card
        self._predict: Batched[Sequence[Chips], Timed[Results]] = Batched(
            model.stage, model, settings, lambda chips: len(chips[0])
        )

    def describe(self) -> ModelCard:
        return self._card

    async def predict(self, *chips: Chips) -> Timed[Results]:
        return await self._predict(chips)
