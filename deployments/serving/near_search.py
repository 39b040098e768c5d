"""The FaceIndex, whose small galleries are searched where the request is."""

import time
from collections.abc import Sequence
from typing import Any, cast

from prosopon.configs.settings import GallerySettings, StateSettings
from prosopon.deployments.services import FaceIndexService
from prosopon.deployments.serving.batching import StageMetrics
from prosopon.deployments.state.errors import value_of
from prosopon.deployments.state.galleries.copies import Copies
from prosopon.deployments.state.galleries.faces import Match, Query


def searched_near(
    index: FaceIndexService, state: StateSettings, settings: GallerySettings
) -> FaceIndexService:
    """The same, but for `search`, which asks the copies of this process first. Belongs to one event loop."""
    return cast(FaceIndexService, _Near(index, state, settings)) if settings.copied_faces else index


class _Near:
    def __init__(self, index: FaceIndexService, state: StateSettings, settings: GallerySettings) -> None:
        self._index = index
        self._copies = Copies(state.versions, settings.copied_faces, index.copy)
        self._metrics = StageMetrics("index_search")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    async def search(self, queries: Sequence[Query]) -> list[list[Match]]:
        started = time.perf_counter()
        found = self._copies.search(queries) if queries else []
        if found is None:
            return await self._index.search(queries)
        self._metrics.observe(time.perf_counter() - started, len(queries))
        return [value_of(one) for one in found]
