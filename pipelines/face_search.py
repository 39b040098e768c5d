"""One search by face, from the uploaded pictures to the answer: fuse -> match -> collect."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np

from configs.settings import FaceCheckSettings
from deployments.state.blobs import BlobStore
from deployments.state.face_archive import FaceArchive, FoundFace
from deployments.state.searches import Search, SearchPicture
from deployments.state.types import Match, Query
from models.scores import Probe, load_space
from models.types import Float32
from pipelines.facecheck_wire import MAX_INT32, Search_Results, SearchItem, data_uri
from pipelines.faces import FaceAnalyzer, Plugin
from pipelines.galleries import Galleries

DEMO_FACES = 100_000
_CANDIDATES, _FEWEST_CANDIDATES = 3, 300
"""So many times as many faces as are answered are looked at more closely, and no fewer than so many."""
_COLLECTED_AT_ONCE = 20

Tell = Callable[[int, str], Awaitable[None]]
"""Called with how far a search is, in percent, and with what is going on."""


@dataclass(frozen=True, slots=True)
class _Scored:
    match: Match
    score: int


class FaceSearch:
    """Searches the archive. One per process; holds no state."""

    def __init__(
        self,
        faces: FaceAnalyzer,
        galleries: Galleries,
        archive: FaceArchive,
        blobs: BlobStore,
        settings: FaceCheckSettings,
    ) -> None:
        self._faces, self._galleries, self._archive, self._blobs = faces, galleries, archive, blobs
        self._settings = settings
        card = faces.card(Plugin.EMBEDDING)
        assert card.dim is not None
        self.space = load_space(card.name, card.fingerprint, card.dim)

    async def run(self, search: Search, queued_seconds: float, tell: Tell) -> Search_Results:
        """Raises what `call`, `FaceAnalyzer.analyze` and the state library raise."""
        began = time.perf_counter()
        await tell(5, f"Combining {_counted(len(search.pictures), 'picture')}")
        probe = await self._probe(search.pictures)
        total = await asyncio.to_thread(self._archive.count)
        searched = min(total, DEMO_FACES) if search.demo else total
        await tell(15, f"Searching {_counted(searched, 'face')}")
        first = time.perf_counter()
        matches = await self._match(probe, search.demo)
        match_seconds = time.perf_counter() - first
        await tell(60, f"Collecting {_counted(len(matches), 'result')}")
        collecting = time.perf_counter()
        found = await self._collect(matches, tell)
        items = self._items(matches, found)
        ended = time.perf_counter()
        rate = round(searched / max(match_seconds, 1e-6))
        return Search_Results(
            demo=search.demo,
            items=items,
            max_score=max((item.score for item in items), default=0),
            searchedFaces=min(searched, MAX_INT32),
            tookSeconds=round(ended - began + queued_seconds, 4),
            tookSecondsQueue=round(queued_seconds, 4),
            tookSecondsDownload=round(ended - collecting, 4),
            face_per_sec=min(rate, MAX_INT32),
            performance=f"{_counted(searched, 'face')} in {match_seconds:.3f} s",
            images_in_bundle=len(search.pictures),
        )

    async def _probe(self, pictures: Sequence[SearchPicture]) -> Probe:
        embeddings = await asyncio.gather(*(self._embedding(picture) for picture in pictures))
        return self.space.probe(np.stack(embeddings))

    async def _embedding(self, picture: SearchPicture) -> Float32:
        """Computed again from the picture where another model made the one that is stored."""
        if picture.fingerprint == self._faces.card(Plugin.EMBEDDING).fingerprint:
            return np.frombuffer(picture.embedding, "<f4").astype(np.float32)
        image = await asyncio.to_thread(self._blobs.read, picture.blob)
        plugins = frozenset({Plugin.EMBEDDING})
        analyzed = await self._faces.analyze(image, plugins, limit=1)
        if not analyzed.faces:
            analyzed = await self._faces.analyze(image, plugins, whole_picture=True)
        embedding = analyzed.faces[0].embedding
        assert embedding is not None
        return embedding

    async def _match(self, probe: Probe, demo: bool) -> list[_Scored]:
        """Best first, of those that score enough to be shown."""
        limit = max(_CANDIDATES * self._settings.max_results, _FEWEST_CANDIDATES)
        direction = self.space.direction(probe)
        query = Query(self._archive.gallery, direction, limit, "face", DEMO_FACES if demo else 0)
        near = await self._galleries.search(query)
        embeddings = await asyncio.to_thread(self._archive.embeddings, [match.image_id for match in near])
        near = [match for match in near if match.image_id in embeddings]
        if not near:
            return []
        distances = self.space.distances(probe, np.stack([embeddings[match.image_id] for match in near]))
        scores = self.space.curve.score(distances)
        best = [_Scored(near[place], int(scores[place])) for place in np.argsort(distances, kind="stable")]
        shown = [scored for scored in best if scored.score >= self._settings.min_score]
        return shown[: self._settings.max_results]

    async def _collect(self, matches: Sequence[_Scored], tell: Tell) -> dict[UUID, FoundFace]:
        found: dict[UUID, FoundFace] = {}
        for start in range(0, len(matches), _COLLECTED_AT_ONCE):
            part = [scored.match.image_id for scored in matches[start : start + _COLLECTED_AT_ONCE]]
            found |= await asyncio.to_thread(self._archive.find, part)
            done = start + len(part)
            await tell(60 + 35 * done // len(matches), f"Collected {done} of {len(matches)} results")
        return found

    def _items(self, matches: Sequence[_Scored], found: dict[UUID, FoundFace]) -> list[SearchItem]:
        groups: dict[str, int] = {}
        items: list[SearchItem] = []
        for scored in matches:
            match = scored.match
            face = found.get(match.image_id)
            if face is None:  # Deleted since it was found.
                continue
            items.append(
                SearchItem(
                    guid=str(match.image_id),
                    score=scored.score,
                    group=groups.setdefault(match.subject, len(groups)),
                    base64=data_uri(face.thumbnail),
                    url=face.face.url,
                    index=len(items),
                    indexDB=face.id,
                )
            )
        return items


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
