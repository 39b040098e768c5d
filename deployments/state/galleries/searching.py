"""What a search of galleries is: `memory_search.py` answers on one machine, `milvus_search.py` with a Milvus server."""

from collections.abc import Sequence
from typing import Literal, Protocol
from uuid import UUID

from prosopon.deployments.state.galleries.face_records import Added, Ids
from prosopon.deployments.state.galleries.faces import Match
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
