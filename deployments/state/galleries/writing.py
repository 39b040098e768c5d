"""The one order in which galleries are written.

Blobs are staged; one transaction commits the records (from here on the write is acknowledged whatever happens); the
search follows, so that a client reads its own writes; then the vector index; and blobs that nobody refers to are swept.
Whatever a crash leaves undone after the commit is repaired from the records when the store is opened again.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

import numpy as np
import sqlalchemy as sa

from prosopon.deployments.state.blobs import Blob, BlobStore
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.errors import IndexUnavailable
from prosopon.deployments.state.galleries.face_records import Added, Deleted, Row
from prosopon.deployments.state.galleries.searching import Search
from prosopon.deployments.state.vectors.index import IndexWriter
from prosopon.models.faces.detections import Float32

_ROOM_SECONDS = 10
"""How long a write waits for an index that is too far behind to take more."""


@dataclass(frozen=True, slots=True)
class Moved:
    """All faces of a subject are another's now. Ids."""

    gallery: int
    source: int
    target: int


@dataclass(frozen=True, slots=True)
class Written:
    """What one transaction changed. added: embeddings of the new faces by image id; enrolled: rows of these; replaced:
    faces of which others were known; deleted: faces of one gallery; kept: hashes of the blobs that are referred to;
    renamed: a gallery of which a subject has another name."""

    added: Mapping[UUID, Float32] = field(default_factory=dict)
    enrolled: Mapping[UUID, Row] = field(default_factory=dict)
    deleted: Deleted = field(default_factory=Deleted)
    kept: frozenset[str] = frozenset()
    replaced: Added | None = None
    moved: Moved | None = None
    renamed: int | None = None

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


class Writes:
    """One write after the other."""

    def __init__(self, records: Records, blobs: BlobStore, search: Search, index: IndexWriter) -> None:
        self._records, self._blobs, self._search, self._index = records, blobs, search, index
        self.lock = threading.Lock()

    def faces(
        self, write: Callable[[sa.Connection], Written], images: Mapping[str, Blob] | None = None
    ) -> Written:
        """Run one transaction, before and after it what goes with it. images: by hash, that its faces refer to.

        Raises IndexUnavailable, before anything is changed, while the index is too far behind, and what the transaction
        raises.
        """
        if not self._index.has_room(_ROOM_SECONDS):
            raise IndexUnavailable("the vector index does not take changes")
        self._blobs.stage(dict(images or {}))
        written = Written()
        try:
            with self.lock:
                written = self._committed(write)
                self._follow(written)
        finally:
            # Of a transaction that failed every image goes.
            self._blobs.sweep(sorted({*written.deleted.unreferenced, *(images or ())} - written.kept))
        return written

    def subjects(self, write: Callable[[sa.Connection], Written]) -> Written:
        """As `faces`, of a transaction that leaves the faces and their embeddings alone."""
        with self.lock:
            written = self._committed(write)
            if moved := written.moved:
                self._search.move_subject(moved.gallery, moved.source, moved.target)
            if written.renamed is not None:
                self._search.renamed(written.renamed)
        return written

    def _committed(self, write: Callable[[sa.Connection], Written]) -> Written:
        with self._records.write() as db:
            return write(db)

    def _follow(self, written: Written) -> None:
        changes = []
        if rows := written.deleted.rows:
            ids = np.array([row.record.id for row in rows], np.int64)
            self._search.remove(rows[0].record.gallery, ids)
            changes.append(self._index.delete(ids))
        if added := written.vectors():
            self._search.add(added)
            changes.append(self._index.upsert(added.ids, added.galleries, added.embeddings))
        if self._search.index_seconds:
            for change in changes:
                change.wait(self._search.index_seconds)
