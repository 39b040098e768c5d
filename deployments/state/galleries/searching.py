"""What a search of galleries is: `memory_search.py` answers on one machine, `milvus_search.py` with a Milvus server."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol
from uuid import UUID

import numpy as np

from prosopon.deployments.state.errors import StateError
from prosopon.deployments.state.galleries.embeddings import unit
from prosopon.deployments.state.galleries.face_records import Added, Ids
from prosopon.deployments.state.galleries.faces import Match, Query
from prosopon.models.faces.detections import Float32

By = Literal["subject", "face"]
Found = tuple[str, UUID, bytes]
"""Subject, image id and embedding of a face; the embedding is empty where it was not asked for."""


class Search(Protocol):
    """Follows the records after every committed write, and finds the nearest.

    index_seconds: how long a write waits for the vector index, where that is what answers. nbytes: memory of what
    searches read.
    """

    index_seconds: float

    @property
    def nbytes(self) -> int: ...

    def add(self, added: Added) -> None: ...

    def remove(self, gallery: int, ids: Ids) -> None: ...

    def move_subject(self, gallery: int, source: int, target: int) -> None: ...

    def renamed(self, gallery: int) -> None:
        """A subject of the gallery has another name."""
        ...

    def search(self, gallery: int, by: By, probes: Float32, limit: int, first: int) -> list[list[Match]]:
        """For each probe ``(D,)`` at most `limit` matches, nearest first. first: of the gallery's so many first faces
        alone; 0 is all."""
        ...


def matches_of(found: Sequence[tuple[Found, float]], by: By) -> list[Match]:
    """found: faces with their distances, nearest first. Each subject once, if by subject."""
    matches: list[Match] = []
    seen: set[str] = set()
    for (subject, image_id, _), distance in found:
        if by == "subject" and subject in seen:
            continue
        seen.add(subject)
        matches.append(Match(subject, image_id, distance))
    return matches


def answers(
    queries: Sequence[Query],
    refusals: Mapping[int, StateError | None],
    dim: int,
    search: Callable[[int, By, Float32, int, int], list[list[Match]]],
) -> list[list[Match] | StateError]:
    """The matches of each query, or why it has none.

    refusals: of galleries that cannot be searched. dim: of embeddings. search: as `Search.search`, asked once for all
    queries of one kind to one gallery.
    """
    results: dict[int, list[Match] | StateError] = {}
    groups: dict[tuple[int, By, int], list[tuple[int, Float32]]] = defaultdict(list)
    for position, query in enumerate(queries):
        try:
            if refusal := refusals.get(query.gallery):
                raise refusal
            group = query.gallery, query.by, max(0, query.first)
            groups[group].append((position, unit(query.embedding, dim)))
        except StateError as error:
            results[position] = error
    for (gallery, by, first), members in groups.items():
        positions = [position for position, _ in members]
        probes = np.stack([embedding for _, embedding in members])
        limit = max(queries[position].limit for position in positions)
        found = search(gallery, by, probes, limit, first)
        for position, matches in zip(positions, found, strict=True):
            results[position] = matches[: max(0, queries[position].limit)]
    return [results[position] for position in range(len(queries))]
