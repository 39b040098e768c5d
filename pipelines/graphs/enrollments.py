"""Enrollments and collections from where the routes are: faces through the index, the rest by the records."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

from prosopon.configs.settings import StateSettings
from prosopon.deployments.services import FaceIndexService, IdentifierService
from prosopon.deployments.serving.messages import Identified
from prosopon.deployments.state.blobs import BlobStore
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.galleries.collections import Collection, CollectionStore
from prosopon.deployments.state.galleries.enrollments import EnrolledPicture, gallery_of
from prosopon.models.faces.detections import Float32


class Enrollments:
    """What a tenant may do. Methods raise what `call`, `EnrollmentStore` and `CollectionStore` raise.

    Safe to repeat: what is made carries an id that the caller chose.
    """

    def __init__(
        self, index: FaceIndexService, identifier: IdentifierService, state: StateSettings, records: Records
    ) -> None:
        self._index, self._identifier, self._records = index, identifier, records
        self._collections = CollectionStore(records, BlobStore(records, state.blobs))
        self._galleries: dict[int, int] = {}

    async def enroll(
        self,
        tenant: int,
        enrollment: UUID,
        name: str | None,
        collection: UUID | None,
        pictures: Sequence[EnrolledPicture],
    ) -> None:
        await self._index.enroll(tenant, enrollment, name, collection, tuple(pictures))

    async def add_pictures(self, tenant: int, enrollment: UUID, pictures: Sequence[EnrolledPicture]) -> None:
        await self._index.add_pictures(tenant, enrollment, tuple(pictures))

    async def delete(self, tenant: int, enrollment: UUID) -> None:
        await self._index.delete_enrollment(tenant, enrollment)

    async def embeddings(self, tenant: int, enrollment: UUID) -> Float32:
        return await self._index.enrolled_embeddings(tenant, enrollment)

    async def identify(self, tenant: int, collection: UUID, embedding: Float32) -> Identified | None:
        gallery = await self._gallery(tenant)
        return await self._identifier.identify(gallery, collection, embedding)

    async def create_collection(self, tenant: int, collection: UUID, name: str, unknowns: bool) -> None:
        gallery = await self._gallery(tenant)
        await asyncio.to_thread(self._collections.create, gallery, collection, name, unknowns)

    async def add_to_collection(self, tenant: int, collection: UUID, enrollment: UUID) -> None:
        gallery = await self._gallery(tenant)
        await asyncio.to_thread(self._collections.add, gallery, collection, enrollment)

    async def delete_collection(self, tenant: int, collection: UUID) -> None:
        gallery = await self._gallery(tenant)
        await asyncio.to_thread(self._collections.delete, gallery, collection)

    async def collections(self, tenant: int) -> list[Collection]:
        gallery = await self._gallery(tenant)
        return await asyncio.to_thread(self._collections.list, gallery)

    async def train(self, tenant: int, collection: UUID) -> None:
        gallery = await self._gallery(tenant)
        await asyncio.to_thread(self._collections.request_training, gallery, collection)

    async def _gallery(self, tenant: int) -> int:
        if tenant not in self._galleries:
            self._galleries[tenant] = await asyncio.to_thread(gallery_of, self._records, tenant)
        return self._galleries[tenant]
