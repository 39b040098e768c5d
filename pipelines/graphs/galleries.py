"""Galleries from where the routes are: what the FaceIndex answers, awaited across processes."""

from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar, cast
from uuid import UUID

from prosopon.deployments.services import FaceIndexService
from prosopon.deployments.state.blobs import Blob
from prosopon.deployments.state.galleries.faces import FacePage, FaceRecord, Match, NewFace, Query
from prosopon.deployments.state.galleries.store import GalleryStore
from prosopon.models.faces.detections import Float32
from prosopon.models.pictures.decoding import media_type

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Galleries:
    """Every method raises what `call` and `GalleryStore` raise. Safe to repeat: a face carries its id."""

    def __init__(self, index: FaceIndexService) -> None:
        self._index = index
        self.face, self.embedding, self.image = index.face, index.embedding, index.image
        self.delete_faces = index.delete_faces
        self.subjects, self.create_subject = index.subjects, index.create_subject
        self.rename_subject, self.delete_subject = index.rename_subject, index.delete_subject
        self.delete_all_subjects = index.delete_all_subjects

    async def add(self, face: NewFace) -> FaceRecord:
        return await self._index.add(face)

    async def enrol(
        self, gallery: int, subject: str, image_id: UUID, embedding: Float32, image: bytes | None
    ) -> FaceRecord:
        """Add a face to a subject, which is made if it is not there.

        image_id: chosen by the caller; embedding: ``(D,)`` float32; image: the picture's file, where it is kept.
        """
        blob = None if image is None else Blob(image, media_type(image))
        return await self._index.add(NewFace(gallery, subject, image_id, embedding, blob))

    async def search(self, queries: Sequence[Query]) -> list[list[Match]]:
        """For each query the nearest faces, best first: one call for all of them."""
        return await self._index.search(tuple(queries))

    async def list_faces(
        self, gallery: int, page: int = 0, size: int = 20, subject: str | None = None
    ) -> FacePage:
        """One page of the faces, the oldest first."""
        return await self._index.list_faces(gallery, page, size, subject)

    async def delete_all_faces(self, gallery: int, subject: str | None = None) -> int:
        """Delete the faces of a subject, or of all; how many there were."""
        return await self._index.delete_all_faces(gallery, subject)

    async def run(
        self,
        method: Callable[Concatenate[GalleryStore, Parameters], Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Of a route that has not moved to the methods above."""
        assert not kwargs, "positional arguments only"
        arguments: tuple[Any, ...] = args
        return cast(Result, await getattr(self, method.__name__)(*arguments))
