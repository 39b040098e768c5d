"""A gallery from Python."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Collection
from typing import Protocol, TypeVar

from prosopon.deployments.services import FaceIndexService
from prosopon.deployments.state.blobs import Blob
from prosopon.deployments.state.galleries.faces import FacePage, FaceRecord, NewFace
from prosopon.models.faces.attributes.embedding import EMBEDDING
from prosopon.models.faces.detections import Float32
from prosopon.models.pictures.decoding import media_type
from prosopon.pipelines.graphs.recognition import ENROLLED, Candidate, Recognition
from prosopon.pipelines.python.answers import Asked, Image, RecognisedFace, analyzed, read
from prosopon.pipelines.python.connection import Answer

Result = TypeVar("Result")


class Submit(Protocol):
    def __call__(self, work: Callable[[], Awaitable[Result]], /) -> Answer[Result]: ...


class Gallery:
    """The faces of one gallery: `Prosopon.gallery` opens it. Every answer may raise `StateError`."""

    def __init__(
        self, recognition: Recognition, submit: Submit, find: Callable[[], int], title: str = ""
    ) -> None:
        """submit: has work done in the loop that the handles belong to; find: the gallery's id; title: for people."""
        self._recognition, self._submit, self._find = recognition, submit, find
        self._known: int | None = None
        self._title = title

    def __repr__(self) -> str:
        return f"<Gallery {self._title}>"

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.startswith("_")]

    def enrol(self, subject: str, image: Image, *, keep_image: bool = True) -> Answer[FaceRecord]:
        """Add the only face of a picture to a subject, which is made if it is not there.

        Raises `NoFace`, `SeveralFaces`, `LowQuality`.
        """
        image_id = uuid.uuid4()

        async def enrolled() -> FaceRecord:
            recognition, data = self._recognition, await read(image)
            face = recognition.trusted((await recognition.one_face(data, ENROLLED)).faces[0])
            blob = Blob(data, media_type(data)) if keep_image else None
            new = NewFace(await self._id(), subject, image_id, face.embedding, blob)
            return await recognition.galleries.add(new)

        return self._submit(enrolled)

    def recognise(
        self, image: Image, *, count: int = 1, attributes: Collection[Asked] = (), limit: int = 0
    ) -> Answer[tuple[RecognisedFace, ...]]:
        """Who is in a picture: its faces, the biggest first, each with at most `count` subjects."""

        async def recognised() -> tuple[RecognisedFace, ...]:
            wanted = {*attributes, EMBEDDING}
            picture = await analyzed(self._recognition, image, wanted, limit=limit)
            embeddings = [face.embedding for face in picture.faces]
            found = await self._recognition.candidates(await self._id(), embeddings, count)
            return tuple(
                RecognisedFace(face, tuple(candidates))
                for face, candidates in zip(picture.faces, found, strict=True)
            )

        return self._submit(recognised)

    def search(self, embedding: Float32, *, count: int = 10) -> Answer[tuple[Candidate, ...]]:
        """The subjects nearest to an embedding ``(D,)`` float32, the most similar first."""

        async def found() -> tuple[Candidate, ...]:
            (candidates,) = await self._recognition.candidates(await self._id(), [embedding], count)
            return tuple(candidates)

        return self._submit(found)

    def subjects(self) -> Answer[list[str]]:
        """Names of all subjects, the oldest first."""
        return self._run(lambda galleries, gallery: galleries.subjects(gallery))

    def faces(self, *, page: int = 0, size: int = 100, subject: str | None = None) -> Answer[FacePage]:
        """One page of the enrolled faces, the oldest first."""
        return self._run(lambda galleries, gallery: galleries.list_faces(gallery, page, size, subject))

    def image(self, image_id: uuid.UUID) -> Answer[Blob | None]:
        """The picture that was kept of a face."""
        return self._run(lambda galleries, gallery: galleries.image(gallery, image_id))

    def rename(self, subject: str, new_name: str) -> Answer[bool]:
        """Rename a subject; where the new name exists, the two are merged. False where the names are the same."""
        return self._run(lambda galleries, gallery: galleries.rename_subject(gallery, subject, new_name))

    def delete(self, image_ids: Collection[uuid.UUID]) -> Answer[list[FaceRecord]]:
        """Delete faces with their pictures; those that were there."""
        return self._run(lambda galleries, gallery: galleries.delete_faces(gallery, list(image_ids)))

    def delete_subject(self, subject: str) -> Answer[int]:
        """Delete a subject with its faces and pictures; how many faces it had."""

        async def deleted(galleries: FaceIndexService, gallery: int) -> int:
            return (await galleries.delete_subject(gallery, subject)).faces

        return self._run(deleted)

    def clear(self) -> Answer[int]:
        """Delete every subject with its faces and pictures; how many there were."""
        return self._run(lambda galleries, gallery: galleries.delete_all_subjects(gallery))

    def _run(self, ask: Callable[[FaceIndexService, int], Awaitable[Result]]) -> Answer[Result]:
        async def asked() -> Result:
            return await ask(self._recognition.galleries, await self._id())

        return self._submit(asked)

    async def _id(self) -> int:
        if self._known is None:
            self._known = await asyncio.to_thread(self._find)
        return self._known
