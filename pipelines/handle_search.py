"""The public index, which `prosopon ingest` fills and FaceCheck searches, from Python."""

import asyncio
import base64
import uuid
from collections.abc import Sequence

from configs.settings import Settings
from deployments.state.blobs import BlobStore
from deployments.state.face_archive import FaceArchive
from deployments.state.records import Records
from deployments.state.searches import Search, SearchPicture
from pipelines.face_search import FaceSearch
from pipelines.facecheck_wire import SearchItem
from pipelines.faces import Plugin
from pipelines.handle_types import Image, SearchHit, analyzed, read
from pipelines.recognition import NoFace, Recognition


class PublicIndex:
    """Searches without a record of them, and without credits. One per process."""

    def __init__(self, recognition: Recognition, settings: Settings, records: Records) -> None:
        blobs = BlobStore(records, settings.state.blobs)
        archive = FaceArchive(records, blobs)
        self._recognition = recognition
        self._search = FaceSearch(
            recognition.faces, recognition.galleries, archive, blobs, settings.facecheck
        )

    async def search(self, images: Sequence[Image]) -> tuple[SearchHit, ...]:
        """The biggest face of each picture, all of one person, make one probe. Raises `NoFace`."""
        pictures = await asyncio.gather(*map(self._probe, images))
        asked = Search(uuid.uuid4(), "running", False, 0, None, None, None, None, None, tuple(pictures))
        found = await self._search.run(asked, 0.0, _nobody_listens)
        return tuple(_hit(item) for item in found.items or ())

    async def _probe(self, image: Image) -> SearchPicture:
        data = await read(image)
        picture = await analyzed(self._recognition, data, frozenset({Plugin.EMBEDDING}), limit=1)
        if not picture.faces:
            raise NoFace("No face is found in a picture")
        embedding = picture.faces[0].embedding
        assert embedding is not None
        fingerprint = self._recognition.faces.card(Plugin.EMBEDDING).fingerprint
        quality = self._search.space.quality(embedding)
        return SearchPicture(
            uuid.uuid4(), embedding.astype("<f4").tobytes(), fingerprint, float(quality), b"", ""
        )


async def _nobody_listens(progress: int, message: str) -> None:
    pass


def _hit(item: SearchItem) -> SearchHit:
    thumbnail = base64.b64decode(item.base64.partition(",")[2]) if item.base64 else None
    return SearchHit(uuid.UUID(item.guid), item.score, item.url, item.group, thumbnail)
