"""The FaceIndex: galleries of faces, one writer where the vectors lie in a Milvus Lite file."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ray import serve
from ray.serve.handle import DeploymentHandle

from prosopon.configs.settings import DeploymentSettings, StateSettings
from prosopon.deployments.serving.batching import Batched, compute_for
from prosopon.deployments.serving.gallery_metrics import report_sizes
from prosopon.deployments.serving.messages import ModelCard
from prosopon.deployments.state.errors import FingerprintMismatch, StateError
from prosopon.deployments.state.galleries.enrollments import EnrollmentStore
from prosopon.deployments.state.galleries.faces import FaceRecord, Match, NewFace, Query
from prosopon.deployments.state.galleries.source_ledger import Outcome, SourceFaces, SourceLedger
from prosopon.deployments.state.galleries.store import GalleryStore

Result = TypeVar("Result")


@serve.deployment
class FaceIndex:
    """Adds and searches in batches (a group commit, one matrix product); everything else one by one.

    The store is opened, repaired against the records and loaded before the replica is ready.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits an asynchronous constructor
        self, state: StateSettings, settings: DeploymentSettings, embeds: DeploymentHandle
    ) -> None:
        compute_for(settings)
        card: ModelCard = (await embeds.describe.remote()).embedder
        assert card.dim is not None
        self._executor = ThreadPoolExecutor(4, thread_name_prefix="gallery")
        self._store = await asyncio.to_thread(GalleryStore, state, card.fingerprint, card.dim)
        self._enrollments = EnrollmentStore(self._store)
        self._ledger = SourceLedger(self._store)
        self._sizes = asyncio.create_task(report_sizes(self._store))
        self._add = Batched("index_add", self._store.add_faces, settings)
        self._search = Batched("index_search", self._store.search, settings)

    async def ready(self) -> None:
        """Answered as soon as anything is."""

    async def add(self, face: NewFace) -> FaceRecord:
        return _value(await self._add(face))

    async def search(self, query: Query) -> list[Match]:
        return _value(await self._search(query))

    async def run(self, method: str, *args: Any) -> Any:
        """Any other method of `GalleryStore`, off the event loop."""
        return await self._call(getattr(self._store, method), *args)

    async def enrollments(self, method: str, *args: Any) -> Any:
        """A method of `EnrollmentStore`, off the event loop."""
        return await self._call(getattr(self._enrollments, method), *args)

    async def ingest(self, fingerprint: str, sources: Sequence[SourceFaces]) -> list[Outcome]:
        """Write pictures' faces, which the embedder of that fingerprint made, into the public index.

        Raises FingerprintMismatch where it is not the one in service, and what `SourceLedger.write` raises.
        """
        if fingerprint != self._store.fingerprint:
            raise FingerprintMismatch(self._ledger.gallery, fingerprint, self._store.fingerprint)
        outcomes: list[Outcome] = await self._call(self._ledger.write, sources)
        return outcomes

    async def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *args)


def _value(result: Result | StateError) -> Result:
    """One item's failure in a batch is its caller's alone."""
    if isinstance(result, StateError):
        raise result
    return result
