"""Collections of enrollments, and the classifiers that tell their members apart.

A collection counts its changes (`revision`). A classifier is an immutable blob; the collection's row points at
the one in service and says which revision, embedder and strangers it was trained with. Training is due
whenever these differ from what there is now, whoever changed it and whatever crashed in between. A trainer
claims a collection for a while and publishes its blob by moving the pointer in one transaction: nobody ever
sees half a classifier, and every replica that reads the row serves the same one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import numpy as np
import sqlalchemy as sa

from prosopon.deployments.state import schema
from prosopon.deployments.state.blobs import Blob, BlobStore
from prosopon.deployments.state.database import Records, chunks, now
from prosopon.deployments.state.errors import (
    CollectionEmpty,
    CollectionNotFound,
    CollectionUntrained,
    EnrollmentNotFound,
)
from prosopon.deployments.state.jobs.jobs import JobKind, Jobs
from prosopon.models.faces.detections import Float32

CLAIM_SECONDS = 20.0
"""A trainer that died is replaced after so long."""

_collections, _members = schema.collections, schema.collection_members
_enrollments, _faces, _subjects = schema.enrollments, schema.faces, schema.subjects
_CLASSIFIER_TYPE = "application/x-npz"


@dataclass(frozen=True, slots=True)
class Collection:
    """members: ids of the enrollments, in the order in which they joined. classifier: SHA-256 of its blob."""

    id: UUID
    name: str
    unknowns: bool
    created: datetime
    updated: datetime
    members: tuple[UUID, ...]
    classifier: str | None


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """What a classifier of a collection is trained with. labels: of each row of embeddings ``(N, D)``; none where no
    member has a face of this embedder."""

    collection: UUID
    revision: int
    unknowns: bool
    labels: tuple[UUID, ...]
    embeddings: Float32


def _training_set(fingerprint: str, db: sa.Connection, row: sa.Row[Any]) -> TrainingSet:
    members = (
        sa.select(_members.c.enrollment_id)
        .where(_members.c.collection_id == row.id)
        .order_by(_members.c.added, _members.c.enrollment_id)
    )
    order = {str(member): place for place, member in enumerate(db.execute(members).scalars())}
    # A subject's name is text and an enrollment's id is not: they are joined here, not in SQL.
    faces = (
        sa.select(_subjects.c.name, _faces.c.embedding)
        .join(_faces, _faces.c.subject_id == _subjects.c.id)
        .where(_subjects.c.gallery_id == row.gallery_id, _faces.c.fingerprint == fingerprint)
        .order_by(_faces.c.id)
    )
    names = list(order)
    found = [
        (face.name, face.embedding)
        for part in chunks(names)
        for face in db.execute(faces.where(_subjects.c.name.in_(part)))
    ]
    found.sort(key=lambda face: order[face[0]])
    labels = tuple(UUID(name) for name, _ in found)
    vectors = [np.frombuffer(data, "<f4") for _, data in found]
    embeddings = np.stack(vectors).astype(np.float32) if found else np.empty((0, 0), np.float32)
    return TrainingSet(row.id, row.revision, row.unknowns, labels, embeddings)


TRAINING = JobKind(
    name="training",
    table=_collections,
    payload=partial(_training_set, ""),
    length=timedelta(seconds=CLAIM_SECONDS),
    until="claimed",
    output="classifier",
)


class CollectionStore:
    """The collections of every tenant, each in its tenant's gallery. Thread-safe; any number may be open.

    Methods raise CollectionNotFound for what the gallery does not have.
    """

    def __init__(self, records: Records, blobs: BlobStore) -> None:
        self._records, self._blobs = records, blobs

    def create(self, gallery: int, collection: UUID, name: str, unknowns: bool) -> None:
        """collection: an id of the caller's, so that a repeated call makes no second one."""
        time = now()
        row = {
            "id": collection,
            "gallery_id": gallery,
            "name": name,
            "unknowns": unknowns,
            "created": time,
            "updated": time,
            "claimed": time,
            "revision": 0,
        }
        with self._records.write() as db:
            self._records.insert_missing(db, _collections, [row])

    def add(self, gallery: int, collection: UUID, enrollment: UUID) -> None:
        """Make an enrollment a member; one that is a member already stays one. Raises EnrollmentNotFound."""
        with self._records.write() as db:
            require_collection(db, gallery, collection)
            known = sa.select(_enrollments.c.id).where(
                _enrollments.c.id == enrollment, _enrollments.c.gallery_id == gallery
            )
            if db.execute(known.with_for_update()).first() is None:
                raise EnrollmentNotFound(str(enrollment))
            row = {"collection_id": collection, "enrollment_id": enrollment, "added": now()}
            self._records.insert_missing(db, _members, [row])
            _touch(db, _collections.c.id == collection)

    def delete(self, gallery: int, collection: UUID) -> None:
        """The classifier goes with it, the enrollments stay."""
        with self._records.write() as db:
            require_collection(db, gallery, collection)
            db.execute(sa.delete(_members).where(_members.c.collection_id == collection))
            gone = sa.delete(_collections).where(_collections.c.id == collection)
            classifier = db.execute(gone.returning(_collections.c.classifier)).scalar_one()
            unreferenced = self._blobs.release(db, [classifier] if classifier else [])
        self._blobs.sweep(unreferenced)

    def list(self, gallery: int) -> list[Collection]:
        """All of them, the oldest first."""
        members: dict[UUID, list[UUID]] = {}
        with self._records.read() as db:
            rows = db.execute(
                sa.select(_collections)
                .where(_collections.c.gallery_id == gallery)
                .order_by(_collections.c.created, _collections.c.id)
            ).all()
            joined = (
                sa.select(_members.c.collection_id, _members.c.enrollment_id)
                .join(_collections, _collections.c.id == _members.c.collection_id)
                .where(_collections.c.gallery_id == gallery)
                .order_by(_members.c.added, _members.c.enrollment_id)
            )
            for collection, enrollment in db.execute(joined):
                members.setdefault(collection, []).append(enrollment)
        return [
            Collection(
                row.id,
                row.name,
                row.unknowns,
                row.created,
                row.updated,
                tuple(members.get(row.id, ())),
                row.classifier,
            )
            for row in rows
        ]

    def request_training(self, gallery: int, collection: UUID) -> None:
        """Have the classifier trained anew, changed or not. Raises CollectionEmpty."""
        with self._records.write() as db:
            require_collection(db, gallery, collection)
            members = sa.select(_members.c.enrollment_id).where(_members.c.collection_id == collection)
            if db.execute(members.limit(1)).first() is None:
                raise CollectionEmpty(str(collection))
            db.execute(
                sa.update(_collections)
                .where(_collections.c.id == collection)
                .values(revision=_collections.c.revision + 1)
            )

    # Identification

    def classifier(self, gallery: int, collection: UUID, fingerprint: str) -> str:
        """SHA-256 of the classifier in service. Raises CollectionUntrained where none fits the embedder."""
        with self._records.read() as db:
            row = db.execute(
                sa.select(_collections.c.classifier, _collections.c.fingerprint).where(
                    _collections.c.id == collection, _collections.c.gallery_id == gallery
                )
            ).first()
        if row is None:
            raise CollectionNotFound(str(collection))
        if row.classifier is None or row.fingerprint != fingerprint:
            raise CollectionUntrained(str(collection))
        return str(row.classifier)

    def read_classifier(self, sha256: str) -> bytes:
        """Raises BlobMissing where it has been replaced meanwhile, and BlobCorrupt."""
        return self._blobs.read(sha256)

    def names(self, collection: UUID, enrollments: Sequence[UUID]) -> dict[UUID, str | None]:
        """Names of those enrollments that are members now."""
        query = (
            sa.select(_enrollments.c.id, _enrollments.c.name)
            .join(_members, _members.c.enrollment_id == _enrollments.c.id)
            .where(_members.c.collection_id == collection, _enrollments.c.id.in_(enrollments))
        )
        with self._records.read() as db:
            return {row.id: row.name for row in db.execute(query)}

    # Training

    def lacks_strangers(self) -> bool:
        """Whether a collection with unknowns was trained without strangers."""
        table = _collections
        lacking = sa.select(table.c.id).where(
            table.c.unknowns, table.c.classifier.is_not(None), table.c.cohort.is_(None)
        )
        with self._records.read() as db:
            return db.execute(lacking.limit(1)).first() is not None

    def claim(self, fingerprint: str, cohort: str | None) -> TrainingSet | None:
        """A collection whose classifier is due, for this caller alone for a while; None if none is.

        fingerprint: of the embedder in service; cohort: of the strangers that there are. A collection that
        has lost its last member loses its classifier.
        """
        table = _collections
        outdated = sa.or_(
            table.c.trained_revision.is_(None),
            table.c.trained_revision != table.c.revision,
            table.c.fingerprint != fingerprint,
        )
        if cohort is not None:
            other = sa.or_(table.c.cohort.is_(None), table.c.cohort != cohort)
            outdated = sa.or_(outdated, sa.and_(table.c.unknowns, table.c.trained_revision >= 0, other))
        due = sa.and_(outdated, table.c.revision > 0)
        kind = replace(
            TRAINING, payload=partial(_training_set, fingerprint), length=timedelta(seconds=CLAIM_SECONDS)
        )
        jobs = Jobs(kind, self._records, self._blobs)
        while True:
            with self._records.read() as db:  # so that an idle trainer does not take SQLite's lock
                if db.execute(sa.select(table.c.id).where(due, jobs.free()).limit(1)).first() is None:
                    return None
            with self._records.write() as db:
                taken = jobs.take(db, due, most=1)
            if not taken:
                return None
            (training,) = taken
            if training.labels:
                return training
            self.publish(training, None, fingerprint, cohort)

    def publish(
        self, trained: TrainingSet, classifier: bytes | None, fingerprint: str, cohort: str | None
    ) -> bool:
        """Put a classifier into service, or None; False where the collection is gone or has a newer one.

        Whose lease was lost may publish as well: of the same revision either may serve.
        """
        table = _collections
        images = [Blob(classifier, _CLASSIFIER_TYPE)] if classifier is not None else []
        blobs = {blob.sha256: blob for blob in images}
        self._blobs.stage(blobs)
        unreferenced = list(blobs)
        with self._records.write() as db:
            row = db.execute(
                sa.select(table.c.classifier, table.c.trained_revision, table.c.fingerprint)
                .where(table.c.id == trained.collection)
                .with_for_update()
            ).first()
            newer = (
                row is not None
                and row.fingerprint == fingerprint
                and row.trained_revision is not None
                and row.trained_revision > trained.revision
            )
            if row is not None and not newer:
                self._blobs.reference(db, dict.fromkeys(blobs, 1), blobs)
                db.execute(
                    sa.update(table)
                    .where(table.c.id == trained.collection)
                    .values(
                        classifier=next(iter(blobs), None),
                        trained_revision=trained.revision,
                        fingerprint=fingerprint,
                        cohort=cohort,
                        claimed=now(),
                        claimant=None,
                    )
                )
                unreferenced += self._blobs.release(db, [row.classifier] if row.classifier else [])
        self._blobs.sweep(unreferenced)
        return row is not None and not newer


def require_collection(db: sa.Connection, gallery: int, collection: UUID) -> None:
    """Raises CollectionNotFound. The row is locked, so that it stays while the transaction lasts."""
    known = sa.select(_collections.c.id).where(
        _collections.c.id == collection, _collections.c.gallery_id == gallery
    )
    if db.execute(known.with_for_update()).first() is None:
        raise CollectionNotFound(str(collection))


def touch_collections(db: sa.Connection, enrollment: UUID) -> None:
    """Every collection of an enrollment has changed."""
    member_of = sa.select(_members.c.collection_id).where(_members.c.enrollment_id == enrollment)
    _touch(db, _collections.c.id.in_(member_of))


def _touch(db: sa.Connection, which: sa.ColumnElement[bool]) -> None:
    db.execute(
        sa.update(_collections).where(which).values(revision=_collections.c.revision + 1, updated=now())
    )
