"""Galleries: the faces of one key or collection, enrolled, listed, renamed, deleted and searched.

`GalleryStore` keeps records, blobs and vectors in agreement. A write goes: blobs are staged, one transaction commits
the records (from here on the write is acknowledged whatever happens), the in-memory view follows, so that a client
reads its own writes, and last the vector index. Whatever a crash leaves undone after the commit is repaired from the
records when the store is opened again.

Writes of one batch share their transactions: the fsync that makes a write durable is paid once a batch.
"""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import numpy as np
import sqlalchemy as sa

from configs.settings import StateSettings
from deployments.state import schema
from deployments.state.blobs import Blob, BlobStore
from deployments.state.errors import (
    FingerprintMismatch,
    GalleryNotFound,
    ImageIdTaken,
    InvalidEmbedding,
    InvalidSubject,
    StateError,
    SubjectExists,
    SubjectNotFound,
)
from deployments.state.records import Records, now
from deployments.state.types import FacePage, FaceRecord, Match, NewFace, Query
from models.types import Float32

_f, _s, _g = schema.faces.c, schema.subjects.c, schema.galleries.c
_IN_LIST = 5_000
"""Values in one IN list: SQLite and PostgreSQL allow about 32,000 parameters."""


class GalleryStore:
    """All galleries, for one embedding model.

    With a Milvus Lite file one process may hold a store at a time; with a Milvus server any number. Thread-safe.
    fingerprint and dim are the embedder's. Every method raises GalleryNotFound for an unknown gallery.
    """

    def __init__(self, settings: StateSettings, fingerprint: str, dim: int) -> None:
        self.fingerprint, self.dim = fingerprint, dim
        self.records = Records(settings.database)
        self.blobs = BlobStore(self.records, settings.blobs)
        self._writing = threading.Lock()
        self.blobs.sweep()

    def close(self) -> None:
        """Write what the vector index still lacks, and release files and connections."""
        self.blobs.close()
        self.records.close()

    # Faces

    def add_faces(self, faces: Sequence[NewFace]) -> list[FaceRecord | StateError]:
        """Enrol faces; each gets its record or the error that kept it out, in the order given.

        Creates subjects that are not there. A face whose image id is enrolled already, in the same gallery and
        subject, gives the record that is there.

        Errors: InvalidEmbedding, InvalidSubject, GalleryNotFound, FingerprintMismatch, ImageIdTaken.
        """
        raise NotImplementedError

    def search(self, queries: Sequence[Query]) -> list[list[Match] | StateError]:
        """The nearest subjects or faces of each query, nearest first; an empty gallery gives none.

        Errors: InvalidEmbedding, GalleryNotFound, FingerprintMismatch.
        """
        raise NotImplementedError

    def list_faces(self, gallery: int, page: int = 0, size: int = 20, subject: str | None = None) -> FacePage:
        """One page of the faces, oldest first; a subject that does not exist has none."""
        raise NotImplementedError

    def face(self, gallery: int, image_id: UUID) -> FaceRecord | None:
        """The face with this image id."""
        raise NotImplementedError

    def embedding(self, gallery: int, image_id: UUID) -> Float32 | None:
        """``(D,)`` float32, unit norm, of the face with this image id. Raises FingerprintMismatch."""
        raise NotImplementedError

    def image(self, gallery: int, image_id: UUID) -> Blob | None:
        """The stored image of this id; None if the id is unknown or no image was kept. Raises BlobCorrupt."""
        raise NotImplementedError

    def delete_faces(self, gallery: int, image_ids: Sequence[UUID]) -> list[FaceRecord]:
        """Delete faces and their images; returns those that were there, in the order given, each once."""
        raise NotImplementedError

    def delete_all_faces(self, gallery: int, subject: str | None = None) -> int:
        """Delete the faces of a subject, or all; returns how many. A subject that had faces goes with its last."""
        raise NotImplementedError

    # Subjects

    def subjects(self, gallery: int) -> list[str]:
        """Names of all subjects, oldest first."""
        raise NotImplementedError

    def create_subject(self, gallery: int, name: str) -> None:
        """Raises SubjectExists and InvalidSubject."""
        raise NotImplementedError

    def rename_subject(self, gallery: int, name: str, new_name: str) -> None:
        """Rename a subject; if the new name exists, its faces move there. Raises SubjectNotFound, InvalidSubject."""
        raise NotImplementedError

    def delete_subject(self, gallery: int, name: str) -> int:
        """Delete a subject with its faces and images; returns the number of faces. Raises SubjectNotFound."""
        raise NotImplementedError

    def delete_all_subjects(self, gallery: int) -> int:
        """Delete every subject with faces and images; returns the number of subjects."""
        raise NotImplementedError
