"""Galleries: the faces of one key or collection, enrolled, listed, renamed, deleted and searched.

`GalleryStore` keeps records, blobs and vectors in agreement. A write goes: blobs are staged, one
transaction commits the records (from here on the write is acknowledged whatever happens), the in-memory
view follows, so that a client reads its own writes, and last the vector index. Whatever a crash leaves
undone after the commit is repaired from the records when the store is opened again.

Writes of one batch share their transactions: the fsync that makes a write durable is paid once a batch.
"""

import logging
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from prosopon.configs.settings import StateSettings
from prosopon.deployments.state import schema
from prosopon.deployments.state.blobs import Blob, BlobStore
from prosopon.deployments.state.database import Records, now
from prosopon.deployments.state.errors import (
    FingerprintMismatch,
    GalleryNotFound,
    ImageIdTaken,
    IndexUnavailable,
    InvalidEmbedding,
    StateError,
    SubjectExists,
    SubjectNotFound,
)
from prosopon.deployments.state.galleries.faces import (
    DeletedSubject,
    FacePage,
    FaceRecord,
    Match,
    NewFace,
    Query,
)
from prosopon.deployments.state.galleries.names import PEOPLE, check_new, folded, unstorable
from prosopon.deployments.state.vectors.index import MAX_RESULTS, Ids, IndexWriter, ServerIndex, open_index
from prosopon.deployments.state.vectors.memory import GalleryView
from prosopon.models.faces.detections import Float32
from prosopon.models.matching.vectors import normalize

__all__ = ["FacePage", "FaceRecord", "GalleryStore", "Match", "NewFace", "Query"]

logger = logging.getLogger(__name__)
_faces, _subjects, _galleries = schema.faces, schema.subjects, schema.galleries
# Asked for by every search: to build the statement would take longer than to run it.
_FINGERPRINTS = sa.select(_galleries.c.id, _galleries.c.fingerprint).where(
    _galleries.c.id.in_(sa.bindparam("galleries", expanding=True))
)
_LOCKED_FINGERPRINTS = _FINGERPRINTS.order_by(_galleries.c.id).with_for_update()
_IN_LIST = 5_000
"""Values in one IN list: SQLite and PostgreSQL allow about 32,000 parameters."""
_LOAD = 50_000
_INDEX_SECONDS = 10
"""How long a write waits for a Milvus server, which is what searches: the record is committed already."""
_LARGEST_OFFSET = 2**62


@dataclass(frozen=True, slots=True)
class Repair:
    """What opening a store found. faces: with the embedder in service; added, removed: in the vector
    index."""

    faces: int
    added: int
    removed: int


@dataclass(frozen=True, slots=True)
class _Row:
    """A face as the records have it."""

    record: FaceRecord
    subject_id: int
    blob: str | None


class GalleryStore:
    """All galleries, for one embedding model.

    With a Milvus Lite file one process may hold a store at a time; with a Milvus server any number.
    Thread-safe. fingerprint and dim are the embedder's. Every method raises GalleryNotFound for an unknown
    gallery.
    """

    def __init__(self, settings: StateSettings, fingerprint: str, dim: int) -> None:
        self.fingerprint, self.dim = fingerprint, dim
        self.records = Records(settings.database)
        self.blobs = BlobStore(self.records, settings.blobs)
        self._index = open_index(settings, fingerprint, dim)
        self._server = self._index if isinstance(self._index, ServerIndex) else None
        self._views: dict[int, GalleryView] = {}
        self._usable: set[int] = set()
        self._people: dict[int, bool] = {}
        self._writing = threading.Lock()
        self._writer = IndexWriter(self._index)
        self.blobs.sweep()
        self._repaired: Future[Repair] = Future()
        self._open()

    def close(self) -> None:
        """Write what the vector index still lacks, and release files and connections."""
        self._writer.close()
        self._index.close()
        self.blobs.close()
        self.records.close()

    @property
    def repaired(self) -> Repair:
        """What was found when the store was opened; waits until it is known."""
        return self._repaired.result()

    @property
    def view_bytes(self) -> int:
        """Memory reserved for the embeddings that searches read; 0 where a Milvus server searches."""
        return sum(view.nbytes for view in self._views.values())

    # Faces

    def add_faces(self, faces: Sequence[NewFace]) -> list[FaceRecord | StateError]:
        """Enrol faces; each gets its record or the error that kept it out, in the order given.

        Creates subjects that are not there. A face whose image id is enrolled already in the same gallery
        gives the record that is there, and nothing changes.

        Errors: InvalidEmbedding, InvalidSubject, GalleryNotFound, FingerprintMismatch, ImageIdTaken.
        """
        results: dict[int, FaceRecord | StateError] = {}
        valid: dict[int, tuple[NewFace, Float32]] = {}
        for position, face in enumerate(faces):
            try:
                check_new(face.subject)
                valid[position] = face, self._unit(face.embedding)
            except StateError as error:
                results[position] = error
        if not valid:
            return [results[position] for position in range(len(faces))]
        self._require_index()
        images = {face.image.sha256: face.image for face, _ in valid.values() if face.image}
        self.blobs.stage(images)
        kept: set[str] = set()
        with self._writing:
            with self.records.write() as db:
                locked = self._lock_galleries(db, {face.gallery for face, _ in valid.values()})
                for position in list(valid):
                    if refusal := self._refused(db, valid[position][0].gallery, locked):
                        results[position] = refusal
                        del valid[position]
                added = self._insert(db, list(valid.values()), images, kept)
                enrolled = self._find(db, [face.image_id for face, _ in valid.values()])
            self._follow_added(added, enrolled)
        for position, (face, _) in valid.items():
            record = enrolled[face.image_id].record
            results[position] = record if record.gallery == face.gallery else ImageIdTaken(face.image_id)
        self.blobs.sweep(sorted(set(images) - kept))
        return [results[position] for position in range(len(faces))]

    def add_together(
        self,
        gallery: int,
        faces: Sequence[NewFace],
        also: Callable[[sa.Connection], Iterable[UUID] | None] | None = None,
    ) -> int:
        """Enrol all of these faces of one gallery or none, in one transaction with what `also` writes before
        them, and without the faces whose image ids it returns. Returns how many faces are new.

        A repeated call with the same image ids adds nothing. Raises what `add_faces` returns, and what `also`
        raises; nothing has happened then.
        """
        for face in faces:
            if face.gallery != gallery:
                raise ValueError(f"a face of gallery {face.gallery} among those of {gallery}")
            check_new(face.subject)
        units = list(zip(faces, self._units([face.embedding for face in faces]), strict=True))
        self._require_index()
        images = {face.image.sha256: face.image for face in faces if face.image}
        self.blobs.stage(images)
        kept: set[str] = set()
        unreferenced: list[str] = []
        try:
            with self._writing:
                with self.records.write() as db:
                    locked = self._lock_galleries(db, {gallery}, required=True)
                    if refusal := self._refused(db, gallery, locked):
                        raise refusal
                    replaced = list(also(db) or ()) if also is not None else []
                    removed = [
                        row for row in self._find(db, replaced).values() if row.record.gallery == gallery
                    ]
                    _, unreferenced = self._delete_rows(db, removed)
                    added = self._insert(db, units, images, kept)
                    enrolled = self._find(db, [face.image_id for face in faces])
                    for face in faces:
                        if enrolled[face.image_id].record.gallery != gallery:
                            raise ImageIdTaken(face.image_id)
                self._follow_deleted(gallery, removed)
                self._follow_added(added, enrolled)
        except BaseException:
            kept.clear()
            raise
        finally:
            self.blobs.sweep(sorted({*unreferenced, *images} - kept))
        return len(added)

    def search(self, queries: Sequence[Query]) -> list[list[Match] | StateError]:
        """The nearest subjects or faces of each query, nearest first; an empty gallery gives none.

        Errors: InvalidEmbedding, GalleryNotFound, FingerprintMismatch.
        """
        results: dict[int, list[Match] | StateError] = {}
        groups: dict[tuple[int, str, int], list[tuple[int, Float32]]] = defaultdict(list)
        refusals = self._refusals({query.gallery for query in queries})
        for position, query in enumerate(queries):
            try:
                if refusal := refusals.get(query.gallery):
                    raise refusal
                group = query.gallery, query.by, max(0, query.first)
                groups[group].append((position, self._unit(query.embedding)))
            except StateError as error:
                results[position] = error
        for (gallery, by, first), members in groups.items():
            positions = [position for position, _ in members]
            probes = np.stack([embedding for _, embedding in members])
            limit = max(queries[position].limit for position in positions)
            search = self._search_server if self._server else self._search_view
            for position, matches in zip(positions, search(gallery, by, probes, limit, first), strict=True):
                results[position] = matches[: max(0, queries[position].limit)]
        return [results[position] for position in range(len(queries))]

    def list_faces(self, gallery: int, page: int = 0, size: int = 20, subject: str | None = None) -> FacePage:
        """One page of the faces, oldest first; a subject that does not exist has none. page from 0, size
        from 1."""
        if page < 0 or size < 1:
            raise ValueError(f"page {page} of {size} faces")
        with self.records.read() as db:
            self._require(db, gallery)
            condition = _faces.c.gallery_id == gallery
            if subject is not None:
                found = self._subject(db, gallery, subject)
                if found is None:
                    return FacePage([], page, size, 0)
                condition = _faces.c.subject_id == found
            total = db.execute(sa.select(sa.func.count()).select_from(_faces).where(condition)).scalar_one()
            offset = min(page * size, _LARGEST_OFFSET)
            query = _face_rows().where(condition).order_by(_faces.c.id).limit(min(size, total)).offset(offset)
            rows = [_row(row).record for row in db.execute(query)] if offset < total else []
        return FacePage(rows, page, size, total)

    def face(self, gallery: int, image_id: UUID) -> FaceRecord | None:
        """The face with this image id."""
        with self.records.read() as db:
            self._require(db, gallery)
            row = self._find(db, [image_id]).get(image_id)
        return row.record if row and row.record.gallery == gallery else None

    def embedding(self, gallery: int, image_id: UUID) -> Float32 | None:
        """``(D,)`` float32, unit norm, of the face with this image id. Raises FingerprintMismatch."""
        with self.records.read() as db:
            self._require(db, gallery)
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
            self._require(db, gallery)
            row = db.execute(
                sa.select(schema.blobs.c.sha256, schema.blobs.c.media_type)
                .join(_faces, _faces.c.blob == schema.blobs.c.sha256)
                .where(_faces.c.image_id == image_id, _faces.c.gallery_id == gallery)
            ).first()
        return Blob(self.blobs.read(row.sha256), row.media_type) if row else None

    def delete_faces(self, gallery: int, image_ids: Sequence[UUID]) -> list[FaceRecord]:
        """Delete faces and their images; returns those that were there, in the order given, each once."""
        wanted = list(dict.fromkeys(image_ids))
        self._require_index()
        with self._writing:
            with self.records.write() as db:
                self._lock_galleries(db, {gallery}, required=True)
                rows = [row for row in self._find(db, wanted).values() if row.record.gallery == gallery]
                _, unreferenced = self._delete_rows(db, rows)
            self._follow_deleted(gallery, rows)
        self.blobs.sweep(unreferenced)
        found = {row.record.image_id: row.record for row in rows}
        return [found[image_id] for image_id in wanted if image_id in found]

    def delete_all_faces(self, gallery: int, subject: str | None = None) -> int:
        """Delete a subject with its faces, or all; returns how many faces. Subjects without faces go too."""
        self._require_index()
        with self._writing:
            with self.records.write() as db:
                self._lock_galleries(db, {gallery}, required=True)
                faces, subjects = _faces.c.gallery_id == gallery, _subjects.c.gallery_id == gallery
                if subject is not None:
                    found = self._subject(db, gallery, subject) or 0
                    faces, subjects = _faces.c.subject_id == found, _subjects.c.id == found
                rows = [_row(row) for row in db.execute(_face_rows().where(faces))]
                _, unreferenced = self._delete_rows(db, rows)
                db.execute(sa.delete(_subjects).where(subjects))
            self._follow_deleted(gallery, rows)
        self.blobs.sweep(unreferenced)
        return len(rows)

    # Subjects

    def subjects(self, gallery: int) -> list[str]:
        """Names of all subjects, oldest first."""
        with self.records.read() as db:
            self._require(db, gallery)
            names = (
                sa.select(_subjects.c.name).where(_subjects.c.gallery_id == gallery).order_by(_subjects.c.id)
            )
            return list(db.execute(names).scalars())

    def create_subject(self, gallery: int, name: str) -> None:
        """Raises SubjectExists and InvalidSubject."""
        check_new(name)
        with self._writing, self.records.write() as db:
            self._lock_galleries(db, {gallery}, required=True)
            if self._subject(db, gallery, name) is not None:
                raise SubjectExists(f"Subject {name} already exists")
            self.records.insert_missing(db, _subjects, [self._new_subject(db, gallery, name, explicit=True)])

    def rename_subject(self, gallery: int, name: str, new_name: str) -> bool:
        """Rename a subject; if the new name is another one's, its faces move there. False where the names are the same.

        Raises SubjectNotFound, InvalidSubject.
        """
        check_new(new_name)
        with self._writing:
            with self.records.write() as db:
                self._lock_galleries(db, {gallery}, required=True)
                source, target = self._subject(db, gallery, name), self._subject(db, gallery, new_name)
                if source is None:
                    raise SubjectNotFound(f"Subject {name} not found")
                if name == new_name:
                    return False
                if target in (None, source):
                    key = folded(new_name) if self._is_of_people(db, gallery) else None
                    renamed = sa.update(_subjects).where(_subjects.c.id == source)
                    db.execute(renamed.values(name=new_name, folded=key))
                else:
                    db.execute(
                        sa.update(_faces).where(_faces.c.subject_id == source).values(subject_id=target)
                    )
                    db.execute(sa.delete(_subjects).where(_subjects.c.id == source))
            if target is not None and source != target and gallery in self._views:
                self._views[gallery].move_subject(source, target)
        return True

    def delete_subject(
        self, gallery: int, name: str, also: Callable[[sa.Connection], None] | None = None
    ) -> DeletedSubject:
        """Delete a subject with its faces and images, in one transaction with what `also` writes before.

        Raises SubjectNotFound, and what `also` raises.
        """
        self._require_index()
        with self._writing:
            with self.records.write() as db:
                self._lock_galleries(db, {gallery}, required=True)
                if also is not None:
                    also(db)
                subject = self._subject(db, gallery, name)
                if subject is None:
                    raise SubjectNotFound(f"Subject {name} not found")
                rows = [_row(row) for row in db.execute(_face_rows().where(_faces.c.subject_id == subject))]
                stored = db.execute(sa.select(_subjects.c.name).where(_subjects.c.id == subject)).scalar_one()
                _, unreferenced = self._delete_rows(db, rows)
                db.execute(sa.delete(_subjects).where(_subjects.c.id == subject))
            self._follow_deleted(gallery, rows)
        self.blobs.sweep(unreferenced)
        return DeletedSubject(stored, len(rows))

    def delete_all_subjects(self, gallery: int) -> int:
        """Delete every subject with faces and images; returns the number of subjects."""
        self._require_index()
        with self._writing:
            with self.records.write() as db:
                self._lock_galleries(db, {gallery}, required=True)
                rows = [_row(row) for row in db.execute(_face_rows().where(_faces.c.gallery_id == gallery))]
                emptied, unreferenced = self._delete_rows(db, rows)
                rest = db.execute(sa.delete(_subjects).where(_subjects.c.gallery_id == gallery)).rowcount
            self._follow_deleted(gallery, rows)
        self.blobs.sweep(unreferenced)
        return emptied + rest

    def _require_index(self) -> None:
        """Refuse to write, before anything is changed, while the index is too far behind."""
        if not self._writer.has_room(_INDEX_SECONDS):
            raise IndexUnavailable("the vector index does not take changes")

    # Inside a transaction

    def _lock_galleries(
        self, db: sa.Connection, galleries: set[int], required: bool = False
    ) -> dict[int, str | None]:
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

    def _refused(self, db: sa.Connection, gallery: int, known: dict[int, str | None]) -> StateError | None:
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

    def _refusals(self, galleries: set[int]) -> dict[int, StateError | None]:
        """Why galleries cannot be searched: None, or no entry, for those that can.

        A gallery is never deleted, and beside the holder of a Milvus Lite file nobody writes faces: what was found
        usable then remains so, which spares a search the question. It would take longer than a small gallery.
        """
        asked = galleries - self._usable
        if not asked:
            return {}
        with self.records.read() as db:
            known = self._fingerprints(db, asked)
            refusals = {gallery: self._refused(db, gallery, known) for gallery in asked}
        if self._server is None:
            self._usable.update(gallery for gallery, refusal in refusals.items() if refusal is None)
        return refusals

    def _require(self, db: sa.Connection, gallery: int) -> None:
        if db.execute(sa.select(_galleries.c.id).where(_galleries.c.id == gallery)).first() is None:
            raise GalleryNotFound(f"no gallery {gallery}")

    def _subject(self, db: sa.Connection, gallery: int, name: str) -> int | None:
        return None if unstorable(name) else self._subject_ids(db, [(gallery, name)]).get((gallery, name))

    def _find(self, db: sa.Connection, image_ids: Iterable[UUID]) -> dict[UUID, _Row]:
        rows: dict[UUID, _Row] = {}
        for part in _chunks(list(image_ids)):
            for row in db.execute(_face_rows().where(_faces.c.image_id.in_(part))):
                rows[row.image_id] = _row(row)
        return rows

    def _enrolled(self, db: sa.Connection, image_ids: Sequence[UUID]) -> set[UUID]:
        """Which of the ids are there."""
        found: set[UUID] = set()
        for part in _chunks(image_ids):
            found.update(
                db.execute(sa.select(_faces.c.image_id).where(_faces.c.image_id.in_(part))).scalars()
            )
        return found

    def _insert(
        self,
        db: sa.Connection,
        faces: Sequence[tuple[NewFace, Float32]],
        images: dict[str, Blob],
        kept: set[str],
    ) -> dict[UUID, Float32]:
        """Insert the faces whose image id is new; their embeddings by image id. kept: hashes of blobs in
        use."""
        there = self._enrolled(db, [face.image_id for face, _ in faces])
        new: dict[UUID, tuple[NewFace, Float32]] = {}
        for face, embedding in faces:
            if face.image_id not in there:
                new.setdefault(face.image_id, (face, embedding))
        if not new:
            return {}
        time = now()
        names = list(dict.fromkeys((face.gallery, face.subject) for face, _ in new.values()))
        subjects = self._subject_ids(db, names)
        if missing := [name for name in names if name not in subjects]:
            first: dict[tuple[int, str], dict[str, Any]] = {}
            for row in (self._new_subject(db, gallery, name) for gallery, name in missing):
                first.setdefault((row["gallery_id"], row["folded"] or row["name"]), row)
            self.records.insert_missing(db, _subjects, list(first.values()))
            subjects |= self._subject_ids(db, missing)
        counts = Counter(face.image.sha256 for face, _ in new.values() if face.image)
        self.blobs.reference(db, counts, images)
        kept.update(counts)
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
        return {image_id: embedding for image_id, (_, embedding) in new.items()}

    def _subject_ids(self, db: sa.Connection, names: Sequence[tuple[int, str]]) -> dict[tuple[int, str], int]:
        """Those that are there. Of people's names that differ in case alone the same one, else the oldest."""
        by_gallery: dict[int, list[str]] = defaultdict(list)
        for gallery, name in names:
            by_gallery[gallery].append(name)
        found: dict[tuple[int, str], int] = {}
        columns = sa.select(_subjects.c.id, _subjects.c.name, _subjects.c.folded).order_by(_subjects.c.id)
        for gallery, wanted in by_gallery.items():
            people = self._is_of_people(db, gallery)
            column = _subjects.c.folded if people else _subjects.c.name
            for part in _chunks(wanted):
                keys = [folded(name) if people else name for name in part]
                rows = db.execute(columns.where(_subjects.c.gallery_id == gallery, column.in_(keys))).all()
                oldest = {row.folded if people else row.name: row.id for row in reversed(rows)}
                same = {row.name: row.id for row in rows}
                for name, key in zip(part, keys, strict=True):
                    if key in oldest:
                        found[gallery, name] = same.get(name, oldest[key])
        return found

    def _new_subject(
        self, db: sa.Connection, gallery: int, name: str, explicit: bool = False
    ) -> dict[str, Any]:
        key = folded(name) if self._is_of_people(db, gallery) else None
        return {"gallery_id": gallery, "name": name, "folded": key, "explicit": explicit, "created": now()}

    def _is_of_people(self, db: sa.Connection, gallery: int) -> bool:
        """A gallery stays what it is."""
        if gallery not in self._people:
            kind = sa.select(_galleries.c.kind).where(_galleries.c.id == gallery)
            self._people[gallery] = db.execute(kind).scalar_one() == PEOPLE
        return self._people[gallery]

    def _delete_rows(self, db: sa.Connection, rows: Sequence[_Row]) -> tuple[int, list[str]]:
        """Delete faces, and the subjects that have none left; how many subjects these are, and blobs to sweep."""
        for part in _chunks([row.record.id for row in rows]):
            db.execute(sa.delete(_faces).where(_faces.c.id.in_(part)))
        emptied = 0
        has_faces = sa.exists().where(_faces.c.subject_id == _subjects.c.id)
        for part in _chunks(sorted({row.subject_id for row in rows})):
            gone = sa.delete(_subjects).where(_subjects.c.id.in_(part), ~has_faces)
            emptied += db.execute(gone).rowcount
        return emptied, self.blobs.release(db, (row.blob for row in rows if row.blob))

    # After a transaction

    def _follow_added(self, added: dict[UUID, Float32], enrolled: dict[UUID, _Row]) -> None:
        if not added:
            return
        rows = [enrolled[image_id] for image_id in added]
        ids = np.array([row.record.id for row in rows], np.int64)
        galleries = np.array([row.record.gallery for row in rows], np.int64)
        subjects = np.array([row.subject_id for row in rows], np.int64)
        embeddings = np.stack(list(added.values()))
        if self._server is None:
            self._add_to_views(ids, galleries, subjects, embeddings)
        written = self._writer.upsert(ids, galleries, embeddings)
        if self._server is not None:
            written.wait(_INDEX_SECONDS)

    def _follow_deleted(self, gallery: int, rows: Sequence[_Row]) -> None:
        if not rows:
            return
        ids = np.array([row.record.id for row in rows], np.int64)
        if view := self._views.get(gallery):
            view.remove(ids)
        written = self._writer.delete(ids)
        if self._server is not None:
            written.wait(_INDEX_SECONDS)

    def _add_to_views(self, ids: Ids, galleries: Ids, subjects: Ids, embeddings: Float32) -> None:
        for gallery in np.unique(galleries).tolist():
            of_gallery = galleries == gallery
            view = self._views.get(gallery)
            if view is None:
                view = self._views[gallery] = GalleryView(self.dim)
            view.add(ids[of_gallery], subjects[of_gallery], embeddings[of_gallery])

    # Searching

    def _search_view(
        self, gallery: int, by: Literal["subject", "face"] | str, probes: Float32, limit: int, first: int
    ) -> list[list[Match]]:
        view = self._views.get(gallery)
        if view is None or limit < 1:
            return [[] for _ in probes]
        found = (view.nearest_subjects if by == "subject" else view.nearest_faces)(probes, limit, first)
        faces = self._resolve({hit.id for hits in found for hit in hits})
        return [
            _matches([(faces[hit.id], hit.distance) for hit in hits if hit.id in faces], by) for hits in found
        ]

    def _search_server(
        self, gallery: int, by: Literal["subject", "face"] | str, probes: Float32, limit: int, first: int
    ) -> list[list[Match]]:
        assert self._server is not None
        if limit < 1:
            return [[] for _ in probes]
        candidates = self._server.candidates * limit
        asked = min(candidates if by == "face" else max(64, 2 * candidates), MAX_RESULTS)
        last = self._last_of_first(gallery, first) if first else None
        while True:
            found = self._server.search(gallery, probes, asked, last)
            faces = self._resolve({i for ids in found for i in ids.tolist()}, embeddings=True)
            results = []
            for probe, ids in zip(probes, found, strict=True):
                near = [faces[i] for i in ids.tolist() if i in faces]
                distances = [float(np.linalg.norm(np.frombuffer(face[2], "<f4") - probe)) for face in near]
                ordered = sorted(zip(near, distances, strict=True), key=lambda pair: pair[1])
                results.append(_matches(ordered, by))
            lacking = any(
                len(matches) < limit and len(ids) == asked
                for matches, ids in zip(results, found, strict=True)
            )
            if not lacking or asked == MAX_RESULTS:
                return results
            asked = min(4 * asked, MAX_RESULTS)

    def _last_of_first(self, gallery: int, first: int) -> int | None:
        """The highest id of the gallery's so many first faces; None if it has no more than these."""
        ids = sa.select(_faces.c.id).where(_faces.c.gallery_id == gallery).order_by(_faces.c.id)
        with self.records.read() as db:
            last = db.execute(ids.limit(1).offset(min(first, _LARGEST_OFFSET) - 1)).scalar_one_or_none()
        return None if last is None else int(last)

    def _resolve(self, ids: set[int], embeddings: bool = False) -> dict[int, tuple[str, UUID, bytes]]:
        """Subject, image id and embedding of faces; one that has been deleted meanwhile is left out."""
        columns: list[Any] = [_faces.c.id, _subjects.c.name, _faces.c.image_id]
        columns.append(_faces.c.embedding if embeddings else sa.literal(b"").label("embedding"))
        query = sa.select(*columns).join(_subjects, _subjects.c.id == _faces.c.subject_id)
        found: dict[int, tuple[str, UUID, bytes]] = {}
        with self.records.read() as db:
            for part in _chunks(sorted(ids)):
                for row in db.execute(query.where(_faces.c.id.in_(part))):
                    found[row.id] = row.name, row.image_id, row.embedding
        return found

    # Opening

    def _open(self) -> None:
        """Make the index hold the faces that the records do, and no others.

        Where it is not what is searched, that is done beside everything else, by the thread that writes to
        it, before any later change.
        """
        if self._server is None:
            known = self._load_views()
            self._writer.run(lambda index: self._repair(index.ids(), known))
        else:
            # The index is listed first: what another replica writes meanwhile may then be written once more,
            # but never taken for something that the records do not know.
            indexed = self._server.ids()
            self._repair(indexed, self._known())

    def _repair(self, indexed: Ids, known: Ids) -> None:
        indexed = np.sort(indexed)
        missing, stale = known[~_among(known, indexed)], indexed[~_among(indexed, known)]
        for part in _chunks(missing.tolist()):
            self._index.upsert(*self._rows(part))
        if len(stale):
            self._index.delete(stale)
        repair = Repair(len(known), len(missing), len(stale))
        logger.info("the vector index is as the records: %s", repair)
        self._repaired.set_result(repair)

    def _known(self) -> Ids:
        """Ids, ascending, of all faces that the embedder in service made."""
        query = sa.select(_faces.c.id).where(_faces.c.fingerprint == self.fingerprint).order_by(_faces.c.id)
        with self.records.read() as db:
            parts = [np.array(part, np.int64)[:, 0] for part in self._parts(db, query)]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def _load_views(self) -> Ids:
        """As `_known`."""
        query = (
            sa.select(_faces.c.id, _faces.c.gallery_id, _faces.c.subject_id, _faces.c.embedding)
            .where(_faces.c.fingerprint == self.fingerprint)
            .order_by(_faces.c.id)
        )
        loaded = [np.empty(0, np.int64)]
        with self.records.read() as db:
            for part in self._parts(db, query):
                ids, galleries, subjects, embeddings = zip(*part, strict=True)
                loaded.append(np.array(ids, np.int64))
                vectors = np.frombuffer(b"".join(embeddings), "<f4").reshape(len(ids), self.dim)
                self._add_to_views(
                    loaded[-1], np.array(galleries, np.int64), np.array(subjects, np.int64), vectors
                )
        return np.concatenate(loaded)

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

    def _rows(self, ids: Sequence[int]) -> tuple[Ids, Ids, Float32]:
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

    def _units(self, embeddings: Sequence[Float32]) -> Sequence[Float32]:
        """As `_unit` of each."""
        if not embeddings or any(embedding.shape != (self.dim,) for embedding in embeddings):
            return [self._unit(embedding) for embedding in embeddings]
        vectors = np.stack(embeddings).astype(np.float32, copy=False)
        largest = np.abs(vectors).max(axis=1, keepdims=True)
        if not (np.isfinite(largest).all() and largest.all()):
            return [self._unit(embedding) for embedding in embeddings]
        return list(normalize(vectors / largest))

    def _unit(self, embedding: Float32) -> Float32:
        vector = np.asarray(embedding, np.float32)
        if vector.shape != (self.dim,):
            raise InvalidEmbedding(f"an embedding has {self.dim} numbers, not the shape {vector.shape}")
        if not np.isfinite(vector).all() or not vector.any():
            raise InvalidEmbedding("an embedding's numbers must be finite and not all zero")
        return normalize(vector / np.abs(vector).max())


def _face_rows() -> sa.Select[Any]:
    return sa.select(
        _faces.c.id,
        _faces.c.gallery_id,
        _subjects.c.name,
        _faces.c.image_id,
        _faces.c.subject_id,
        _faces.c.blob,
    ).join(_subjects, _subjects.c.id == _faces.c.subject_id)


def _row(row: Any) -> _Row:
    return _Row(FaceRecord(row.id, row.gallery_id, row.name, row.image_id), row.subject_id, row.blob)


def _among(ids: Ids, others: Ids) -> NDArray[np.bool_]:
    """Which of the ids are among the others, which are sorted."""
    if not len(others):
        return np.zeros(len(ids), np.bool_)
    found: NDArray[np.bool_] = others[np.minimum(np.searchsorted(others, ids), len(others) - 1)] == ids
    return found


def _matches(found: Sequence[tuple[tuple[str, UUID, bytes], float]], by: str) -> list[Match]:
    """found: nearest first. Each subject once, if by subject."""
    matches: list[Match] = []
    seen: set[str] = set()
    for (subject, image_id, _), distance in found:
        if by == "subject" and subject in seen:
            continue
        seen.add(subject)
        matches.append(Match(subject, image_id, distance))
    return matches


def _chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), _IN_LIST):
        yield values[start : start + _IN_LIST]
