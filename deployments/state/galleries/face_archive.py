"""The index that FaceCheck searches: one public gallery, the same for every tenant.

What was found on the web belongs to nobody's account: tenants own their searches and the pictures they upload, not
what is searched. So there is one gallery, whose tenant no key is made for. Its faces are written by the bulk
ingestion and carry where they were seen as the record's `extra`.
"""

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

import numpy as np
import sqlalchemy as sa

from prosopon.deployments.state import schema
from prosopon.deployments.state.blobs import BlobStore
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.errors import BlobCorrupt, BlobMissing
from prosopon.models.faces.detections import Float32

KIND = "facecheck"
TENANT = "public"
NAME = "index"
_COUNTED_SECONDS = 5.0
_faces = schema.faces


@dataclass(frozen=True, slots=True)
class ArchivedFace:
    """Where a face of the index was seen: the `extra` of its record.

    url: of the page or the picture, as results show it. group: what the source calls the person or the page that
    the face belongs to; without one, faces of one url belong together. location: where the picture was read from, a
    file's path or a URL; None where the url says it. source: the folder or the manifest that named it, by
    `pipelines.ingestion.sources.identity`; None is not known.
    """

    url: str
    group: str | None = None
    location: str | None = None
    source: str | None = None

    @property
    def subject(self) -> str:
        """The name of the subject whose faces belong together.

        One that is too long for a subject's name is cut, and told apart by its hash.
        """
        name = f"group {self.group}" if self.group else self.url
        if len(name) <= schema.MAX_SUBJECT_LENGTH:
            return name
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        return f"{name[: schema.MAX_SUBJECT_LENGTH - len(digest) - 1]} {digest}"

    def to_json(self) -> dict[str, object]:
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, extra: Mapping[str, Any] | None) -> "ArchivedFace":
        """Of a record's `extra`; keys that are not known are left out."""
        known = {name: str(value) for name, value in (extra or {}).items() if value is not None}
        return cls(known.get("url", ""), known.get("group"), known.get("location"), known.get("source"))


def archive_gallery(records: Records) -> int:
    """Id of the gallery, which is made if it is not there."""
    with records.write() as db:
        return records.ensure_gallery(db, records.ensure_tenant(db, TENANT), KIND, NAME)


@dataclass(frozen=True, slots=True)
class FoundFace:
    """A face of the index as results show it. id: its place in the index; thumbnail: webp, if it can be read."""

    id: int
    face: ArchivedFace
    thumbnail: bytes | None


class FaceArchive:
    """Reading the index's records, for what a search answers besides names and distances. Thread-safe."""

    def __init__(self, records: Records, blobs: BlobStore) -> None:
        self._records, self._blobs = records, blobs
        self._counted: tuple[float, int] | None = None
        self.gallery = archive_gallery(records)

    def count(self) -> int:
        """How many faces there are, at most some seconds ago."""
        if self._counted is None or time.monotonic() - self._counted[0] > _COUNTED_SECONDS:
            query = sa.select(sa.func.count()).where(_faces.c.gallery_id == self.gallery)
            with self._records.read() as db:
                self._counted = time.monotonic(), int(db.execute(query).scalar_one())
        return self._counted[1]

    def embeddings(self, image_ids: Sequence[UUID]) -> dict[UUID, Float32]:
        """Unit embeddings ``(D,)`` of the faces with these ids; one that has been deleted meanwhile is left out."""
        query = sa.select(_faces.c.image_id, _faces.c.embedding).where(_faces.c.image_id.in_(image_ids))
        with self._records.read() as db:
            rows = db.execute(query).all()
        return {row.image_id: np.frombuffer(row.embedding, "<f4").astype(np.float32) for row in rows}

    def find(self, image_ids: Iterable[UUID]) -> dict[UUID, FoundFace]:
        """The faces with these ids; one that has been deleted meanwhile is left out."""
        query = sa.select(_faces.c.id, _faces.c.image_id, _faces.c.extra, _faces.c.blob)
        with self._records.read() as db:
            rows = db.execute(query.where(_faces.c.image_id.in_(list(image_ids)))).all()
        return {
            row.image_id: FoundFace(row.id, ArchivedFace.from_json(row.extra), self._thumbnail(row.blob))
            for row in rows
        }

    def _thumbnail(self, sha256: str | None) -> bytes | None:
        try:
            return self._blobs.read(sha256) if sha256 else None
        except (BlobMissing, BlobCorrupt):
            return None
