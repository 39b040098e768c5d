"""Deleting faces of any gallery from outside the server: through the running one where there is one."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from uuid import UUID

from prosopon.configs.settings import Settings
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.erasure import StoredFace, forget_sources
from prosopon.models.load import load_embedder
from prosopon.models.runtime.session import Compute
from prosopon.pipelines.ingestion.cluster import join_running
from prosopon.pipelines.ingestion.sinks import ServerSink, Sink, StoreSink

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Erased:
    """sources: pictures of the ingestion that are not taken in again."""

    faces: int
    sources: int


def erase(settings: Settings, faces: Sequence[StoredFace], progress: Callable[[int, int], None]) -> Erased:
    """Delete records, vectors and images of these faces. Can be stopped and started again.

    progress: hears how many of how many are done. Raises `StateError`.
    """
    by_gallery: dict[int, list[UUID]] = defaultdict(list)
    for face in faces:
        by_gallery[face.gallery].append(face.image_id)
    # Before the faces go: a run that is killed in between is repeated by what is left of them.
    records = Records(settings.state.database)
    try:
        sources = forget_sources(records, [face.image_id for face in faces])
    finally:
        records.close()
    return Erased(delete(settings, by_gallery, progress), sources)


def delete(
    settings: Settings, faces: Mapping[int, Sequence[UUID]], progress: Callable[[int, int], None]
) -> int:
    """Delete faces by gallery, with vectors and images; how many were there. Raises `StateError`."""
    deleted = done = 0
    total = sum(map(len, faces.values()))
    with ExitStack() as stack:
        sink = _sink(settings, stack)
        for gallery, ids in faces.items():
            for start in range(0, len(ids), _AT_ONCE):
                part = ids[start : start + _AT_ONCE]
                deleted += sink.delete(gallery, part)
                done += len(part)
                progress(done, total)
    return deleted


def _sink(settings: Settings, stack: ExitStack) -> Sink:
    embedder = load_embedder(settings.models, Compute())
    cluster = join_running(settings, None)
    if cluster is not None:
        stack.callback(cluster.close)
    sink: Sink
    if cluster is not None and cluster.index is not None:
        sink = ServerSink(cluster.index, embedder.fingerprint)
    else:
        sink = StoreSink(settings.state, embedder.fingerprint, embedder.dim)
    stack.callback(sink.close)
    return sink
