"""Making a vector index hold the faces that the records do, and no others."""

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prosopon.deployments.state.database import chunks
from prosopon.deployments.state.galleries.face_records import FaceRecords, Ids
from prosopon.deployments.state.vectors.index import VectorIndex

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Repair:
    """What opening a store found. faces: with the embedder in service; added, removed: in the vector index."""

    faces: int
    added: int
    removed: int


def repair(index: VectorIndex, indexed: Ids, known: Ids, faces: FaceRecords) -> Repair:
    """indexed: ids that the index has; known: ids, ascending, that the records have.

    Where others write meanwhile, the index is to be listed before the records: something may then be written once
    more, but is never taken for something that the records do not know.
    """
    indexed = np.sort(indexed)
    missing, stale = known[~_among(known, indexed)], indexed[~_among(indexed, known)]
    for part in chunks(missing.tolist()):
        index.upsert(*faces.rows(part))
    if len(stale):
        index.delete(stale)
    done = Repair(len(known), len(missing), len(stale))
    logger.info("the vector index is as the records: %s", done)
    return done


def _among(ids: Ids, others: Ids) -> NDArray[np.bool_]:
    """Which of the ids are among the others, which are sorted."""
    if not len(others):
        return np.zeros(len(ids), np.bool_)
    found: NDArray[np.bool_] = others[np.minimum(np.searchsorted(others, ids), len(others) - 1)] == ids
    return found
