"""The FaceIndex: galleries of faces, one writer where the vectors lie in a Milvus Lite file."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar
from uuid import UUID

from ray import serve
from ray.serve.handle import DeploymentHandle

from prosopon.configs.settings import DeploymentSettings, GallerySettings, StateSettings
from prosopon.deployments.services import DescribesModels
from prosopon.deployments.serving.batching import Batched, compute_for
from prosopon.deployments.serving.calls import refusals_are_answers
from prosopon.deployments.serving.gallery_metrics import report_sizes
from prosopon.deployments.serving.remote import remote
from prosopon.deployments.state.blobs import Blob
from prosopon.deployments.state.errors import (
    EmbedderNotInService,
    FingerprintMismatch,
    StateError,
    value_of,
)
from prosopon.deployments.state.galleries.copies import GalleryCopy
from prosopon.deployments.state.galleries.enrollments import EnrolledPicture, EnrollmentStore
from prosopon.deployments.state.galleries.faces import (
    DeletedSubject,
    FacePage,
    FaceRecord,
    Match,
    NewFace,
    Query,
)
from prosopon.deployments.state.galleries.source_ledger import Outcome, SourceFaces, SourceLedger
from prosopon.deployments.state.galleries.store import GalleryStore
from prosopon.models.faces.attributes import embedding
from prosopon.models.faces.detections import Float32

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@serve.deployment
class FaceIndex:
    """Adds and searches in batches (a group commit, one matrix product); everything else one by one.

    The store is opened, repaired against the records and loaded before the replica is ready.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits an asynchronous constructor
        self,
        state: StateSettings,
        galleries: GallerySettings,
        settings: DeploymentSettings,
        embeds: DeploymentHandle,
    ) -> None:
        compute_for(settings)
        card = (await remote(embeds, DescribesModels).describe())[embedding.ROLE.name]
        self._executor = ThreadPoolExecutor(4, thread_name_prefix="gallery")
        self._store = await asyncio.to_thread(
            GalleryStore, state, card.fingerprint, card.dim or 0, galleries.search_threads
        )
        self._enrollments = EnrollmentStore(self._store)
        self._ledger = SourceLedger(self._store)
        self._sizes = asyncio.create_task(report_sizes(self._store))
        self._add = Batched("index_add", self._store.add_faces, settings)
        self._search = Batched("index_search", self._search_batch, settings, len)

    async def ready(self) -> None:
        """Answered as soon as anything is."""

    @refusals_are_answers
    async def add(self, face: NewFace) -> FaceRecord:
        return value_of(await self._add(face))

    @refusals_are_answers
    async def add_embedded(self, fingerprint: str, face: NewFace) -> FaceRecord:
        """`add` of a face that the embedder of that fingerprint saw, in whichever process.

        Raises EmbedderNotInService where it is not the one in service.
        """
        if fingerprint != self._store.fingerprint:
            raise EmbedderNotInService(fingerprint, self._store.fingerprint)
        return value_of(await self._add(face))

    @refusals_are_answers
    async def search(self, queries: Sequence[Query]) -> list[list[Match]]:
        return [value_of(found) for found in await self._search(queries)] if queries else []

    @refusals_are_answers
    async def copy(self, gallery: int, most: int) -> GalleryCopy | None:
        return await self._off(self._store.copy, gallery, most)

    def _search_batch(self, batch: list[Sequence[Query]]) -> list[list[list[Match] | StateError]]:
        found = iter(self._store.search([query for queries in batch for query in queries]))
        return [[next(found) for _ in queries] for queries in batch]

    @refusals_are_answers
    async def ingest(self, fingerprint: str, sources: Sequence[SourceFaces]) -> list[Outcome]:
        """Write pictures' faces, which the embedder of that fingerprint made, into the public index.

        Raises FingerprintMismatch where it is not the one in service, and what `SourceLedger.write` raises.
        """
        if fingerprint != self._store.fingerprint:
            raise FingerprintMismatch(self._ledger.gallery, fingerprint, self._store.fingerprint)
        return await self._off(self._ledger.write, sources)

    # ------------------------------------------------------------------------------------- as `GalleryStore` does

    @refusals_are_answers
    async def list_faces(
        self, gallery: int, page: int = 0, size: int = 20, subject: str | None = None
    ) -> FacePage:
        return await self._off(self._store.list_faces, gallery, page, size, subject)

    @refusals_are_answers
    async def face(self, gallery: int, image_id: UUID) -> FaceRecord | None:
        return await self._off(self._store.face, gallery, image_id)

    @refusals_are_answers
    async def embedding(self, gallery: int, image_id: UUID) -> Float32 | None:
        return await self._off(self._store.embedding, gallery, image_id)

    @refusals_are_answers
    async def image(self, gallery: int, image_id: UUID) -> Blob | None:
        return await self._off(self._store.image, gallery, image_id)

    @refusals_are_answers
    async def delete_faces(self, gallery: int, image_ids: Sequence[UUID]) -> list[FaceRecord]:
        return await self._off(self._store.delete_faces, gallery, image_ids)

    @refusals_are_answers
    async def delete_all_faces(self, gallery: int, subject: str | None = None) -> int:
        return await self._off(self._store.delete_all_faces, gallery, subject)

    @refusals_are_answers
    async def subjects(self, gallery: int) -> list[str]:
        return await self._off(self._store.subjects, gallery)

    @refusals_are_answers
    async def create_subject(self, gallery: int, name: str) -> None:
        await self._off(self._store.create_subject, gallery, name)

    @refusals_are_answers
    async def rename_subject(self, gallery: int, name: str, new_name: str) -> bool:
        return await self._off(self._store.rename_subject, gallery, name, new_name)

    @refusals_are_answers
    async def delete_subject(self, gallery: int, name: str) -> DeletedSubject:
        return await self._off(self._store.delete_subject, gallery, name)

    @refusals_are_answers
    async def delete_all_subjects(self, gallery: int) -> int:
        return await self._off(self._store.delete_all_subjects, gallery)

    @refusals_are_answers
    async def replace_embeddings(
        self, fingerprint: str, ids: Sequence[int], embeddings: Float32
    ) -> list[int]:
        return await self._off(self._store.replace_embeddings, fingerprint, ids, embeddings)

    @refusals_are_answers
    async def forget_other_embedders(self, keep_vectors: bool) -> None:
        await self._off(self._store.forget_other_embedders, keep_vectors)

    # ---------------------------------------------------------------------------------- as `EnrollmentStore` does

    @refusals_are_answers
    async def enroll(
        self,
        tenant: int,
        enrollment: UUID,
        name: str | None,
        collection: UUID | None,
        pictures: Sequence[EnrolledPicture],
    ) -> None:
        await self._off(self._enrollments.enroll, tenant, enrollment, name, collection, pictures)

    @refusals_are_answers
    async def add_pictures(self, tenant: int, enrollment: UUID, pictures: Sequence[EnrolledPicture]) -> None:
        await self._off(self._enrollments.add_pictures, tenant, enrollment, pictures)

    @refusals_are_answers
    async def delete_enrollment(self, tenant: int, enrollment: UUID) -> None:
        await self._off(self._enrollments.delete, tenant, enrollment)

    @refusals_are_answers
    async def enrolled_embeddings(self, tenant: int, enrollment: UUID) -> Float32:
        return await self._off(self._enrollments.embeddings, tenant, enrollment)

    async def _off(
        self,
        function: Callable[Parameters, Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Off the event loop."""
        work = partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)
