"""Galleries: the faces of one key or collection, enrolled, listed, renamed, deleted and searched.

`GalleryStore` keeps records, blobs and vectors in agreement, and this is the one order of a write (`_write`): blobs are
staged; one transaction commits the records (from here on the write is acknowledged whatever happens); the search
follows, so that a client reads its own writes; then the vector index; and blobs that nobody refers to are swept.
Whatever a crash leaves undone after the commit is repaired from the records when the store is opened again.

Writes of one batch share their transactions: the fsync that makes a write durable is paid once a batch.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from uuid import UUID

import numpy as np
import sqlalchemy as sa

from prosopon.configs.settings import StateSettings
from prosopon.deployments.state import schema
from prosopon.deployments.state.blobs import Blob, BlobStore
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.errors import (
    EmbedderNotInService,
    FingerprintMismatch,
    ImageIdTaken,
    IndexUnavailable,
    InvalidEmbedding,
    StateError,
    SubjectExists,
    SubjectNotFound,
)
from prosopon.deployments.state.galleries.face_records import (
    LARGEST_OFFSET,
    Added,
    FaceRecords,
    Ids,
    Row,
    face_rows,
    row_of,
)
from prosopon.deployments.state.galleries.faces import (
    DeletedSubject,
    FacePage,
    FaceRecord,
    Match,
    NewFace,
    Query,
)
from prosopon.deployments.state.galleries.memory_search import MemorySearch
from prosopon.deployments.state.galleries.milvus_search import MilvusSearch
from prosopon.deployments.state.galleries.names import check_new, folded
from prosopon.deployments.state.galleries.repair import Repair, repair
from prosopon.deployments.state.galleries.searching import By, Search
from prosopon.deployments.state.vectors.index import IndexWriter, LiteIndex, VectorIndex, open_index
from prosopon.models.faces.detections import Float32
from prosopon.models.matching.vectors import normalize

__all__ = ["FacePage", "FaceRecord", "GalleryStore", "Match", "NewFace", "Query", "Repair"]

_faces, _subjects, _galleries = schema.faces, schema.subjects, schema.galleries
_ROOM_SECONDS = 10
"""How long a write waits for an index that is too far behind to take more."""


@dataclass(slots=True)
class _Written:
    """What one transaction changed. added: embeddings of the new faces by image id; enrolled: rows of these; replaced:
    faces of which others were known; removed: faces, of one gallery; kept, unreferenced: hashes of blobs."""

    added: Mapping[UUID, Float32] = field(default_factory=dict)
    enrolled: Mapping[UUID, Row] = field(default_factory=dict)
    removed: Sequence[Row] = ()
    kept: set[str] = field(default_factory=set)
    unreferenced: Sequence[str] = ()
    replaced: Added | None = None

    def vectors(self) -> Added | None:
        """What the search has to learn."""
        if not self.added:
            return self.replaced
        rows = [self.enrolled[image_id] for image_id in self.added]
        return Added(
            np.array([row.record.id for row in rows], np.int64),
            np.array([row.record.gallery for row in rows], np.int64),
            np.array([row.subject_id for row in rows], np.int64),
            np.stack(list(self.added.values())),
        )


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
        local = isinstance(self._index, LiteIndex)
        self._db = FaceRecords(self.records, self.blobs, fingerprint, dim, one_writer=local)
        self._writing = threading.Lock()
        self._writer = IndexWriter(self._index)
        self.blobs.sweep()
        self._repaired: Future[Repair] = Future()
        self._search = self._opened()

    def _opened(self) -> Search:
        """The search, over an index that holds the faces that the records do, or soon will.

        A Milvus Lite file is repaired beside everything else, by the thread that writes to it, before any later change.
        """
        if isinstance(self._index, LiteIndex):
            memory = MemorySearch(self._db)
            known = memory.load(self._index)
            self._writer.run(lambda index: self._repair(index, index.ids(), known))
            return memory
        self._repair(self._index, self._index.ids(), self._db.known())
        return MilvusSearch(self._db, self._index)

    def _repair(self, index: VectorIndex, indexed: Ids, known: Ids) -> None:
        self._repaired.set_result(repair(index, indexed, known, self._db))

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
        return self._search.nbytes

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
        images = {face.image.sha256: face.image for face, _ in valid.values() if face.image}

        def write(db: sa.Connection) -> _Written:
            locked = self._db.lock(db, {face.gallery for face, _ in valid.values()})
            for position in list(valid):
                if refusal := self._db.refused(db, valid[position][0].gallery, locked):
                    results[position] = refusal
                    del valid[position]
            kept: set[str] = set()
            added = self._db.insert(db, list(valid.values()), images, kept)
            enrolled = self._db.find(db, [face.image_id for face, _ in valid.values()])
            return _Written(added, enrolled, kept=kept)

        enrolled = self._write(write, images).enrolled
        for position, (face, _) in valid.items():
            record = enrolled[face.image_id].record
            results[position] = record if record.gallery == face.gallery else ImageIdTaken(face.image_id)
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
        images = {face.image.sha256: face.image for face in faces if face.image}

        def write(db: sa.Connection) -> _Written:
            locked = self._db.lock(db, {gallery}, required=True)
            if refusal := self._db.refused(db, gallery, locked):
                raise refusal
            replaced = list(also(db) or ()) if also is not None else []
            removed = [row for row in self._db.find(db, replaced).values() if row.record.gallery == gallery]
            _, unreferenced = self._db.delete(db, removed)
            kept: set[str] = set()
            added = self._db.insert(db, units, images, kept)
            enrolled = self._db.find(db, [face.image_id for face in faces])
            for face in faces:
                if enrolled[face.image_id].record.gallery != gallery:
                    raise ImageIdTaken(face.image_id)
            return _Written(added, enrolled, removed, kept, unreferenced)

        return len(self._write(write, images).added)

    def search(self, queries: Sequence[Query]) -> list[list[Match] | StateError]:
        """The nearest subjects or faces of each query, nearest first; an empty gallery gives none.

        Errors: InvalidEmbedding, GalleryNotFound, FingerprintMismatch.
        """
        results: dict[int, list[Match] | StateError] = {}
        groups: dict[tuple[int, By, int], list[tuple[int, Float32]]] = defaultdict(list)
        refusals = self._db.refusals({query.gallery for query in queries})
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
            found = self._search.search(gallery, by, probes, limit, first)
            for position, matches in zip(positions, found, strict=True):
                results[position] = matches[: max(0, queries[position].limit)]
        return [results[position] for position in range(len(queries))]

    def list_faces(self, gallery: int, page: int = 0, size: int = 20, subject: str | None = None) -> FacePage:
        """One page of the faces, oldest first; a subject that does not exist has none. page from 0, size
        from 1."""
        if page < 0 or size < 1:
            raise ValueError(f"page {page} of {size} faces")
        with self.records.read() as db:
            self._db.require(db, gallery)
            condition = _faces.c.gallery_id == gallery
            if subject is not None:
                found = self._db.subject(db, gallery, subject)
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

    def delete_faces(self, gallery: int, image_ids: Sequence[UUID]) -> list[FaceRecord]:
        """Delete faces and their images; returns those that were there, in the order given, each once."""
        wanted = list(dict.fromkeys(image_ids))

        def write(db: sa.Connection) -> _Written:
            self._db.lock(db, {gallery}, required=True)
            rows = [row for row in self._db.find(db, wanted).values() if row.record.gallery == gallery]
            return _Written(removed=rows, unreferenced=self._db.delete(db, rows)[1])

        found = {row.record.image_id: row.record for row in self._write(write).removed}
        return [found[image_id] for image_id in wanted if image_id in found]

    def delete_all_faces(self, gallery: int, subject: str | None = None) -> int:
        """Delete a subject with its faces, or all; returns how many faces. Subjects without faces go too."""

        def write(db: sa.Connection) -> _Written:
            self._db.lock(db, {gallery}, required=True)
            faces, subjects = _faces.c.gallery_id == gallery, _subjects.c.gallery_id == gallery
            if subject is not None:
                found = self._db.subject(db, gallery, subject) or 0
                faces, subjects = _faces.c.subject_id == found, _subjects.c.id == found
            rows = [row_of(row) for row in db.execute(face_rows().where(faces))]
            _, unreferenced = self._db.delete(db, rows)
            db.execute(sa.delete(_subjects).where(subjects))
            return _Written(removed=rows, unreferenced=unreferenced)

        return len(self._write(write).removed)

    # Embeddings of another model

    def replace_embeddings(self, fingerprint: str, ids: Sequence[int], embeddings: Float32) -> list[int]:
        """Take what the embedder in service gave for stored faces in place of what another one did.

        fingerprint: of the embedder that gave them; ids: of the records; embeddings: ``(N, D)`` float32. Returns the
        ids that are still there and had another's. Raises EmbedderNotInService.
        """
        if fingerprint != self.fingerprint:
            raise EmbedderNotInService(fingerprint, self.fingerprint)
        units = dict(zip(ids, self._units(list(embeddings)), strict=True))

        def write(db: sa.Connection) -> _Written:
            return _Written(replaced=self._db.replace(db, units))

        replaced = self._write(write).replaced
        return replaced.ids.tolist() if replaced else []

    def forget_other_embedders(self, keep_vectors: bool) -> None:
        """Let every gallery be searched, without the faces that the embedder in service has not seen.

        keep_vectors: of other embedders in the vector index.
        """
        with self.records.write() as db:
            embedded = _galleries.c.fingerprint.is_not(None)
            db.execute(sa.update(_galleries).where(embedded).values(fingerprint=self.fingerprint))
        if not keep_vectors:
            self._writer.run(lambda index: index.drop_others())
        self._writer.run(lambda index: index.flush())

    # Subjects

    def subjects(self, gallery: int) -> list[str]:
        """Names of all subjects, oldest first."""
        with self.records.read() as db:
            self._db.require(db, gallery)
            names = (
                sa.select(_subjects.c.name).where(_subjects.c.gallery_id == gallery).order_by(_subjects.c.id)
            )
            return list(db.execute(names).scalars())

    def create_subject(self, gallery: int, name: str) -> None:
        """Raises SubjectExists and InvalidSubject."""
        check_new(name)
        with self._writing, self.records.write() as db:
            self._db.lock(db, {gallery}, required=True)
            if self._db.subject(db, gallery, name) is not None:
                raise SubjectExists(f"Subject {name} already exists")
            self.records.insert_missing(
                db, _subjects, [self._db.new_subject(db, gallery, name, explicit=True)]
            )

    def rename_subject(self, gallery: int, name: str, new_name: str) -> bool:
        """Rename a subject; if the new name is another one's, its faces move there. False where the names are the same.

        Raises SubjectNotFound, InvalidSubject.
        """
        check_new(new_name)
        with self._writing:
            with self.records.write() as db:
                self._db.lock(db, {gallery}, required=True)
                source, target = self._db.subject(db, gallery, name), self._db.subject(db, gallery, new_name)
                if source is None:
                    raise SubjectNotFound(f"Subject {name} not found")
                if name == new_name:
                    return False
                if target in (None, source):
                    key = folded(new_name) if self._db.is_of_people(db, gallery) else None
                    renamed = sa.update(_subjects).where(_subjects.c.id == source)
                    db.execute(renamed.values(name=new_name, folded=key))
                else:
                    db.execute(
                        sa.update(_faces).where(_faces.c.subject_id == source).values(subject_id=target)
                    )
                    db.execute(sa.delete(_subjects).where(_subjects.c.id == source))
            if target is not None and source != target:
                self._search.move_subject(gallery, source, target)
        return True

    def delete_subject(
        self, gallery: int, name: str, also: Callable[[sa.Connection], None] | None = None
    ) -> DeletedSubject:
        """Delete a subject with its faces and images, in one transaction with what `also` writes before.

        Raises SubjectNotFound, and what `also` raises.
        """
        stored = ""

        def write(db: sa.Connection) -> _Written:
            nonlocal stored
            self._db.lock(db, {gallery}, required=True)
            if also is not None:
                also(db)
            subject = self._db.subject(db, gallery, name)
            if subject is None:
                raise SubjectNotFound(f"Subject {name} not found")
            rows = [row_of(row) for row in db.execute(face_rows().where(_faces.c.subject_id == subject))]
            stored = db.execute(sa.select(_subjects.c.name).where(_subjects.c.id == subject)).scalar_one()
            _, unreferenced = self._db.delete(db, rows)
            db.execute(sa.delete(_subjects).where(_subjects.c.id == subject))
            return _Written(removed=rows, unreferenced=unreferenced)

        faces = len(self._write(write).removed)
        return DeletedSubject(stored, faces)

    def delete_all_subjects(self, gallery: int) -> int:
        """Delete every subject with faces and images; returns the number of subjects."""
        subjects = 0

        def write(db: sa.Connection) -> _Written:
            nonlocal subjects
            self._db.lock(db, {gallery}, required=True)
            rows = [row_of(row) for row in db.execute(face_rows().where(_faces.c.gallery_id == gallery))]
            emptied, unreferenced = self._db.delete(db, rows)
            rest = db.execute(sa.delete(_subjects).where(_subjects.c.gallery_id == gallery)).rowcount
            subjects = emptied + rest
            return _Written(removed=rows, unreferenced=unreferenced)

        self._write(write)
        return subjects

    # The order of a write

    def _write(
        self, write: Callable[[sa.Connection], _Written], images: Mapping[str, Blob] | None = None
    ) -> _Written:
        """Run one transaction, before and after it what goes with it. images: by hash, that its faces refer to.

        Raises IndexUnavailable, before anything is changed, while the index is too far behind, and what the transaction
        raises.
        """
        if not self._writer.has_room(_ROOM_SECONDS):
            raise IndexUnavailable("the vector index does not take changes")
        self.blobs.stage(dict(images or {}))
        written = _Written()
        try:
            with self._writing:
                with self.records.write() as db:
                    pending = write(db)
                written = pending
                self._follow(written)
        finally:
            # Of a transaction that failed every image goes.
            self.blobs.sweep(sorted({*written.unreferenced, *(images or ())} - written.kept))
        return written

    def _follow(self, written: _Written) -> None:
        changes = []
        if written.removed:
            ids = np.array([row.record.id for row in written.removed], np.int64)
            self._search.remove(written.removed[0].record.gallery, ids)
            changes.append(self._writer.delete(ids))
        if added := written.vectors():
            self._search.add(added)
            changes.append(self._writer.upsert(added.ids, added.galleries, added.embeddings))
        if self._search.index_seconds:
            for change in changes:
                change.wait(self._search.index_seconds)

    # Embeddings

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
