"""The public index, which `prosopon ingest` fills and FaceCheck searches, from Python."""

import asyncio
from collections.abc import Sequence

from prosopon.configs.settings import Settings
from prosopon.deployments.state.blobs import BlobStore
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.galleries.face_archive import FaceArchive
from prosopon.models.faces.attributes.embedding import EMBEDDING
from prosopon.models.faces.detections import Float32
from prosopon.pipelines.graphs.face_search import FaceSearch, SearchHit
from prosopon.pipelines.graphs.recognition import NoFace, Recognition
from prosopon.pipelines.python.answers import Image, analyzed


class PublicIndex:
    """Searches without a record of them, and without credits. One per process."""

    def __init__(self, recognition: Recognition, settings: Settings, records: Records) -> None:
        archive = FaceArchive(records, BlobStore(records, settings.state.blobs))
        self._recognition = recognition
        self._search = FaceSearch(recognition.faces, recognition.galleries, archive, settings)

    async def search(self, images: Sequence[Image]) -> tuple[SearchHit, ...]:
        """The biggest face of each picture, all of one person, make one probe. Raises `NoFace`."""
        embeddings = await asyncio.gather(*map(self._embedding, images))
        return (await self._search.run(embeddings, False, _nobody_listens)).hits

    async def _embedding(self, image: Image) -> Float32:
        picture = await analyzed(self._recognition, image, {EMBEDDING}, limit=1)
        if not picture.faces:
            raise NoFace("No face is found in a picture")
        return picture.faces[0].embedding


async def _nobody_listens(progress: int, message: str) -> None:
    pass
