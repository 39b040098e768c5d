"""Pictures of the public index, as an ingestion writes them."""

from collections.abc import Sequence

from prosopon.deployments.state.blobs import Blob
from prosopon.deployments.state.galleries.face_archive import ArchivedFace
from prosopon.deployments.state.galleries.source_ledger import SeenFace, SourceFaces, digest, source_id
from prosopon.models.faces.detections import Float32


def seen(origin: ArchivedFace, embeddings: Sequence[Float32], location: str | None = None) -> SourceFaces:
    """A picture with these faces, each with a thumbnail of its own. location: where it was read, else its URL."""
    faces = tuple(
        SeenFace(embedding, Blob(f"{origin.url} {number}".encode(), "image/webp"))
        for number, embedding in enumerate(embeddings)
    )
    content = digest(origin.url)
    return SourceFaces(source_id(location or origin.url, origin.url), content, content, origin, faces)
