"""Copies of small galleries where requests are: a search of one costs less than to ask the process that writes it.

A copy answers only while its version is the writer's (`vectors/versions.py`), so it has what was acknowledged before a
request came. Otherwise the writer is asked, as it is for large galleries, and a new copy is made once the gallery has
been left alone for a moment.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prosopon.deployments.state.errors import StateError
from prosopon.deployments.state.galleries.face_records import Ids
from prosopon.deployments.state.galleries.faces import Match, Query
from prosopon.deployments.state.galleries.searching import By, Found, answers, matches_of
from prosopon.deployments.state.vectors.memory import GalleryView
from prosopon.deployments.state.vectors.versions import UNKNOWN, SharedVersions, Version
from prosopon.models.faces.detections import Float32

logger = logging.getLogger(__name__)

_QUIET_SECONDS = 0.5
"""So long a gallery must have been left alone: while people are enrolled one after the other no copy would last."""
_MOST_BYTES = 64 << 20
"""Of all copies; the least recently used make room."""
_AWAY_SECONDS = 60
"""So long it is before one of these is made again."""
_FACE_BYTES = 512
"""Of a face, and of a gallery, beside the embeddings."""
_MOST_SEEN = 4096
"""Galleries of which something is remembered."""
_MOST_PRODUCTS = 8 << 20
"""Numbers that a search in the event loop multiplies, in about a millisecond: the writer has threads for more."""


@dataclass(frozen=True, slots=True)
class GalleryCopy:
    """A gallery's faces. version: of which nothing is missing. ids, subjects: ``(N,)`` int64; embeddings: ``(N, D)``
    float32, unit norm. faces: by id."""

    version: Version
    ids: Ids
    subjects: Ids
    embeddings: Float32
    faces: Mapping[int, Found]


def nearest(
    view: GalleryView,
    resolve: Callable[[set[int]], Mapping[int, Found]],
    by: By,
    probes: Float32,
    limit: int,
    first: int,
) -> list[list[Match]]:
    """As `Search.search`, in a gallery's view. resolve: faces by their ids, without those that are gone."""
    found = (view.nearest_subjects if by == "subject" else view.nearest_faces)(probes, limit, first)
    faces = resolve({hit.id for hits in found for hit in hits})
    return [
        matches_of([(faces[hit.id], hit.distance) for hit in hits if hit.id in faces], by) for hits in found
    ]


class _Searchable:
    """A copy as it is searched."""

    def __init__(self, copy: GalleryCopy) -> None:
        self.version, self._faces, self.dim = copy.version, copy.faces, int(copy.embeddings.shape[1])
        self._view = GalleryView(self.dim)
        self._view.add(copy.ids, copy.subjects, copy.embeddings)
        self.nbytes = copy.embeddings.nbytes + _FACE_BYTES * (1 + len(copy.faces))

    def products(self, probes: int) -> int:
        return probes * len(self._view) * self.dim

    def search(self, gallery: int, by: By, probes: Float32, limit: int, first: int) -> list[list[Match]]:
        return nearest(self._view, self._found, by, probes, limit, first)

    def _found(self, ids: set[int]) -> Mapping[int, Found]:
        return {id: self._faces[id] for id in ids if id in self._faces}


@dataclass(slots=True)
class _Seen:
    """The version that a gallery has, and since when; asked: whether a copy of it was asked for."""

    version: Version
    since: float
    asked: bool = False


class Copies:
    """The copies of one process. Of one event loop."""

    def __init__(
        self, versions: Path, most_faces: int, copy: Callable[[int, int], Awaitable[GalleryCopy | None]]
    ) -> None:
        """versions: the writer's file. most_faces: of a gallery that is copied. copy: asks the writer for one."""
        self._versions, self._most_faces, self._copy = SharedVersions(versions), most_faces, copy
        self._copies: OrderedDict[int, _Searchable] = OrderedDict()
        self._seen: OrderedDict[int, _Seen] = OrderedDict()
        self._asking: set[asyncio.Task[None]] = set()

    def search(self, queries: Sequence[Query]) -> list[list[Match] | StateError] | None:
        """As `GalleryStore.search`; None where the writer must be asked, as for several galleries at a time."""
        gallery = queries[0].gallery
        version = self._versions.of(gallery)
        if version == UNKNOWN or any(query.gallery != gallery for query in queries):
            return None
        copy = self._copies.get(gallery)
        if copy is None or copy.version != version:
            self._copies.pop(gallery, None)
            self._look(gallery, version)
            return None
        self._copies.move_to_end(gallery)
        if copy.products(len(queries)) > _MOST_PRODUCTS:
            return None
        return answers(queries, {}, copy.dim, copy.search)

    def _look(self, gallery: int, version: Version) -> None:
        """Ask for a copy once, when the gallery has had this version for a while."""
        now, seen = time.monotonic(), self._seen.get(gallery)
        if seen is None or seen.version != version:
            self._seen[gallery] = _Seen(version, now)
            self._seen.move_to_end(gallery)
            if len(self._seen) > _MOST_SEEN:
                self._seen.popitem(last=False)
        elif not seen.asked and now - seen.since >= _QUIET_SECONDS:
            seen.asked = True
            task = asyncio.create_task(self._take(gallery))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    async def _take(self, gallery: int) -> None:
        try:
            copy = await self._copy(gallery, self._most_faces)
        except Exception as error:  # Whatever it is, the writer goes on answering searches.
            logger.debug("gallery %s is not copied: %r", gallery, error)
            self._seen.pop(gallery, None)
            return
        if copy is None:
            return
        self._copies[gallery] = _Searchable(copy)
        while sum(kept.nbytes for kept in self._copies.values()) > _MOST_BYTES:
            gone, kept = self._copies.popitem(last=False)
            self._seen[gone] = _Seen(kept.version, time.monotonic() + _AWAY_SECONDS)
