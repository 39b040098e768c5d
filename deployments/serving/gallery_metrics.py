"""How large the galleries are, as metrics."""

import asyncio
import logging
from dataclasses import dataclass

import sqlalchemy as sa
from ray.util.metrics import Gauge

from prosopon.deployments.state import schema
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.galleries.store import GalleryStore

logger = logging.getLogger("ray.serve")

_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Census:
    """Of all galleries together. largest: faces of the largest."""

    galleries: int
    subjects: int
    faces: int
    largest: int


def count(records: Records) -> Census:
    """One pass over the index of the faces."""
    sizes = sa.select(sa.func.count().label("n")).group_by(schema.faces.c.gallery_id)
    rows = sizes.select_from(schema.faces).subquery()
    of_faces = sa.select(
        sa.func.coalesce(sa.func.sum(rows.c.n), 0), sa.func.coalesce(sa.func.max(rows.c.n), 0)
    )
    with records.read() as db:
        faces, largest = db.execute(of_faces).one()
        galleries = db.execute(sa.select(sa.func.count()).select_from(schema.galleries)).scalar_one()
        subjects = db.execute(sa.select(sa.func.count()).select_from(schema.subjects)).scalar_one()
    return Census(int(galleries), int(subjects), int(faces), int(largest))


async def report_sizes(store: GalleryStore) -> None:
    """For ever. Every replica of the FaceIndex reports the same numbers, but for its own memory."""
    gauges = {
        "galleries": Gauge("prosopon_galleries", "Galleries."),
        "subjects": Gauge("prosopon_gallery_subjects", "Subjects of all galleries."),
        "faces": Gauge("prosopon_gallery_faces", "Faces of all galleries."),
        "largest": Gauge("prosopon_gallery_largest_faces", "Faces of the largest gallery."),
    }
    memory = Gauge("prosopon_gallery_view_bytes", "Memory of the embeddings that searches read.")
    while True:
        try:
            census = await asyncio.to_thread(count, store.records)
            for name, gauge in gauges.items():
                gauge.set(getattr(census, name))
            memory.set(store.view_bytes)
        except Exception:
            logger.exception("the galleries could not be counted")
        await asyncio.sleep(_SECONDS)
