"""What is read of galleries, from the records and the blobs alone."""

from uuid import UUID

import numpy as np
import sqlalchemy as sa

from prosopon.deployments.state import schema
from prosopon.deployments.state.blobs import Blob
from prosopon.deployments.state.errors import FingerprintMismatch
from prosopon.deployments.state.galleries.face_records import LARGEST_OFFSET, FaceRecords, face_rows, row_of
from prosopon.deployments.state.galleries.faces import FacePage, FaceRecord
from prosopon.models.faces.detections import Float32

_faces, _subjects = schema.faces, schema.subjects


class GalleryReader:
    """The galleries of one embedding model, read. Every method raises GalleryNotFound for an unknown gallery."""

    def __init__(self, faces: FaceRecords) -> None:
        self._db, self.records, self.blobs = faces, faces.records, faces.blobs
        self.fingerprint, self.dim = faces.fingerprint, faces.dim

    def list_faces(self, gallery: int, page: int = 0, size: int = 20, subject: str | None = None) -> FacePage:
        """One page of the faces, oldest first; a subject that does not exist has none. page from 0, size
        from 1."""
        if page < 0 or size < 1:
            raise ValueError(f"page {page} of {size} faces")
        with self.records.read() as db:
            self._db.require(db, gallery)
            condition = _faces.c.gallery_id == gallery
            if subject is not None:
                found = self._db.subjects.find(db, gallery, subject)
                if found is None:
                    return FacePage([], page, size, 0)
                condition = _faces.c.subject_id == found
            total = db.execute(sa.select(sa.func.count()).select_from(_faces).where(condition)).scalar_one()
            offset = min(page * size, LARGEST_OFFSET)
            query = face_rows().where(condition).order_by(_faces.c.id).limit(min(size, total)).offset(offset)
            rows = [row_of(row).record for row in db.execute(query)] if offset < total else []
        return FacePage(rows, page, size, total)

    def face(self, gallery: int, image_id: UUID) -> FaceRecord | None:
        """The face with this image id."""
        with self.records.read() as db:
            self._db.require(db, gallery)
            row = self._db.find(db, [image_id]).get(image_id)
        return row.record if row and row.record.gallery == gallery else None

    def embedding(self, gallery: int, image_id: UUID) -> Float32 | None:
        """``(D,)`` float32, unit norm, of the face with this image id. Raises FingerprintMismatch."""
        with self.records.read() as db:
            self._db.require(db, gallery)
            row = db.execute(
                sa.select(_faces.c.embedding, _faces.c.fingerprint).where(
                    _faces.c.image_id == image_id, _faces.c.gallery_id == gallery
                )
            ).first()
        if row is None:
            return None
        if row.fingerprint != self.fingerprint:
            raise FingerprintMismatch(gallery, row.fingerprint, self.fingerprint)
        return np.frombuffer(row.embedding, "<f4").astype(np.float32)

    def image(self, gallery: int, image_id: UUID) -> Blob | None:
        """The stored image of this id; None if the id is unknown or no image was kept. Raises BlobCorrupt."""
        with self.records.read() as db:
            self._db.require(db, gallery)
            row = db.execute(
                sa.select(schema.blobs.c.sha256, schema.blobs.c.media_type)
                .join(_faces, _faces.c.blob == schema.blobs.c.sha256)
                .where(_faces.c.image_id == image_id, _faces.c.gallery_id == gallery)
            ).first()
        return Blob(self.blobs.read(row.sha256), row.media_type) if row else None

    def subjects(self, gallery: int) -> list[str]:
        """Names of all subjects, oldest first."""
        with self.records.read() as db:
            self._db.require(db, gallery)
            names = sa.select(_subjects.c.name).where(_subjects.c.gallery_id == gallery)
            return list(db.execute(names.order_by(_subjects.c.id)).scalars())
