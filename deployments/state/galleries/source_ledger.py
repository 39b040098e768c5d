"""What the bulk ingestion has been through: which picture, in which version, with how many faces.

A picture's entry is written in the transaction that writes its faces, so that a run which was killed goes on exactly
where it was. A face's id follows from the picture's place, its version and the face's number: adding it again adds
nothing, and the faces of an older version can be named, hence replaced, from the entry alone.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid5

import sqlalchemy as sa

from prosopon.deployments.state import schema
from prosopon.deployments.state.blobs import Blob
from prosopon.deployments.state.database import Records, chunks, now
from prosopon.deployments.state.galleries.face_archive import ArchivedFace, archive_gallery
from prosopon.deployments.state.galleries.faces import NewFace
from prosopon.deployments.state.galleries.store import GalleryStore
from prosopon.models.faces.detections import Float32

_NAMESPACE = UUID("5c54ac5e-5f1f-4b0c-9a53-0d7c1b5a3c6e")
_sources = schema.sources
REMOVED = "removed"
"""The reason of a picture whose faces were taken out of the index: it is never looked at again."""
NO_FACE = "no_face"
"""The reason of a picture that has none."""


def source_id(location: str, url: str) -> UUID:
    """Identity of a picture. location: where it is read from; url: what results show as its place."""
    return uuid5(_NAMESPACE, f"{location}\n{url}")


def digest(*parts: bytes | str) -> str:
    """A stamp or a version: SHA-256 of the parts, which a part's end cannot be shifted between."""
    hashed = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        hashed.update(len(data).to_bytes(8, "big"))
        hashed.update(data)
    return hashed.hexdigest()


@dataclass(frozen=True, slots=True)
class SeenFace:
    """embedding: ``(D,)`` float32 of the model in service, of any norm; thumbnail: what is kept of the picture."""

    embedding: Float32
    thumbnail: Blob | None


@dataclass(frozen=True, slots=True)
class SourceFaces:
    """A picture that has been looked at. stamp: of what is known of it without reading it; version: of its bytes and
    what was said of it; reason: why there are no faces, where there are none."""

    id: UUID
    stamp: str
    version: str
    origin: ArchivedFace
    faces: tuple[SeenFace, ...] = ()
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class KnownSource:
    """An entry of the ledger."""

    stamp: str
    version: str
    faces: int
    reason: str | None

    def face_ids(self, source: UUID) -> list[UUID]:
        return _face_ids(source, self.version, self.faces)


class Outcome(StrEnum):
    ADDED = "added"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"


def known_sources(records: Records, ids: Sequence[UUID]) -> dict[UUID, KnownSource]:
    """The entries of those that the ledger has."""
    with records.read() as db:
        return _known(db, ids)


def forget(records: Records, ids: Sequence[UUID]) -> None:
    """Take entries out of the ledger, but for those that say that nothing may be taken in again."""
    for part in chunks(ids):
        forgotten = _sources.c.id.in_(part)
        with records.write() as db:
            db.execute(sa.delete(_sources).where(forgotten, _sources.c.reason.is_distinct_from(REMOVED)))


class SourceLedger:
    """Writes pictures' faces into the public index, each with its entry."""

    def __init__(self, store: GalleryStore) -> None:
        self._store = store
        self.gallery = archive_gallery(store.records)

    def write(self, sources: Sequence[SourceFaces]) -> list[Outcome]:
        """All of these pictures or none, in one transaction. A picture may be named once.

        Raises what `GalleryStore.add_together` raises; nothing has happened then.
        """
        outcomes: list[Outcome] = []

        def enter(db: sa.Connection) -> list[UUID]:
            known = _known(db, [source.id for source in sources])
            outcomes.extend(_outcome(known.get(source.id), source) for source in sources)
            self._enter(db, sources, known)
            return [
                face
                for source, outcome in zip(sources, outcomes, strict=True)
                if outcome is Outcome.REPLACED
                for face in known[source.id].face_ids(source.id)
            ]

        faces = [face for source in sources for face in self._new_faces(source)]
        self._store.add_together(self.gallery, faces, enter)
        return outcomes

    def _new_faces(self, source: SourceFaces) -> list[NewFace]:
        ids = _face_ids(source.id, source.version, len(source.faces))
        subject, extra = source.origin.subject, source.origin.to_json()
        return [
            NewFace(self.gallery, subject, image_id, face.embedding, face.thumbnail, extra)
            for image_id, face in zip(ids, source.faces, strict=True)
        ]

    def _enter(
        self, db: sa.Connection, sources: Sequence[SourceFaces], known: Mapping[UUID, KnownSource]
    ) -> None:
        time = now()
        rows = [
            {
                "id": source.id,
                "gallery_id": self.gallery,
                "stamp": source.stamp,
                "version": source.version,
                "faces": len(source.faces),
                "reason": source.reason,
                "updated": time,
            }
            for source in sources
        ]
        if there := [{**row, "key": row["id"]} for row in rows if row["id"] in known]:
            changes: dict[str, Any] = {
                name: sa.bindparam(name) for name in ("stamp", "version", "faces", "reason", "updated")
            }
            db.execute(sa.update(_sources).where(_sources.c.id == sa.bindparam("key")).values(changes), there)
        if new := [row for row in rows if row["id"] not in known]:
            db.execute(sa.insert(_sources), new)


def _face_ids(source: UUID, version: str, count: int) -> list[UUID]:
    return [uuid5(source, f"{version}/{number}") for number in range(count)]


def _outcome(known: KnownSource | None, source: SourceFaces) -> Outcome:
    if known is None:
        return Outcome.ADDED
    return Outcome.UNCHANGED if known.version == source.version else Outcome.REPLACED


def _known(db: sa.Connection, ids: Sequence[UUID]) -> dict[UUID, KnownSource]:
    found: dict[UUID, KnownSource] = {}
    columns = _sources.c.id, _sources.c.stamp, _sources.c.version, _sources.c.faces, _sources.c.reason
    for part in chunks(ids):
        asked = sa.select(*columns).where(_sources.c.id.in_(part))
        for row in db.execute(asked):
            found[row.id] = KnownSource(row.stamp, row.version, row.faces, row.reason)
    return found
