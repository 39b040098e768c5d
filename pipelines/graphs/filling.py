"""detect -> embed -> write: every face of a picture into the public index, while the server serves.

`prosopon ingest` does the same for folders on the server's machine (`pipelines.ingestion`), and keeps the same ledger.
"""

import asyncio
from dataclasses import dataclass

from prosopon.deployments.services import FaceIndexService
from prosopon.deployments.state.blobs import Blob
from prosopon.deployments.state.galleries.face_archive import ArchivedFace
from prosopon.deployments.state.galleries.source_ledger import (
    NO_FACE,
    Outcome,
    SeenFace,
    SourceFaces,
    digest,
    source_id,
)
from prosopon.models.faces.attributes.embedding import EMBEDDING
from prosopon.models.pictures.thumbnails import MEDIA_TYPE, THUMBNAIL, encode_thumbnail
from prosopon.pipelines.graphs.face_analysis import FaceAnalyzer

_SENT = "sent:"
"""What a picture's location begins with: one that was sent is no file of the server's."""


@dataclass(frozen=True, slots=True)
class Taken:
    """faces: of the picture, all of them; outcome: whether they are new, or those of an earlier version or the same."""

    faces: int
    outcome: Outcome


class IndexFilling:
    """Holds no state."""

    def __init__(self, faces: FaceAnalyzer, galleries: FaceIndexService) -> None:
        self._faces, self._galleries = faces, galleries

    async def take(self, picture: bytes, url: str, group: str | None) -> Taken:
        """A picture, given as a file's bytes, in the place of the one that was sent before with the same url.

        url: what results show as its place; group: faces of one group belong together. Raises `ImageError`, and what
        the analysis and `FaceIndexService.ingest` raise.
        """
        analyzed = await self._faces.analyze(picture, frozenset({EMBEDDING}), crops=(THUMBNAIL,))
        thumbnails = await asyncio.to_thread(
            lambda: [encode_thumbnail(face.crops[THUMBNAIL]) for face in analyzed.faces]
        )
        seen = tuple(
            SeenFace(face.embedding, Blob(thumbnail, MEDIA_TYPE))
            for face, thumbnail in zip(analyzed.faces, thumbnails, strict=True)
        )
        location, version = _SENT + url, await asyncio.to_thread(digest, picture, url, group or "")
        source = SourceFaces(
            source_id(location, url),
            digest("sent", version),
            version,
            ArchivedFace(url, group, location),
            seen,
            None if seen else NO_FACE,
        )
        (outcome,) = await self._galleries.ingest(self._faces.card(EMBEDDING).fingerprint, (source,))
        return Taken(len(seen), outcome)
