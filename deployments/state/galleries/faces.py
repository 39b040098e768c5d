"""What goes into galleries and what comes out of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from prosopon.deployments.state.blobs import Blob
from prosopon.models.faces.detections import Float32


@dataclass(frozen=True, slots=True)
class NewFace:
    """A face to enrol.

    gallery: its id; image_id: chosen by the caller, so that a repeated call adds nothing. embedding:
    ``(D,)`` float32 of the model in service, of any norm. image: the bytes to keep, if they are kept.
    extra: what one API alone knows, as JSON.
    """

    gallery: int
    subject: str
    image_id: UUID
    embedding: Float32
    image: Blob | None = None
    extra: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class FaceRecord:
    """An enrolled face. id: its key in the vector index."""

    id: int
    gallery: int
    subject: str
    image_id: UUID


@dataclass(frozen=True, slots=True)
class DeletedSubject:
    """name: as it was stored; faces: how many went with it."""

    name: str
    faces: int


@dataclass(frozen=True, slots=True)
class FacePage:
    """One page of a gallery's faces, oldest first. page: counts from 0; total: faces on all pages."""

    faces: list[FaceRecord]
    page: int
    size: int
    total: int

    @property
    def pages(self) -> int:
        return -(-self.total // self.size)


@dataclass(frozen=True, slots=True)
class Query:
    """A probe: ``(D,)`` float32 of any norm. by: at most `limit` subjects, each with its best face, or
    faces. first: search only so many faces, those that have been in the gallery longest; 0 searches all."""

    gallery: int
    embedding: Float32
    limit: int
    by: Literal["subject", "face"] = "subject"
    first: int = 0


@dataclass(frozen=True, slots=True)
class Match:
    """distance: L2 between unit embeddings, 0 to 2."""

    subject: str
    image_id: UUID
    distance: float
