"""One search by face, from the embeddings of its pictures to the faces that are found: fuse -> match -> collect."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np

from prosopon.configs.settings import Settings
from prosopon.deployments.services import FaceIndexService
from prosopon.deployments.state.galleries.face_archive import FaceArchive, FoundFace
from prosopon.deployments.state.galleries.faces import Match, Query
from prosopon.models.faces.attributes.embedding import EMBEDDING
from prosopon.models.faces.detections import Float32
from prosopon.models.matching.scores import Probe, load_space
from prosopon.pipelines.graphs.face_analysis import FaceAnalyzer
from prosopon.pipelines.words import counted

DEMO_FACES = 100_000
_CANDIDATES, _FEWEST_CANDIDATES = 3, 300
"""So many times as many faces as are answered are looked at more closely, and no fewer than so many."""
_COLLECTED_AT_ONCE = 20

Tell = Callable[[int, str], Awaitable[object]]
"""Called with how far a search is, in percent, and with what is going on."""


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A face of the public index. score: 0..100; group: the same for faces of one person or page; thumbnail: webp;
    number: its place in the index."""

    id: UUID
    score: int
    url: str | None
    group: int
    thumbnail: bytes | None
    number: int


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, best first. searched: faces; the seconds of all, of matching, and of collecting."""

    hits: tuple[SearchHit, ...]
    searched: int
    seconds: float
    match_seconds: float
    collect_seconds: float


@dataclass(frozen=True, slots=True)
class _Scored:
    match: Match
    score: int


class FaceSearch:
    """Searches the archive. One per process; holds no state."""

    def __init__(
        self,
        faces: FaceAnalyzer,
        galleries: FaceIndexService,
        archive: FaceArchive,
        settings: Settings,
    ) -> None:
        """Raises `NotCalibrated`."""
        self._galleries, self._archive, self._settings = galleries, archive, settings.facecheck
        card = faces.card(EMBEDDING)
        assert card.dim is not None
        self._space = load_space(settings.models, card.fingerprint, card.dim)

    async def run(self, embeddings: Sequence[Float32], demo: bool, tell: Tell) -> Found:
        """The faces of one person, whose unit embeddings these are. demo: among the first `DEMO_FACES` alone.

        Raises what `call` and the state library raise.
        """
        began = time.perf_counter()
        probe = self._space.probe(np.stack(embeddings))
        total = await asyncio.to_thread(self._archive.count)
        searched = min(total, DEMO_FACES) if demo else total
        await tell(15, f"Searching {counted(searched, 'face')}")
        first = time.perf_counter()
        matches = await self._match(probe, demo)
        match_seconds = time.perf_counter() - first
        await tell(60, f"Collecting {counted(len(matches), 'result')}")
        collecting = time.perf_counter()
        found = await self._collect(matches, tell)
        hits = tuple(self._hits(matches, found))
        ended = time.perf_counter()
        return Found(hits, searched, ended - began, match_seconds, ended - collecting)

    async def _match(self, probe: Probe, demo: bool) -> list[_Scored]:
        """Best first, of those that score enough to be shown."""
        limit = max(_CANDIDATES * self._settings.max_results, _FEWEST_CANDIDATES)
        direction = self._space.direction(probe)
        query = Query(self._archive.gallery, direction, limit, "face", DEMO_FACES if demo else 0)
        (near,) = await self._galleries.search([query])
        embeddings = await asyncio.to_thread(self._archive.embeddings, [match.image_id for match in near])
        near = [match for match in near if match.image_id in embeddings]
        if not near:
            return []
        distances = self._space.distances(probe, np.stack([embeddings[match.image_id] for match in near]))
        scores = self._space.curve.score(distances)
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

    def _hits(self, matches: Sequence[_Scored], found: dict[UUID, FoundFace]) -> Iterator[SearchHit]:
        groups: dict[str, int] = {}
        for scored in matches:
            match = scored.match
            face = found.get(match.image_id)
            if face is None:  # Deleted since it was found.
                continue
            group = groups.setdefault(match.subject, len(groups))
            yield SearchHit(match.image_id, scored.score, face.face.url, group, face.thumbnail, face.id)
