"""Enrollments: people with their pictures, the profiles that a Trueface client matches against.

An enrollment's faces are those of a subject in its tenant's gallery of this kind, so that records, images and
vectors agree as they do for every gallery, and `prosopon reembed` covers them. The subject bears the
enrollment's id. Everything of one call is one transaction: all pictures are enrolled, or none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
import sqlalchemy as sa

from prosopon.deployments.state import schema
from prosopon.deployments.state.blobs import Blob
from prosopon.deployments.state.database import Records, now
from prosopon.deployments.state.errors import EnrollmentNotFound, FingerprintMismatch
from prosopon.deployments.state.galleries.collections import require_collection, touch_collections
from prosopon.deployments.state.galleries.faces import NewFace
from prosopon.deployments.state.galleries.store import GalleryStore
from prosopon.models.faces.detections import Float32

KIND = "trueface"
_NAME = "enrollments"
_enrollments, _faces, _subjects = schema.enrollments, schema.faces, schema.subjects
_members = schema.collection_members


@dataclass(frozen=True, slots=True)
class EnrolledPicture:
    """A picture of one person. image_id: chosen by the caller; embedding: ``(D,)`` float32 of any norm."""

    image_id: UUID
    embedding: Float32
    image: Blob


def gallery_of(records: Records, tenant: int) -> int:
    """Id of the gallery that has a tenant's enrollments and collections; it is made if it is not there."""
    table = schema.galleries
    named = sa.select(table.c.id).where(
        table.c.tenant_id == tenant, table.c.kind == KIND, table.c.name == _NAME
    )
    with records.read() as db:
        found = db.execute(named).scalar_one_or_none()
    if found is not None:
        return int(found)
    with records.write() as db:
        return records.ensure_gallery(db, tenant, KIND, _NAME)


class EnrollmentStore:
    """The enrollments of every tenant. Thread-safe. What another tenant owns is not found."""

    def __init__(self, galleries: GalleryStore) -> None:
        self._galleries = galleries
        self._records = galleries.records

    def enroll(
        self,
        tenant: int,
        enrollment: UUID,
        name: str | None,
        collection: UUID | None,
        pictures: Sequence[EnrolledPicture],
    ) -> None:
        """Enrol a person under an id that the caller chose, so that a repeated call enrols nobody twice.

        Raises CollectionNotFound, and what `GalleryStore.add_together` raises.
        """
        gallery = gallery_of(self._records, tenant)

        def record(db: sa.Connection) -> None:
            time = now()
            row = {"id": enrollment, "gallery_id": gallery, "name": name, "created": time}
            self._records.insert_missing(db, _enrollments, [row])
            if collection is not None:
                require_collection(db, gallery, collection)
                member = {"collection_id": collection, "enrollment_id": enrollment, "added": time}
                self._records.insert_missing(db, _members, [member])
                touch_collections(db, enrollment)

        self._galleries.add_together(gallery, _new_faces(gallery, enrollment, pictures), record)

    def add_pictures(self, tenant: int, enrollment: UUID, pictures: Sequence[EnrolledPicture]) -> None:
        """Raises EnrollmentNotFound, and what `GalleryStore.add_together` raises."""
        gallery = gallery_of(self._records, tenant)

        def record(db: sa.Connection) -> None:
            _require(db, gallery, enrollment)
            touch_collections(db, enrollment)

        self._galleries.add_together(gallery, _new_faces(gallery, enrollment, pictures), record)

    def delete(self, tenant: int, enrollment: UUID) -> None:
        """Delete a person: pictures, embeddings and the place in every collection.

        Raises EnrollmentNotFound.
        """
        gallery = gallery_of(self._records, tenant)

        def record(db: sa.Connection) -> None:
            _require(db, gallery, enrollment)
            touch_collections(db, enrollment)
            db.execute(sa.delete(_members).where(_members.c.enrollment_id == enrollment))
            db.execute(sa.delete(_enrollments).where(_enrollments.c.id == enrollment))

        self._galleries.delete_subject(gallery, str(enrollment), record)

    def embeddings(self, tenant: int, enrollment: UUID) -> Float32:
        """``(N, D)`` float32, unit norm, the oldest picture first.

        Raises EnrollmentNotFound and FingerprintMismatch.
        """
        gallery = gallery_of(self._records, tenant)
        query = (
            sa.select(_faces.c.embedding, _faces.c.fingerprint)
            .join(_subjects, _subjects.c.id == _faces.c.subject_id)
            .where(_subjects.c.gallery_id == gallery, _subjects.c.name == str(enrollment))
            .order_by(_faces.c.id)
        )
        with self._records.read() as db:
            _require(db, gallery, enrollment)
            rows = db.execute(query).all()
        serving = self._galleries.fingerprint
        for row in rows:
            if row.fingerprint != serving:
                raise FingerprintMismatch(gallery, row.fingerprint, serving)
        return np.stack([np.frombuffer(row.embedding, "<f4") for row in rows]).astype(np.float32)


def _new_faces(gallery: int, enrollment: UUID, pictures: Sequence[EnrolledPicture]) -> list[NewFace]:
    return [
        NewFace(gallery, str(enrollment), picture.image_id, picture.embedding, picture.image)
        for picture in pictures
    ]


def _require(db: sa.Connection, gallery: int, enrollment: UUID) -> None:
    known = sa.select(_enrollments.c.id).where(
        _enrollments.c.id == enrollment, _enrollments.c.gallery_id == gallery
    )
    if db.execute(known).first() is None:
        raise EnrollmentNotFound(str(enrollment))
