"""The SwapWorker: takes tasks from the records, fetches their pictures, swaps, and puts the result on record."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ray import serve
from ray.serve.handle import DeploymentHandle
from ray.util.metrics import Histogram

from prosopon.configs.settings import (
    DeploymentSettings,
    DetectionSettings,
    FetchSettings,
    ImageLimits,
    ModelSettings,
    StateSettings,
    SwapSettings,
)
from prosopon.deployments.services import Pokeable
from prosopon.deployments.serving.batching import compute_for
from prosopon.deployments.serving.messages import Rejected
from prosopon.deployments.serving.nudges import Poker, Wakeable
from prosopon.deployments.serving.remote import remote
from prosopon.deployments.serving.working import Failure, see_through
from prosopon.deployments.state.blobs import Blob, BlobStore
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.errors import BlobCorrupt, BlobMissing, NotEnoughCredits
from prosopon.deployments.state.jobs.task_types import ClaimedTask, Notice, TaskInput, TaskResult
from prosopon.deployments.state.jobs.tasks import TaskStore
from prosopon.deployments.web.client import Unreachable, WebClient, WebError
from prosopon.models.pictures.decoding import ImageError
from prosopon.models.swap.face_swap import (
    FaceSwap,
    FoundFaces,
    SwappedPicture,
    face_names,
    film_points,
)
from prosopon.models.swap.types import NoSwap

logger = logging.getLogger("ray.serve")

_LOOK_SECONDS = 1.0
_MAX_FETCHING = 32
"""Tasks of one replica that wait for other servers at a time."""
_AHEAD = 1
"""Tasks whose pictures are there already while others are being swapped."""
_UNREACHABLE_ATTEMPTS = 3
_TELL_SECONDS = 1.0
"""How often the progress of a film is put on record."""
_DRAIN_SECONDS = 7.0
"""Within what Serve gives a replica to stop."""

Result = TypeVar("Result")


class _Lost(Exception):
    """Another worker has the task, whose work is cancelled here already."""


@serve.deployment
class SwapWorker:
    """Any number of replicas share the tasks. The frame stays in this process from decoding to the result."""

    async def __init__(  # type: ignore[misc]  # Serve awaits an asynchronous constructor
        self,
        models: ModelSettings,
        detection: DetectionSettings,
        images: ImageLimits,
        fetch: FetchSettings,
        swap: SwapSettings,
        state: StateSettings,
        settings: DeploymentSettings,
        courier: DeploymentHandle,
        notice: Notice,
    ) -> None:
        """notice: what webhooks are told of a task, in the words of the API that took it."""
        self._limits, self._settings, self._swaps_at_once = images, swap, settings.concurrent_batches
        self._swap = await asyncio.to_thread(
            FaceSwap.load, models, detection, images, swap, compute_for(settings)
        )
        records = await asyncio.to_thread(Records, state.database)
        self._tasks = TaskStore(records, BlobStore(records, state.blobs), swap, notice=notice)
        self._client = WebClient(fetch)
        self._courier = Poker(remote(courier, Pokeable))
        self._swappers = ThreadPoolExecutor(settings.concurrent_batches, thread_name_prefix="swap")
        self._detectors = ThreadPoolExecutor(settings.concurrent_batches, thread_name_prefix="detect")
        self._state = ThreadPoolExecutor(4, thread_name_prefix="tasks")
        self._wakeable = Wakeable(_LOOK_SECONDS)
        self._fetching: set[ClaimedTask] = set()
        self._fetched: set[ClaimedTask] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._seconds = Histogram(
            "prosopon_swap_seconds",
            "Time of one swap, from its pictures' bytes to the result's.",
            boundaries=[0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 40, 80],
        )
        self._loop = asyncio.create_task(self._take_tasks())

    async def poke(self) -> None:
        """There may be tasks to do."""
        self._wakeable.wake()

    async def faces(self, picture: bytes) -> FoundFaces | Rejected:
        """The faces of a picture, in the order in which swaps count them."""
        try:
            return await self._in(self._detectors, self._swap.faces, picture)
        except ImageError as error:
            return Rejected.of(error)

    async def swap(
        self, picture: bytes, faces: Sequence[bytes], indices: Sequence[int] | None
    ) -> SwappedPicture | Rejected | NoSwap:
        """A swap at once and off the record: `FaceSwap.swap`, what it raises as a value."""
        try:
            return await self._in(self._swappers, self._swap.swap, picture, faces, indices)
        except ImageError as error:
            return Rejected.of(error)
        except NoSwap as error:
            return error

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What `deployments.serving.scaling.by_backlog` goes by."""
        return {"backlog": await self._in(self._state, self._tasks.count_open)}

    def check_health(self) -> None:
        """Raises RuntimeError where this replica takes no more tasks."""
        if self._loop.done():
            raise RuntimeError("the worker has stopped taking tasks")

    async def __del__(self) -> None:
        """Serve awaits this before it stops the replica: what is begun is finished, or left to others at once."""
        self._loop.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=_DRAIN_SECONDS)
        for task in self._fetching | self._fetched:
            await self._in(self._state, self._tasks.put_back, task, "its worker was stopped")

    # ------------------------------------------------------------------------------------------------- the loop

    async def _take_tasks(self) -> None:
        """For ever. What goes wrong with the records is logged and tried again: a task stays due until it ends."""
        while True:
            self._wakeable.listen()
            task = None
            try:
                if self._has_room():
                    task = await self._in(self._state, self._tasks.claim)
            except Exception:
                logger.exception("tasks cannot be read")
            if task is None:
                await self._wakeable.wait()
                continue
            running = asyncio.create_task(self._do(task))
            self._running.add(running)
            running.add_done_callback(self._done)

    def _has_room(self) -> bool:
        """A task that waits for pictures takes no place from one that has them; of these, few are kept waiting."""
        return len(self._fetching) < _MAX_FETCHING and len(self._fetched) < self._swaps_at_once + _AHEAD

    def _done(self, running: asyncio.Task[None]) -> None:
        self._running.discard(running)
        self._wakeable.wake()
        if not running.cancelled() and (error := running.exception()):
            logger.error("a task is left to its next attempt", exc_info=error)

    async def _do(self, task: ClaimedTask) -> None:
        try:
            if await see_through(task, self._tasks, self._work, self._failure, self._settings.lease_seconds):
                self._courier()
        finally:
            self._fetching.discard(task)
            self._fetched.discard(task)

    async def _work(self, task: ClaimedTask) -> bool:
        picture, *faces = await self._pictures(task)
        swapped = await self._in(self._swappers, self._timed, task, picture, faces)
        blob = Blob(swapped.data, swapped.media_type)
        result = TaskResult(blob, swapped.suffix, swapped.similarity, swapped.method)
        return await self._in(self._state, self._tasks.succeed, task, result)

    def _failure(self, error: Exception) -> Failure:
        match error:
            case Unreachable():
                return Failure(str(error), _UNREACHABLE_ATTEMPTS)
            case WebError() | ImageError() | NoSwap():
                return Failure(str(error))
            case BlobMissing() | BlobCorrupt():
                return Failure("a picture of the task is lost")
            case _Lost():  # What is recorded of it now is nobody's.
                return Failure("taken over by another worker")
        logger.error("a task failed", exc_info=error)
        return Failure("internal error; the server's log has the details", self._settings.max_attempts)

    def _timed(self, task: ClaimedTask, picture: bytes, faces: list[bytes]) -> SwappedPicture:
        started = time.perf_counter()
        told = started - _TELL_SECONDS

        def progress(share: float) -> None:
            nonlocal told
            if time.perf_counter() - told >= _TELL_SECONDS:
                told = time.perf_counter()
                if not self._tasks.advance(task, round(share, 3)):
                    raise _Lost

        if points := film_points(picture, len(faces), self._settings.films):
            try:
                self._tasks.charge_film(task, points)
            except NotEnoughCredits:
                raise NoSwap(f"source_image is a film: {points} points for its length are missing") from None
        swapped = self._swap.swap(picture, faces, task.indices, progress, self._crowded)
        self._seconds.observe(time.perf_counter() - started)
        return swapped

    def _crowded(self) -> bool:
        return self._tasks.count_open() > self._settings.crowd

    async def _pictures(self, task: ClaimedTask) -> list[bytes]:
        """The bytes of the inputs. Errors name the input that they are about."""
        names = ["source_image", *face_names(len(task.inputs) - 1)]
        self._fetching.add(task)
        try:
            asked = (
                self._input(item, name, film=not index)
                for index, (item, name) in enumerate(zip(task.inputs, names, strict=True))
            )
            return await asyncio.gather(*asked)
        finally:
            self._fetching.discard(task)
            self._fetched.add(task)
            self._wakeable.wake()

    async def _input(self, item: TaskInput, name: str, *, film: bool) -> bytes:
        if item.url is None:
            return await self._in(self._state, self._tasks.read, item)
        try:
            if film:
                return (await self._client.get_film(item.url, self._limits, self._settings.films)).data
            return (await self._client.get_picture(item.url, self._limits.max_bytes)).data
        except WebError as error:
            raise type(error)(f"{name}: {error}") from None

    @staticmethod
    async def _in(executor: ThreadPoolExecutor, function: Callable[..., Result], *args: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(executor, function, *args)
