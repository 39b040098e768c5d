"""Galleries: the faces of one key or collection, enrolled, listed, renamed, deleted and searched.

`GalleryStore` is what reads them (`reading.py`), searches them (`searching.py`) and writes them, in one order
(`writing.py`). Writes of one batch share their transactions: the fsync that makes a write durable is paid once a batch.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from uuid import UUID

import sqlalchemy as sa

from prosopon.configs.settings import StateSettings
from prosopon.deployments.state import schema
from prosopon.deployments.state.blobs import BlobStore
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.errors import (
    EmbedderNotInService,
    ImageIdTaken,
    StateError,
    SubjectNotFound,
)
from prosopon.deployments.state.galleries.copies import GalleryCopy
from prosopon.deployments.state.galleries.embeddings import unit, units
from prosopon.deployments.state.galleries.face_records import Deleted, FaceRecords, Ids
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
from prosopon.deployments.state.galleries.names import check_new
from prosopon.deployments.state.galleries.reading import GalleryReader
from prosopon.deployments.state.galleries.repair import Repair, repair
from prosopon.deployments.state.galleries.searching import Search, answers
from prosopon.deployments.state.galleries.writing import Moved, Writes, Written
from prosopon.deployments.state.vectors.index import IndexWriter, LiteIndex, VectorIndex, open_index
from prosopon.deployments.state.vectors.versions import Versions
from prosopon.models.faces.detections import Float32

__all__ = ["FacePage", "FaceRecord", "GalleryStore", "Match", "NewFace", "Query", "Repair"]

_galleries = schema.galleries


class GalleryStore(GalleryReader):
    """All galleries, for one embedding model.

    With a Milvus Lite file one process may hold a store at a time; with a Milvus server any number.
    Thread-safe. fingerprint and dim are the embedder's; search_threads share a search of a large gallery in memory.
    Every method raises GalleryNotFound for an unknown gallery.
    """

    def __init__(self, settings: StateSettings, fingerprint: str, dim: int, search_threads: int = 1) -> None:
        records = Records(settings.database)
        blobs = BlobStore(records, settings.blobs)
        self._index = open_index(settings, fingerprint, dim)
        local = isinstance(self._index, LiteIndex)
        super().__init__(FaceRecords(records, blobs, fingerprint, dim, one_writer=local))
        self._writer = IndexWriter(self._index)
        self.blobs.sweep()
        self._repaired: Future[Repair] = Future()
        self._search = self._opened(settings.versions, search_threads)
        self._writes = Writes(self.records, self.blobs, self._search, self._writer)

    def _opened(self, versions: Path, threads: int) -> Search:
        """The search, over an index that holds the faces that the records do, or soon will.

        A Milvus Lite file is repaired beside everything else, by the thread that writes to it, before any later change.
        """
        if isinstance(self._index, LiteIndex):
            memory = MemorySearch(self._db, Versions(versions), threads)
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
                valid[position] = face, unit(face.embedding, self.dim)
            except StateError as error:
                results[position] = error
        if not valid:
            return [results[position] for position in range(len(faces))]
        images = {face.image.sha256: face.image for face, _ in valid.values() if face.image}

        def write(db: sa.Connection) -> Written:
            locked = self._db.lock(db, {face.gallery for face, _ in valid.values()})
            for position in list(valid):
                if refusal := self._db.refused(db, valid[position][0].gallery, locked):
                    results[position] = refusal
                    del valid[position]
            added, kept = self._db.insert(db, list(valid.values()), images)
            enrolled = self._db.find(db, [face.image_id for face, _ in valid.values()])
            return Written(added, enrolled, kept=kept)

        enrolled = self._writes.faces(write, images).enrolled
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
        embedded = list(zip(faces, units([face.embedding for face in faces], self.dim), strict=True))
        images = {face.image.sha256: face.image for face in faces if face.image}

        def write(db: sa.Connection) -> Written:
            locked = self._db.lock(db, {gallery}, required=True)
            if refusal := self._db.refused(db, gallery, locked):
                raise refusal
            replaced = list(also(db) or ()) if also is not None else []
            removed = [row for row in self._db.find(db, replaced).values() if row.record.gallery == gallery]
            deleted = self._db.delete(db, removed)
            added, kept = self._db.insert(db, embedded, images)
            enrolled = self._db.find(db, [face.image_id for face in faces])
            for face in faces:
                if enrolled[face.image_id].record.gallery != gallery:
                    raise ImageIdTaken(face.image_id)
            return Written(added, enrolled, deleted, kept)

        return len(self._writes.faces(write, images).added)

    def search(self, queries: Sequence[Query]) -> list[list[Match] | StateError]:
        """The nearest subjects or faces of each query, nearest first; an empty gallery gives none.

        Errors: InvalidEmbedding, GalleryNotFound, FingerprintMismatch.
        """
        refusals = self._db.refusals({query.gallery for query in queries})
        return answers(queries, refusals, self.dim, self._search.search)

    def copy(self, gallery: int, most: int) -> GalleryCopy | None:
        """A gallery of at most so many faces, for searches in another process of this machine (`Copies`); None where
        there is none to be had. Raises what a search returns."""
        if refusal := self._db.refusals({gallery}).get(gallery):
            raise refusal
        return self._search.copy(gallery, most) if isinstance(self._search, MemorySearch) else None

    def delete_faces(self, gallery: int, image_ids: Sequence[UUID]) -> list[FaceRecord]:
        """Delete faces and their images; returns those that were there, in the order given, each once."""
        wanted = list(dict.fromkeys(image_ids))

        def write(db: sa.Connection) -> Written:
            self._db.lock(db, {gallery}, required=True)
            rows = [row for row in self._db.find(db, wanted).values() if row.record.gallery == gallery]
            return Written(deleted=self._db.delete(db, rows))

        found = {row.record.image_id: row.record for row in self._writes.faces(write).deleted.rows}
        return [found[image_id] for image_id in wanted if image_id in found]

    def delete_all_faces(self, gallery: int, subject: str | None = None) -> int:
        """Delete a subject with its faces, or all; returns how many faces. Subjects without faces go too."""
        try:
            return len(self._clear(gallery, subject).rows)
        except SubjectNotFound:
            return 0

    # Embeddings of another model

    def replace_embeddings(self, fingerprint: str, ids: Sequence[int], embeddings: Float32) -> list[int]:
        """Take what the embedder in service gave for stored faces in place of what another one did.

        fingerprint: of the embedder that gave them; ids: of the records; embeddings: ``(N, D)`` float32. Returns the
        ids that are still there and had another's. Raises EmbedderNotInService.
        """
        if fingerprint != self.fingerprint:
            raise EmbedderNotInService(fingerprint, self.fingerprint)
        embedded = dict(zip(ids, units(list(embeddings), self.dim), strict=True))

        def write(db: sa.Connection) -> Written:
            return Written(replaced=self._db.replace(db, embedded))

        replaced = self._writes.faces(write).replaced
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

    def create_subject(self, gallery: int, name: str) -> None:
        """Raises SubjectExists and InvalidSubject."""
        check_new(name)

        def write(db: sa.Connection) -> Written:
            self._db.lock(db, {gallery}, required=True)
            self._db.subjects.create(db, gallery, name)
            return Written()

        self._writes.subjects(write)

    def rename_subject(self, gallery: int, name: str, new_name: str) -> bool:
        """Rename a subject; if the new name is another one's, its faces move there. False where the names are the same.

        Raises SubjectNotFound, InvalidSubject.
        """
        check_new(new_name)

        def write(db: sa.Connection) -> Written:
            self._db.lock(db, {gallery}, required=True)
            source, target = (
                self._db.subjects.find(db, gallery, name),
                self._db.subjects.find(db, gallery, new_name),
            )
            if source is None:
                raise SubjectNotFound(f"Subject {name} not found")
            if name == new_name:
                return Written()
            if target is None or target == source:
                self._db.subjects.rename(db, gallery, source, new_name)
                return Written(renamed=gallery)
            self._db.subjects.merge(db, source, target)
            return Written(moved=Moved(gallery, source, target))

        self._writes.subjects(write)
        return name != new_name

    def delete_subject(
        self, gallery: int, name: str, also: Callable[[sa.Connection], None] | None = None
    ) -> DeletedSubject:
        """Delete a subject with its faces and images, in one transaction with what `also` writes before.

        Raises SubjectNotFound, and what `also` raises.
        """
        deleted = self._clear(gallery, name, also)
        (stored,) = deleted.subjects
        return DeletedSubject(stored, len(deleted.rows))

    def delete_all_subjects(self, gallery: int) -> int:
        """Delete every subject with faces and images; returns the number of subjects."""
        return len(self._clear(gallery).subjects)

    def _clear(
        self,
        gallery: int,
        subject: str | None = None,
        also: Callable[[sa.Connection], None] | None = None,
    ) -> Deleted:
        """Delete a subject, or all of a gallery. Raises SubjectNotFound."""

        def write(db: sa.Connection) -> Written:
            self._db.lock(db, {gallery}, required=True)
            if also is not None:
                also(db)
            found = None if subject is None else self._db.subjects.find(db, gallery, subject)
            if subject is not None and found is None:
                raise SubjectNotFound(f"Subject {subject} not found")
            return Written(deleted=self._db.clear(db, gallery, found))

        return self._writes.faces(write).deleted
