"""Rebuilding what can be rebuilt: the vector index from the records, embeddings from the stored images.

`reindex` takes the vector index for itself where it is a Milvus Lite file, so no server may be running on it. `reembed`
writes through the server where there is one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import sqlalchemy as sa

from prosopon.configs.settings import StateSettings
from prosopon.deployments.state import schema
from prosopon.deployments.state.blobs import BlobStore
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.errors import BlobCorrupt, BlobMissing
from prosopon.deployments.state.galleries.store import GalleryStore
from prosopon.deployments.state.vectors.index import open_index
from prosopon.models.faces.detections import Float32
from prosopon.models.matching.vectors import normalize

Progress = Callable[[int, int], None]
"""Called with what is done and the total."""

Embed = Callable[[Sequence[bytes]], list[Float32 | None]]
"""Image files to one embedding each, ``(D,)`` float32, or None where no face is found."""

_faces = schema.faces
_READ = 10_000


@dataclass(frozen=True, slots=True)
class Reembedded:
    """faces: embedded now; lost: ids of faces without a readable image with a face in it, no longer
    searched."""

    faces: int
    lost: list[int]


def reindex(settings: StateSettings, progress: Progress) -> int:
    """Make the vector index anew from the records, for every embedder that has faces; returns their number.

    Raises StateError where the index cannot be reached or is in use.
    """
    records = Records(settings.database)
    length = sa.func.min(sa.func.length(_faces.c.embedding))
    with records.read() as db:
        embedders = db.execute(
            sa.select(_faces.c.fingerprint, length, sa.func.count()).group_by(_faces.c.fingerprint)
        ).all()
    total, done = sum(count for _, _, count in embedders), 0
    for fingerprint, size, _ in embedders:
        index = open_index(settings, fingerprint, size // 4)
        try:
            index.clear()
            for ids, galleries, embeddings in _embeddings(records, fingerprint):
                index.upsert(ids, galleries, embeddings)
                done += len(ids)
                progress(done, total)
            index.flush()
        finally:
            index.close()
    records.close()
    return done


class Galleries(Protocol):
    """Those methods of `GalleryStore` by which embeddings are replaced, of a store here or in a running server."""

    def replace_embeddings(self, fingerprint: str, ids: Sequence[int], embeddings: Float32) -> list[int]: ...
    def forget_other_embedders(self, keep_vectors: bool) -> None: ...


def reembed(
    settings: StateSettings,
    fingerprint: str,
    dim: int,
    embed: Embed,
    progress: Progress,
    batch: int = 16,
    galleries: Galleries | None = None,
) -> Reembedded:
    """Compute the embeddings that other embedders made again from the stored images.

    Every batch is committed, and what is done is not done again: a run that was stopped goes on where it was.
    A gallery can be searched with the new embedder when all of its faces have been through. galleries: of the server
    that runs; None where none does.

    Raises StateError where the vector index cannot be reached or is in use.
    """
    if galleries is None:
        store = GalleryStore(settings, fingerprint, dim)
        try:
            return reembed(settings, fingerprint, dim, embed, progress, batch, store)
        finally:
            store.close()
    records = Records(settings.database)
    blobs = BlobStore(records, settings.blobs)
    foreign = _faces.c.fingerprint != fingerprint
    try:
        with records.read() as db:
            total = db.execute(sa.select(sa.func.count()).select_from(_faces).where(foreign)).scalar_one()
        done, last, lost = 0, 0, list[int]()
        while rows := _after(records, foreign, last, batch):
            last = rows[-1].id
            images = [(row, data) for row in rows if (data := _read(blobs, row.blob))]
            embedded = list(zip(images, embed([data for _, data in images]), strict=True)) if images else []
            made = {row.id: normalize(found) for (row, _), found in embedded if found is not None}
            if made:
                galleries.replace_embeddings(fingerprint, list(made), np.stack(list(made.values())))
            lost += [row.id for row in rows if row.id not in made]
            done += len(rows)
            progress(done, total)
        galleries.forget_other_embedders(bool(lost))
    finally:
        blobs.close()
        records.close()
    return Reembedded(done - len(lost), lost)


def _embeddings(records: Records, fingerprint: str) -> Iterator[tuple[np.ndarray, np.ndarray, Float32]]:
    query = (
        sa.select(_faces.c.id, _faces.c.gallery_id, _faces.c.embedding)
        .where(_faces.c.fingerprint == fingerprint)
        .order_by(_faces.c.id)
    )
    with records.read() as db:
        rows = db.execution_options(stream_results=True, max_row_buffer=_READ).execute(query)
        for part in rows.partitions(_READ):
            ids, galleries, embeddings = zip(*part, strict=True)
            vectors = np.frombuffer(b"".join(embeddings), "<f4").reshape(len(ids), -1)
            yield np.array(ids, np.int64), np.array(galleries, np.int64), vectors


def _after(records: Records, condition: sa.ColumnElement[bool], last: int, count: int) -> Sequence[Any]:
    query = sa.select(_faces.c.id, _faces.c.gallery_id, _faces.c.blob)
    with records.read() as db:
        return db.execute(query.where(condition, _faces.c.id > last).order_by(_faces.c.id).limit(count)).all()


def _read(blobs: BlobStore, sha256: str | None) -> bytes | None:
    if sha256 is None:
        return None
    try:
        return blobs.read(sha256)
    except (BlobMissing, BlobCorrupt):
        return None
