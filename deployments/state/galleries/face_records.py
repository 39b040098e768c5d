"""Faces in the records: what is written and read of them in a transaction, and nothing of how they are searched."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from prosopon.deployments.state import schema
from prosopon.deployments.state.blobs import Blob, BlobStore
from prosopon.deployments.state.database import IN_LIST, Records, chunks, now
from prosopon.deployments.state.errors import FingerprintMismatch, GalleryNotFound, StateError
from prosopon.deployments.state.galleries.faces import FaceRecord, NewFace
from prosopon.deployments.state.galleries.subject_records import SubjectRecords
from prosopon.models.faces.detections import Float32

Ids = NDArray[np.int64]
_faces, _subjects, _galleries = schema.faces, schema.subjects, schema.galleries
# Asked for by every search: to build the statement would take longer than to run it.
_FINGERPRINTS = sa.select(_galleries.c.id, _galleries.c.fingerprint).where(
    _galleries.c.id.in_(sa.bindparam("galleries", expanding=True))
)
_LOCKED_FINGERPRINTS = _FINGERPRINTS.order_by(_galleries.c.id).with_for_update()
_LOAD = 50_000
LARGEST_OFFSET = 2**62


@dataclass(frozen=True, slots=True)
class Added:
    """New faces: ids, galleries and subjects ``(N,)`` int64; embeddings ``(N, D)`` float32, unit norm."""

    ids: Ids
    galleries: Ids
    subjects: Ids
    embeddings: Float32


@dataclass(frozen=True, slots=True)
class Row:
    """A face as the records have it."""

    record: FaceRecord
    subject_id: int
    blob: str | None


@dataclass(frozen=True, slots=True)
class Deleted:
    """rows: faces; subjects: names of those that went with them; unreferenced: hashes of blobs to sweep."""

    rows: Sequence[Row] = ()
    subjects: Sequence[str] = ()
    unreferenced: Sequence[str] = ()


class FaceRecords:
    """The records of one embedding model's faces. one_writer: nobody else writes faces.

    AT_ONCE: ids in one question.
    """

    AT_ONCE = IN_LIST

    def __init__(
        self, records: Records, blobs: BlobStore, fingerprint: str, dim: int, one_writer: bool
    ) -> None:
        self.records, self.blobs, self.fingerprint, self.dim = records, blobs, fingerprint, dim
        self._one_writer = one_writer
        self.subjects = SubjectRecords(records)
        self._usable: set[int] = set()

    # ---------------------------------------------------------------------------------------- inside a transaction

    def lock(self, db: sa.Connection, galleries: set[int], required: bool = False) -> dict[int, str | None]:
        """Fingerprints of the galleries that exist; their rows are locked, which puts the writes of a
        gallery in line. Raises GalleryNotFound if one is required."""
        found = self._fingerprints(db, galleries, lock=True)
        if required and (missing := galleries - set(found)):
            raise GalleryNotFound(f"no gallery {min(missing)}")
        return found

    def _fingerprints(
        self, db: sa.Connection, galleries: set[int], lock: bool = False
    ) -> dict[int, str | None]:
        query = _LOCKED_FINGERPRINTS if lock else _FINGERPRINTS
        return {row.id: row.fingerprint for row in db.execute(query, {"galleries": list(galleries)})}

    def refused(self, db: sa.Connection, gallery: int, known: dict[int, str | None]) -> StateError | None:
        """Why the gallery cannot be used with the embedder in service. An empty gallery takes any."""
        if gallery not in known:
            return GalleryNotFound(f"no gallery {gallery}")
        stored = known[gallery]
        if stored is None or stored == self.fingerprint:
            return None
        foreign = sa.select(_faces.c.id).where(
            _faces.c.gallery_id == gallery, _faces.c.fingerprint != self.fingerprint
        )
        if db.execute(foreign.limit(1)).first() is None:
            return None
        return FingerprintMismatch(gallery, stored, self.fingerprint)

    def refusals(self, galleries: set[int]) -> dict[int, StateError | None]:
        """Why galleries cannot be searched: None, or no entry, for those that can.

        A gallery is never deleted, and beside the holder of a Milvus Lite file nobody writes faces: what was found
        usable then remains so, which spares a search the question. It would take longer than a small gallery.
        """
        asked = galleries - self._usable
        if not asked:
            return {}
        with self.records.read() as db:
            known = self._fingerprints(db, asked)
            refusals = {gallery: self.refused(db, gallery, known) for gallery in asked}
        if self._one_writer:
            self._usable.update(gallery for gallery, refusal in refusals.items() if refusal is None)
        return refusals

    def require(self, db: sa.Connection, gallery: int) -> None:
        if db.execute(sa.select(_galleries.c.id).where(_galleries.c.id == gallery)).first() is None:
            raise GalleryNotFound(f"no gallery {gallery}")

    def find(self, db: sa.Connection, image_ids: Iterable[UUID]) -> dict[UUID, Row]:
        rows: dict[UUID, Row] = {}
        for part in chunks(list(image_ids)):
            for row in db.execute(face_rows().where(_faces.c.image_id.in_(part))):
                rows[row.image_id] = row_of(row)
        return rows

    def _enrolled(self, db: sa.Connection, image_ids: Sequence[UUID]) -> set[UUID]:
        """Which of the ids are there."""
        found: set[UUID] = set()
        for part in chunks(image_ids):
            found.update(
                db.execute(sa.select(_faces.c.image_id).where(_faces.c.image_id.in_(part))).scalars()
            )
        return found

    def insert(
        self,
        db: sa.Connection,
        faces: Sequence[tuple[NewFace, Float32]],
        images: Mapping[str, Blob],
    ) -> tuple[dict[UUID, Float32], frozenset[str]]:
        """Insert the faces whose image id is new: their embeddings by image id, and the hashes of their images."""
        there = self._enrolled(db, [face.image_id for face, _ in faces])
        new: dict[UUID, tuple[NewFace, Float32]] = {}
        for face, embedding in faces:
            if face.image_id not in there:
                new.setdefault(face.image_id, (face, embedding))
        if not new:
            return {}, frozenset()
        time = now()
        subjects = self.subjects.ensure(
            db, list(dict.fromkeys((face.gallery, face.subject) for face, _ in new.values()))
        )
        counts = Counter(face.image.sha256 for face, _ in new.values() if face.image)
        self.blobs.reference(db, counts, images)
        rows = [
            {
                "image_id": image_id,
                "gallery_id": face.gallery,
                "subject_id": subjects[face.gallery, face.subject],
                "embedding": embedding.astype("<f4").tobytes(),
                "fingerprint": self.fingerprint,
                "blob": face.image.sha256 if face.image else None,
                "extra": dict(face.extra) if face.extra else None,
                "created": time,
            }
            for image_id, (face, embedding) in new.items()
        ]
        db.execute(sa.insert(_faces), rows)
        db.execute(
            sa.update(_galleries)
            .where(_galleries.c.id.in_({face.gallery for face, _ in new.values()}))
            .values(fingerprint=self.fingerprint)
        )
        return {image_id: embedding for image_id, (_, embedding) in new.items()}, frozenset(counts)

    def delete(self, db: sa.Connection, rows: Sequence[Row]) -> Deleted:
        """Delete faces, and the subjects that have none left."""
        for part in chunks([row.record.id for row in rows]):
            db.execute(sa.delete(_faces).where(_faces.c.id.in_(part)))
        emptied: list[str] = []
        has_faces = sa.exists().where(_faces.c.subject_id == _subjects.c.id)
        for part in chunks(sorted({row.subject_id for row in rows})):
            gone = sa.delete(_subjects).where(_subjects.c.id.in_(part), ~has_faces)
            emptied += db.execute(gone.returning(_subjects.c.name)).scalars()
        return Deleted(rows, emptied, self.blobs.release(db, (row.blob for row in rows if row.blob)))

    def clear(self, db: sa.Connection, gallery: int, subject: int | None = None) -> Deleted:
        """Delete a subject, or all of a gallery, with their faces; also those that have none."""
        faces, subjects = _faces.c.gallery_id == gallery, _subjects.c.gallery_id == gallery
        if subject is not None:
            faces, subjects = _faces.c.subject_id == subject, _subjects.c.id == subject
        deleted = self.delete(db, [row_of(row) for row in db.execute(face_rows().where(faces))])
        rest = db.execute(sa.delete(_subjects).where(subjects).returning(_subjects.c.name)).scalars()
        return Deleted(deleted.rows, [*deleted.subjects, *rest], deleted.unreferenced)

    def replace(self, db: sa.Connection, embeddings: Mapping[int, Float32]) -> Added | None:
        """Give those of the faces that another embedder saw these embeddings, by id; None where there are none."""
        foreign = sa.select(_faces.c.id, _faces.c.gallery_id, _faces.c.subject_id).where(
            _faces.c.id.in_(list(embeddings)), _faces.c.fingerprint != self.fingerprint
        )
        rows = db.execute(foreign).all()
        for row in rows:
            values = {
                "embedding": embeddings[row.id].astype("<f4").tobytes(),
                "fingerprint": self.fingerprint,
            }
            db.execute(sa.update(_faces).where(_faces.c.id == row.id).values(values))
        if not rows:
            return None
        ids, galleries, subjects = np.array(rows, np.int64).T
        return Added(ids, galleries, subjects, np.stack([embeddings[row.id] for row in rows]))

    # ------------------------------------------------------------------------------------------------- all of them

    def known(self) -> Ids:
        """Ids, ascending, of all faces that the embedder in service made."""
        query = sa.select(_faces.c.id).where(_faces.c.fingerprint == self.fingerprint).order_by(_faces.c.id)
        with self.records.read() as db:
            parts = [np.array(part, np.int64)[:, 0] for part in self._parts(db, query)]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def placed(self) -> Iterator[tuple[Ids, Ids, Ids]]:
        """As `known`, in parts: ids, galleries, subjects."""
        columns = sa.select(_faces.c.id, _faces.c.gallery_id, _faces.c.subject_id)
        query = columns.where(_faces.c.fingerprint == self.fingerprint).order_by(_faces.c.id)
        with self.records.read() as db:
            for part in self._parts(db, query):
                ids, galleries, subjects = np.array(part, np.int64).T
                yield ids, galleries, subjects

    def _parts(self, db: sa.Connection, query: sa.Select[Any]) -> Iterator[Sequence[Any]]:
        """Rows in parts, as plain tuples where the driver gives these: that takes a third of the time."""
        if self.records.is_sqlite:
            text = str(query.compile(db.engine, compile_kwargs={"literal_binds": True}))
            cursor: Any = db.connection.cursor()
            cursor.execute(text)
            while part := cursor.fetchmany(_LOAD):
                yield part
            cursor.close()
        else:
            rows = db.execution_options(stream_results=True, max_row_buffer=_LOAD).execute(query)
            yield from rows.partitions(_LOAD)

    def rows(self, ids: Sequence[int]) -> tuple[Ids, Ids, Float32]:
        """Ids, galleries and embeddings of those of the faces that are still there."""
        query = sa.select(_faces.c.id, _faces.c.gallery_id, _faces.c.embedding).where(_faces.c.id.in_(ids))
        with self.records.read() as db:
            rows = db.execute(query).all()
        vectors = np.frombuffer(b"".join(row.embedding for row in rows), "<f4").reshape(len(rows), self.dim)
        return (
            np.array([row.id for row in rows], np.int64),
            np.array([row.gallery_id for row in rows], np.int64),
            vectors,
        )

    # ------------------------------------------------------------------------------------------------ for searches

    def last_of_first(self, gallery: int, first: int) -> int | None:
        """The highest id of the gallery's so many first faces; None if it has no more than these."""
        ids = sa.select(_faces.c.id).where(_faces.c.gallery_id == gallery).order_by(_faces.c.id)
        with self.records.read() as db:
            last = db.execute(ids.limit(1).offset(min(first, LARGEST_OFFSET) - 1)).scalar_one_or_none()
        return None if last is None else int(last)

    def resolve(self, ids: set[int], embeddings: bool = False) -> dict[int, tuple[str, UUID, bytes]]:
        """Subject, image id and embedding of faces; one that has been deleted meanwhile is left out."""
        found: dict[int, tuple[str, UUID, bytes]] = {}
        with self.records.read() as db:
            for part in chunks(sorted(ids)):
                for id, *face in db.execute(_NAMED[embeddings], {"ids": part}):
                    found[id] = tuple(face)
        return found


def pictured(records: Records, gallery: int, sha256: str) -> str | None:
    """The subject of the gallery's oldest face whose kept picture has this hash."""
    query = (
        sa.select(_subjects.c.name)
        .join(_faces, _faces.c.subject_id == _subjects.c.id)
        .where(_faces.c.blob == sha256, _faces.c.gallery_id == gallery)
        .order_by(_faces.c.id)
        .limit(1)
    )
    with records.read() as db:
        found: str | None = db.execute(query).scalar_one_or_none()
    return found


def enrolled(records: Records, image_ids: Sequence[UUID]) -> dict[UUID, int]:
    """Galleries of those faces that there are."""
    found: dict[UUID, int] = {}
    with records.read() as db:
        for part in chunks(image_ids):
            query = sa.select(_faces.c.image_id, _faces.c.gallery_id).where(_faces.c.image_id.in_(part))
            found.update((row.image_id, row.gallery_id) for row in db.execute(query))
    return found


def _named(embeddings: bool) -> sa.Select[Any]:
    embedding = _faces.c.embedding if embeddings else sa.literal(b"").label("embedding")
    return (
        sa.select(_faces.c.id, _subjects.c.name, _faces.c.image_id, embedding)
        .join(_subjects, _subjects.c.id == _faces.c.subject_id)
        .where(_faces.c.id.in_(sa.bindparam("ids", expanding=True)))
    )


_NAMED = {embeddings: _named(embeddings) for embeddings in (False, True)}
"""Whose faces these are, with and without embeddings: every search asks, and to build a statement takes as long."""


def face_rows() -> sa.Select[Any]:
    return sa.select(
        _faces.c.id,
        _faces.c.gallery_id,
        _subjects.c.name,
        _faces.c.image_id,
        _faces.c.subject_id,
        _faces.c.blob,
    ).join(_subjects, _subjects.c.id == _faces.c.subject_id)


def row_of(row: Any) -> Row:
    return Row(FaceRecord(row.id, row.gallery_id, row.name, row.image_id), row.subject_id, row.blob)
