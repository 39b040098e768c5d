"""What each deployment answers, for those who call it from another process: `serving.remote.remote` makes it so.

Every method may raise what `serving.calls.call` raises; where a deployment answers `Rejected`, its caller gets
`ImageError`. Nothing that is not named here can be called from afar.

Types are imported for the type checker alone: who calls one deployment does not load what all the others answer with.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from uuid import UUID

    from prosopon.deployments.serving.messages import (
        DetectRequest,
        FaceChips,
        FaceMissing,
        FacesFound,
        FilmRequest,
        GeneratorCard,
        Identified,
        InversionRequest,
        Inverted,
        PictureRequest,
        Results,
    )
    from prosopon.deployments.state.blobs import Blob
    from prosopon.deployments.state.galleries.copies import GalleryCopy
    from prosopon.deployments.state.galleries.enrollments import EnrolledPicture
    from prosopon.deployments.state.galleries.faces import (
        DeletedSubject,
        FacePage,
        FaceRecord,
        Match,
        NewFace,
        Query,
    )
    from prosopon.deployments.state.galleries.source_ledger import Outcome, SourceFaces
    from prosopon.models.faces.attributes.declaration import ModelCard
    from prosopon.models.faces.detections import Float32, PictureFormat, RGBImage
    from prosopon.models.generation.latents import Mixture
    from prosopon.models.swap.face_swap import FoundFaces, SwappedPicture
    from prosopon.models.swap.types import NoSwap


class DescribesModels(Protocol):
    async def describe(self) -> Mapping[str, ModelCard]:
        """Role -> card, of the models that run there. Answered once all are loaded."""
        ...


class DetectorService(DescribesModels, Protocol):
    async def detect(self, request: DetectRequest) -> FacesFound: ...


class FaceModelService(DescribesModels, Protocol):
    async def predict(self, roles: frozenset[str], chips: FaceChips) -> Results:
        """Of at least one face the results of the roles, all of which are there."""
        ...


class FaceIndexService(Protocol):
    """Of galleries by their ids: what `GalleryStore` and `EnrollmentStore` do under the same names.

    Safe to repeat: a face carries its id.
    """

    async def ready(self) -> None:
        """Answered as soon as anything is."""
        ...

    async def add(self, face: NewFace) -> FaceRecord: ...

    async def add_embedded(self, fingerprint: str, face: NewFace) -> FaceRecord:
        """`add` of a face that the embedder of that fingerprint saw, in whichever process."""
        ...

    async def search(self, queries: Sequence[Query]) -> list[list[Match]]:
        """For each query the nearest faces, best first: one call for all of them. Raises their first error."""
        ...

    async def copy(self, gallery: int, most: int) -> GalleryCopy | None:
        """A gallery of at most so many faces, to be searched where it is asked for; None where there is none."""
        ...

    async def ingest(self, fingerprint: str, sources: Sequence[SourceFaces]) -> list[Outcome]: ...

    async def list_faces(
        self, gallery: int, page: int = 0, size: int = 20, subject: str | None = None
    ) -> FacePage: ...

    async def face(self, gallery: int, image_id: UUID) -> FaceRecord | None: ...

    async def embedding(self, gallery: int, image_id: UUID) -> Float32 | None: ...

    async def image(self, gallery: int, image_id: UUID) -> Blob | None: ...

    async def delete_faces(self, gallery: int, image_ids: Sequence[UUID]) -> list[FaceRecord]: ...

    async def delete_all_faces(self, gallery: int, subject: str | None = None) -> int: ...

    async def subjects(self, gallery: int) -> list[str]: ...

    async def create_subject(self, gallery: int, name: str) -> None: ...

    async def rename_subject(self, gallery: int, name: str, new_name: str) -> bool: ...

    async def delete_subject(self, gallery: int, name: str) -> DeletedSubject: ...

    async def delete_all_subjects(self, gallery: int) -> int: ...

    async def replace_embeddings(
        self, fingerprint: str, ids: Sequence[int], embeddings: Float32
    ) -> list[int]: ...

    async def forget_other_embedders(self, keep_vectors: bool) -> None: ...

    async def enroll(
        self,
        tenant: int,
        enrollment: UUID,
        name: str | None,
        collection: UUID | None,
        pictures: Sequence[EnrolledPicture],
    ) -> None: ...

    async def add_pictures(
        self, tenant: int, enrollment: UUID, pictures: Sequence[EnrolledPicture]
    ) -> None: ...

    async def delete_enrollment(self, tenant: int, enrollment: UUID) -> None: ...

    async def enrolled_embeddings(self, tenant: int, enrollment: UUID) -> Float32: ...


class IdentifierService(Protocol):
    async def identify(self, gallery: int, collection: UUID, embedding: Float32) -> Identified | None: ...


class GeneratorService(Protocol):
    async def describe(self) -> GeneratorCard: ...

    async def picture(self, request: PictureRequest, format: PictureFormat) -> bytes:
        """A picture's file."""
        ...

    async def pixels(self, request: PictureRequest) -> RGBImage: ...

    async def styles(self, mixture: Mixture) -> Float32: ...


class VideoEncoderService(Protocol):
    def encode(self, film: FilmRequest) -> AsyncGenerator[int | bytes, None]:
        """How many of its pictures are made, again and again, and at last the film's file."""
        ...


class InverterService(Protocol):
    async def invert(self, request: InversionRequest) -> Inverted | FaceMissing: ...


class Pokeable(Protocol):
    async def poke(self) -> None:
        """There may be something to do."""
        ...


class SwapWorkerService(Pokeable, Protocol):
    async def faces(self, picture: bytes) -> FoundFaces: ...

    async def swap(
        self, picture: bytes, faces: Sequence[bytes], indices: Sequence[int] | None
    ) -> SwappedPicture | NoSwap: ...
