"""Searching in memory: on one machine, beside a Milvus Lite file.

The file is where embeddings are kept for searches, and the view in memory is a cache that is loaded from it when a
store is opened: a start reads of the records only which faces there are and whose. What the file lacks, since a crash
came before it, is taken from the records. The file itself is not searched: Milvus Lite takes a Python step per stored
row on every search, over a second for a million, where the view takes milliseconds (`vectors/memory.py`).
"""

import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from prosopon.deployments.state.errors import IndexUnavailable
from prosopon.deployments.state.galleries.copies import GalleryCopy, nearest
from prosopon.deployments.state.galleries.face_records import Added, FaceRecords, Ids
from prosopon.deployments.state.galleries.faces import Match
from prosopon.deployments.state.galleries.searching import By
from prosopon.deployments.state.vectors.index import LiteIndex
from prosopon.deployments.state.vectors.memory import GalleryView
from prosopon.deployments.state.vectors.versions import UNKNOWN, Versions
from prosopon.models.faces.detections import Float32

logger = logging.getLogger(__name__)


class MemorySearch:
    """A `Search` of one process, which alone writes faces."""

    index_seconds = 0.0

    def __init__(self, faces: FaceRecords, versions: Versions, threads: int) -> None:
        """threads: that share a search of a large gallery."""
        self._faces, self._versions = faces, versions
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="search") if threads > 1 else None
        self._views: dict[int, GalleryView] = {}

    @property
    def nbytes(self) -> int:
        return sum(view.nbytes for view in self._views.values())

    def __len__(self) -> int:
        """Faces."""
        return sum(len(view) for view in self._views.values())

    def load(self, index: LiteIndex) -> Ids:
        """Every face that the records know; their ids, ascending."""
        loaded = [np.empty(0, np.int64)]
        for ids, galleries, subjects in self._faces.placed():
            self.add(Added(ids, galleries, subjects, self._embeddings(index, ids)))
            loaded.append(ids)
        return np.concatenate(loaded)

    def _embeddings(self, index: LiteIndex, ids: Ids) -> Float32:
        """``(N, D)`` of faces, ids ascending: from the index, and from the records what it has not."""
        embeddings = np.empty((len(ids), self._faces.dim), np.float32)
        missing = np.ones(len(ids), np.bool_)
        try:
            found, vectors = index.embeddings(ids)
        except IndexUnavailable:
            logger.exception("the vector index cannot be read: embeddings are taken from the records")
        else:
            places = np.searchsorted(ids, found)
            embeddings[places], missing[places] = vectors, False
        for start in range(0, int(missing.sum()), self._faces.AT_ONCE):
            lacking = ids[missing][start : start + self._faces.AT_ONCE]
            known, _, vectors = self._faces.rows(lacking.tolist())
            embeddings[np.searchsorted(ids, known)] = vectors
        return embeddings

    def add(self, added: Added) -> None:
        for gallery in np.unique(added.galleries).tolist():
            of_gallery = added.galleries == gallery
            view = self._views.get(gallery)
            if view is None:
                view = self._views[gallery] = GalleryView(self._faces.dim, self._threads)
            view.add(added.ids[of_gallery], added.subjects[of_gallery], added.embeddings[of_gallery])
            self._versions.changed(gallery)

    def remove(self, gallery: int, ids: Ids) -> None:
        if view := self._views.get(gallery):
            view.remove(ids)
            self._versions.changed(gallery)

    def move_subject(self, gallery: int, source: int, target: int) -> None:
        if view := self._views.get(gallery):
            view.move_subject(source, target)
            self._versions.changed(gallery)

    def renamed(self, gallery: int) -> None:
        self._versions.changed(gallery)

    def copy(self, gallery: int, most: int) -> GalleryCopy | None:
        """What `search` reads of a gallery that has at most so many faces; None for a larger one."""
        version = self._versions.of(gallery)  # Before everything that it says is there.
        view = self._views.get(gallery) or GalleryView(self._faces.dim)
        if version == UNKNOWN or len(view) > most:
            return None
        ids, subjects, embeddings = view.rows()
        return GalleryCopy(version, ids, subjects, embeddings, self._faces.resolve(set(ids.tolist())))

    def search(self, gallery: int, by: By, probes: Float32, limit: int, first: int) -> list[list[Match]]:
        view = self._views.get(gallery)
        if view is None or limit < 1:
            return [[] for _ in probes]
        return nearest(view, self._faces.resolve, by, probes, limit, first)
