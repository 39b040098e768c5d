"""A gallery from Python."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, TypeVar

from prosopon.deployments.state.blobs import Blob
from prosopon.deployments.state.galleries.faces import FacePage, FaceRecord, NewFace
from prosopon.deployments.state.galleries.store import GalleryStore
from prosopon.models.faces.detections import Float32
from prosopon.models.pictures.decoding import media_type
from prosopon.pipelines.graphs.face_analysis import Plugin
from prosopon.pipelines.graphs.galleries import Galleries
from prosopon.pipelines.graphs.recognition import Candidate
from prosopon.pipelines.python.answers import Image, RecognisedFace, analyzed, read
from prosopon.pipelines.python.connection import Answer

if TYPE_CHECKING:
    from prosopon.pipelines.python.handles import Prosopon

Result = TypeVar("Result")


class Gallery:
    """The faces of one gallery: `Prosopon.gallery` opens it. Every answer may raise `StateError`."""

    def __init__(self, prosopon: "Prosopon", find: Callable[[], int]) -> None:
        self._prosopon, self._find = prosopon, find
        self._known: int | None = None

    def enrol(self, subject: str, image: Image, *, keep_image: bool = True) -> Answer[FaceRecord]:
        """Add the only face of a picture to a subject, which is made if it is not there.

        Raises `NoFace`, `SeveralFaces`.
        """
        image_id = uuid.uuid4()

        async def enrolled() -> FaceRecord:
            recognition, data = self._prosopon.recognition, await read(image)
            picture = await recognition.one_face(data, frozenset({Plugin.EMBEDDING}))
            embedding = picture.faces[0].embedding
            assert embedding is not None
            blob = Blob(data, media_type(data)) if keep_image else None
            return await recognition.galleries.add(
                NewFace(await self._id(), subject, image_id, embedding, blob)
            )

        return self._prosopon.submit(enrolled)

    def recognise(
        self, image: Image, *, count: int = 1, plugins: Collection[Plugin] = (), limit: int = 0
    ) -> Answer[tuple[RecognisedFace, ...]]:
        """Who is in a picture: its faces, the biggest first, each with at most `count` subjects."""

        async def recognised() -> tuple[RecognisedFace, ...]:
            wanted = frozenset({*plugins, Plugin.EMBEDDING})
            picture = await analyzed(self._prosopon.recognition, image, wanted, limit=limit)
            embeddings = [face.embedding for face in picture.faces if face.embedding is not None]
            found = await self._prosopon.recognition.candidates(await self._id(), embeddings, count)
            return tuple(
                RecognisedFace(face, tuple(candidates))
                for face, candidates in zip(picture.faces, found, strict=True)
            )

        return self._prosopon.submit(recognised)

    def search(self, embedding: Float32, *, count: int = 10) -> Answer[tuple[Candidate, ...]]:
        """The subjects nearest to an embedding ``(D,)`` float32, the most similar first."""

        async def found() -> tuple[Candidate, ...]:
            (candidates,) = await self._prosopon.recognition.candidates(await self._id(), [embedding], count)
            return tuple(candidates)

        return self._prosopon.submit(found)

    def subjects(self) -> Answer[list[str]]:
        """Names of all subjects, the oldest first."""
        return self._run(lambda galleries, gallery: galleries.run(GalleryStore.subjects, gallery))

    def faces(self, *, page: int = 0, size: int = 100, subject: str | None = None) -> Answer[FacePage]:
        """One page of the enrolled faces, the oldest first."""
        return self._run(
            lambda galleries, gallery: galleries.run(GalleryStore.list_faces, gallery, page, size, subject)
        )

    def image(self, image_id: uuid.UUID) -> Answer[Blob | None]:
        """The picture that was kept of a face."""
        return self._run(lambda galleries, gallery: galleries.run(GalleryStore.image, gallery, image_id))

    def rename(self, subject: str, new_name: str) -> Answer[None]:
        """Rename a subject; where the new name exists, the two are merged."""
        return self._run(
            lambda galleries, gallery: galleries.run(GalleryStore.rename_subject, gallery, subject, new_name)
        )

    def delete(self, image_ids: Collection[uuid.UUID]) -> Answer[list[FaceRecord]]:
        """Delete faces with their pictures; those that were there."""
        return self._run(
            lambda galleries, gallery: galleries.run(GalleryStore.delete_faces, gallery, list(image_ids))
        )

    def delete_subject(self, subject: str) -> Answer[int]:
        """Delete a subject with its faces and pictures; how many faces it had."""
        return self._run(
            lambda galleries, gallery: galleries.run(GalleryStore.delete_subject, gallery, subject)
        )

    def _run(self, ask: Callable[[Galleries, int], Awaitable[Result]]) -> Answer[Result]:
        async def asked() -> Result:
            return await ask(self._prosopon.recognition.galleries, await self._id())

        return self._prosopon.submit(asked)

    async def _id(self) -> int:
        if self._known is None:
            self._known = await asyncio.to_thread(self._find)
        return self._known
