"""Pictures of the public index whose source is gone: deleted from a folder, or no longer in a manifest."""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

import sqlalchemy as sa

from prosopon.configs.settings import Settings
from prosopon.deployments.state import schema
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.galleries.face_archive import ArchivedFace, archive_gallery
from prosopon.deployments.state.galleries.source_ledger import forget, source_id
from prosopon.pipelines.ingestion.erasing import delete

PRUNED = "pruned"
_AT_ONCE = 10_000
_faces = schema.faces


@dataclass(frozen=True, slots=True)
class Gone:
    """A picture that a source no longer names. id: of its entry in the ledger; faces: their image ids."""

    id: UUID
    place: str
    origin: ArchivedFace
    faces: tuple[UUID, ...]


def gone(
    records: Records, source: str, named: Collection[bytes], unreadable: Sequence[str] = ()
) -> list[Gone]:
    """Pictures in the index that came from a source and that it does not name any more.

    source: its `sources.identity`; named: ids in the ledger of the pictures that it names; unreadable: folders of which
    nothing is known, and below which nothing is gone.
    """
    found: dict[tuple[UUID, str], tuple[ArchivedFace, list[UUID]]] = {}
    for image_id, origin in _origins(records):
        place = _location(origin)
        if not _belongs(origin, place, source) or any(_below(place, folder) for folder in unreadable):
            continue
        entry = source_id(place, origin.url)
        if entry.bytes not in named:
            found.setdefault((entry, place), (origin, []))[1].append(image_id)
    return [Gone(entry, place, origin, tuple(faces)) for (entry, place), (origin, faces) in found.items()]


def prune(settings: Settings, pictures: Sequence[Gone], progress: Callable[[int, int], None]) -> int:
    """Delete their faces with vectors, thumbnails and entries in the ledger; how many faces there were.

    Can be stopped and started again: the entry goes first, so that what is left is found by its faces, and a picture
    that has come back is taken in again. Raises `StateError`.
    """
    records = Records(settings.state.database)
    try:
        gallery = archive_gallery(records)
        forget(records, [picture.id for picture in pictures])
    finally:
        records.close()
    return delete(settings, {gallery: [face for picture in pictures for face in picture.faces]}, progress)


def _origins(records: Records) -> Iterator[tuple[UUID, ArchivedFace]]:
    query = (
        sa.select(_faces.c.id, _faces.c.image_id, _faces.c.extra)
        .where(_faces.c.gallery_id == archive_gallery(records))
        .order_by(_faces.c.id)
        .limit(_AT_ONCE)
    )
    last = 0
    while True:
        with records.read() as db:
            rows: Sequence[Any] = db.execute(query.where(_faces.c.id > last)).all()
        if not rows:
            return
        last = rows[-1].id
        yield from ((row.image_id, ArchivedFace.from_json(row.extra)) for row in rows)


def _location(origin: ArchivedFace) -> str:
    """Where the picture was read from."""
    if origin.location is not None:
        return origin.location
    parts = urlsplit(origin.url)
    return unquote(parts.path) if parts.scheme == "file" else origin.url


def _belongs(origin: ArchivedFace, place: str, source: str) -> bool:
    """A folder's are also those below it that a folder above or below it named."""
    if origin.source == source:
        return True
    if not source.endswith(os.sep):
        return False
    if origin.source is None:  # From before that was recorded, and maybe by way of a link.
        return origin.url.startswith("file:") and os.path.realpath(place).startswith(source)
    nested = origin.source.startswith(source) or source.startswith(origin.source)
    return place.startswith(source) and origin.source.endswith(os.sep) and nested


def _below(place: str, folder: str) -> bool:
    return place == folder or place.startswith(folder.rstrip(os.sep) + os.sep)
