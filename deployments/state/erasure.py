"""Finding what is stored of a person, or of a place of the web, so that it can be deleted: records, vectors, images.

Embeddings are compared with the records themselves, not with the index: what is to be forgotten must not be missed by
an approximation, or by a gallery that another embedder made.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
import sqlalchemy as sa

from prosopon.deployments.state import schema
from prosopon.deployments.state.database import Records, now
from prosopon.deployments.state.galleries.face_archive import ArchivedFace
from prosopon.deployments.state.galleries.source_ledger import REMOVED, KnownSource
from prosopon.models.faces.detections import Float32

_AT_ONCE = 10_000
_faces, _sources = schema.faces, schema.sources


@dataclass(frozen=True, slots=True)
class StoredFace:
    """gallery, kind: where it is. origin: of a face of the public index. distance: to the one that was looked for."""

    gallery: int
    kind: str
    subject: str
    image_id: UUID
    origin: ArchivedFace
    distance: float | None = None


def of_origin(
    records: Records,
    gallery: int,
    urls: Sequence[str] = (),
    groups: Sequence[str] = (),
    ids: Sequence[UUID] = (),
) -> list[StoredFace]:
    """Faces of the public index that were seen at one of these URLs, or belong to one of these groups, or have one of
    these ids."""
    wanted_urls, wanted_groups, wanted_ids = set(urls), set(groups), set(ids)
    return [
        face
        for part in _stored(records, gallery)
        for face, _ in part
        if face.origin.url in wanted_urls or face.origin.group in wanted_groups or face.image_id in wanted_ids
    ]


def of_person(
    records: Records, embedding: Float32, fingerprint: str, farthest: float, gallery: int | None = None
) -> list[StoredFace]:
    """Faces of all galleries, or of one, that are as near to a unit embedding ``(D,)`` as `farthest`; nearest first.

    Faces that another embedder made cannot be compared; `others` counts them.
    """
    found: list[StoredFace] = []
    for part in _stored(records, gallery, fingerprint):
        points = np.stack([np.frombuffer(numbers, "<f4") for _, numbers in part])
        distances = np.linalg.norm(points - embedding, axis=1)
        for index in np.flatnonzero(distances <= farthest):
            face = part[index][0]
            found.append(
                StoredFace(
                    face.gallery, face.kind, face.subject, face.image_id, face.origin, float(distances[index])
                )
            )
    return sorted(found, key=lambda face: face.distance or 0.0)


def others(records: Records, fingerprint: str) -> int:
    """How many faces another embedder made: `prosopon reembed` makes them comparable."""
    query = sa.select(sa.func.count()).select_from(_faces).where(_faces.c.fingerprint != fingerprint)
    with records.read() as db:
        return int(db.execute(query).scalar_one())


def searches_of(records: Records, embedding: Float32, fingerprint: str, farthest: float) -> list[UUID]:
    """Searches with a picture of the person, by whom ever."""
    pictures = schema.search_pictures
    query = sa.select(pictures.c.search_id, pictures.c.embedding).where(pictures.c.fingerprint == fingerprint)
    with records.read() as db:
        rows = db.execute(query).all()
    near = {
        row.search_id
        for row in rows
        if np.linalg.norm(np.frombuffer(row.embedding, "<f4") - embedding) <= farthest
    }
    return sorted(near)


def forget_sources(records: Records, gone: Sequence[UUID]) -> int:
    """Let no later ingestion bring these faces back: pictures that have no other are marked as removed.

    A face's id follows from its picture's, so the ledger is looked through. Returns how many pictures were marked.
    """
    wanted, marked, last = set(gone), 0, UUID(int=0)
    columns = _sources.c.id, _sources.c.stamp, _sources.c.version, _sources.c.faces, _sources.c.reason
    page = sa.select(*columns).where(_sources.c.faces > 0).order_by(_sources.c.id).limit(_AT_ONCE)
    while True:
        with records.read() as db:
            rows = db.execute(page.where(_sources.c.id > last)).all()
        if not rows:
            return marked
        last = rows[-1].id
        ids = [
            row.id
            for row in rows
            if wanted.issuperset(KnownSource(row.stamp, row.version, row.faces, row.reason).face_ids(row.id))
        ]
        if ids:
            with records.write() as db:
                values = {"faces": 0, "reason": REMOVED, "updated": now()}
                db.execute(sa.update(_sources).where(_sources.c.id.in_(ids)).values(values))
            marked += len(ids)


def _stored(
    records: Records, gallery: int | None = None, fingerprint: str | None = None
) -> Iterator[list[tuple[StoredFace, bytes]]]:
    """All faces, or those of a gallery and of an embedder, with their embeddings; some thousands at a time."""
    galleries, subjects = schema.galleries, schema.subjects
    query = (
        sa.select(
            _faces.c.id, _faces.c.image_id, _faces.c.gallery_id, _faces.c.embedding, _faces.c.extra,
            galleries.c.kind, subjects.c.name,
        )
        .join(galleries, galleries.c.id == _faces.c.gallery_id)
        .join(subjects, subjects.c.id == _faces.c.subject_id)
        .order_by(_faces.c.id)
        .limit(_AT_ONCE)
    )  # fmt: skip
    if gallery is not None:
        query = query.where(_faces.c.gallery_id == gallery)
    if fingerprint is not None:
        query = query.where(_faces.c.fingerprint == fingerprint)
    last = 0
    while True:
        with records.read() as db:
            rows = db.execute(query.where(_faces.c.id > last)).all()
        if not rows:
            return
        last = rows[-1].id
        yield [
            (
                StoredFace(
                    row.gallery_id, row.kind, row.name, row.image_id, ArchivedFace.from_json(row.extra)
                ),
                row.embedding,
            )
            for row in rows
        ]
