"""Copies of galleries, over the store that is open, as a process of requests has them."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest.mock import patch

from prosopon.deployments.state.errors import StateError
from prosopon.deployments.state.galleries import copies
from prosopon.deployments.state.galleries.faces import Match, Query
from prosopon.deployments.state.galleries.store import GalleryStore

Answers = list[list[Match] | StateError]


class Copied:
    """answered: how many searches did not need the store."""

    def __init__(self, versions: Path, store: Callable[[], GalleryStore], most_faces: int = 1000) -> None:
        async def copy(gallery: int, most: int) -> copies.GalleryCopy | None:
            return store().copy(gallery, most)

        self._copies, self.answered = copies.Copies(versions, most_faces, copy), 0

    def search(self, queries: Sequence[Query]) -> Answers | None:
        return asyncio.run(self._asked(queries, 1))

    def renewed(self, queries: Sequence[Query]) -> Answers | None:
        """Once the gallery has been left alone."""
        with patch.object(copies, "_QUIET_SECONDS", 0):
            return asyncio.run(self._asked(queries, 3))

    async def _asked(self, queries: Sequence[Query], times: int) -> Answers | None:
        for _ in range(times):
            found = self._copies.search(queries)
            await asyncio.sleep(0)  # A copy that was asked for is there.
        self.answered += found is not None
        return found
