"""What goes into tasks and what is known of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID

from prosopon.deployments.state.blobs import Blob

Kind = Literal["faceswap", "multi_faceswap"]
State = Literal["waiting", "running", "succeeded", "failed"]


@dataclass(frozen=True, slots=True)
class TaskInput:
    """A picture: a stored blob's SHA-256, or a URL that the worker fetches."""

    blob: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class NewTask:
    """inputs: the picture to change, then the faces to put in. indices: which face each of these replaces, None for
    the biggest. film_points: of the points, those for a film's length, where it is known. uploads: the bytes of the
    inputs' blobs. results_url: under which results are found by their name."""

    tenant: int
    key: int
    kind: Kind
    points: int
    inputs: tuple[TaskInput, ...]
    results_url: str
    indices: tuple[int, ...] | None = None
    film_points: int = 0
    webhook: str | None = None
    uploads: Mapping[str, Blob] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClaimedTask:
    """What a worker is to do. attempt: counts from 1."""

    id: UUID
    kind: Kind
    inputs: tuple[TaskInput, ...]
    indices: tuple[int, ...] | None
    attempt: int
    claimant: UUID


@dataclass(frozen=True, slots=True)
class TaskResult:
    """suffix: of the name that the picture will be found by. similarity: 0 to 1, of its faces to those that were put
    in; method: how it was made; each None where nobody said."""

    picture: Blob
    suffix: str
    similarity: float | None = None
    method: str | None = None


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """result_url: None before there is a result and after it expired. similarity, method: as `TaskResult`. progress: 0
    to 1, of a film that is being made; None of a picture."""

    id: UUID
    tenant: int
    key: int
    kind: Kind
    state: State
    points: int
    attempts: int
    message: str | None
    webhook: str | None
    result_url: str | None
    similarity: float | None
    method: str | None
    progress: float | None
    expires: datetime | None
    created: datetime
    finished: datetime | None


@dataclass(frozen=True, slots=True)
class TaskEnd:
    """What came of a task. result_url: None where there is no result; message: why there is none."""

    id: UUID
    kind: Kind
    result_url: str | None
    message: str | None


Notice = Callable[[TaskEnd], bytes]
"""The body of the webhook that tells of it, in the words of the API that took the task."""
