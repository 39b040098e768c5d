"""detect -> swap: tasks handed to the workers, and what has become of them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from ray.serve.handle import DeploymentHandle

from prosopon.configs.settings import Settings
from prosopon.deployments.services import SwapWorkerService
from prosopon.deployments.serving.fair_queue import Bound
from prosopon.deployments.serving.nudges import Poker
from prosopon.deployments.serving.remote import remote
from prosopon.deployments.state.blobs import Blob, BlobStore
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.errors import NotEnoughCredits
from prosopon.deployments.state.jobs.task_types import NewTask, TaskRecord
from prosopon.deployments.state.jobs.tasks import TaskStore
from prosopon.deployments.state.keys import Key, KeyStore
from prosopon.deployments.web.client import Fetched, WebClient
from prosopon.models.swap.face_swap import FoundFaces, SwappedPicture
from prosopon.models.swap.types import NoSwap

_MAX_FETCHES = 32


@dataclass(frozen=True, slots=True)
class SwapHandles:
    """Handles of the deployments of this graph."""

    worker: DeploymentHandle
    courier: DeploymentHandle


class Swaps:
    """One per process."""

    def __init__(self, worker: SwapWorkerService, settings: Settings, records: Records) -> None:
        self._worker, self._limits, self._films = worker, settings.images, settings.swap.films
        self._poke = Poker(worker)
        self._tasks = TaskStore(records, BlobStore(records, settings.state.blobs), settings.swap)
        self._keys = KeyStore(records)
        self._client = WebClient(settings.fetch)
        self._fetches = Bound(_MAX_FETCHES, "pictures are being fetched")

    @classmethod
    async def connect(cls, handles: SwapHandles, settings: Settings, records: Records) -> "Swaps":
        """Waits until a worker has its models."""
        worker = remote(handles.worker, SwapWorkerService)
        await worker.poke()
        return cls(worker, settings, records)

    def checked_url(self, url: str) -> str:
        """The URL, where nothing can be said against it without asking anybody. Raises `UrlRefused`."""
        return self._client.check(url)

    async def accept(self, task: NewTask) -> UUID:
        """Put a task on record. Raises NotEnoughCredits, TooManyTasks."""
        identity = await asyncio.to_thread(self._tasks.accept, task)
        self._poke()
        return identity

    async def find(self, task: UUID, tenant: int) -> TaskRecord:
        """Raises TaskNotFound."""
        return await asyncio.to_thread(self._tasks.find, task, tenant)

    async def result(self, name: str) -> Blob:
        """Raises TaskNotFound, ResultExpired."""
        return await asyncio.to_thread(self._tasks.result, name)

    async def faces(self, picture: bytes) -> FoundFaces:
        """The faces of a picture, in the order in which swaps count them. Raises `ImageError` and what `call` does."""
        return await self._worker.faces(picture)

    async def swap(
        self, picture: bytes, faces: Sequence[bytes], indices: Sequence[int] | None = None
    ) -> SwappedPicture:
        """A swap at once, without a task: `FaceSwap.swap`. Raises what it does, and what `call` raises."""
        swapped = await self._worker.swap(picture, tuple(faces), indices)
        if isinstance(swapped, NoSwap):
            raise swapped
        return swapped

    async def fetch(self, url: str) -> Fetched:
        """A picture or a film from elsewhere. Raises `Overloaded` and the subclasses of `WebError`."""
        with self._fetches:
            return await self._client.get_film(url, self._limits, self._films)

    async def check_balance(self, key: Key, points: int) -> None:
        """Whether the key could be charged at this moment. Raises NotEnoughCredits."""
        balance = await asyncio.to_thread(self._keys.balance, key.id)
        if balance is not None and balance < points:
            raise NotEnoughCredits(f"key {key.id}")

    async def charge(self, key: Key, points: int) -> None:
        """Raises NotEnoughCredits."""
        await asyncio.to_thread(self._keys.charge, key.id, points)
