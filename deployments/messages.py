"""What crosses a process boundary between deployments: small frozen dataclasses."""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from models.crops import CropSpec
from models.images import RejectionReason
from models.roles import Chips
from models.types import Detections, Float32

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What callers need to know of a model that runs elsewhere.

    crops: how its inputs are cut; dim: length of an embedding.
    """

    name: str
    fingerprint: str
    crops: tuple[CropSpec, ...] = ()
    dim: int | None = None


@dataclass(frozen=True, slots=True)
class Timed(Generic[Result]):
    """A result with what it cost, in milliseconds per face."""

    value: Result
    milliseconds: float


@dataclass(frozen=True, slots=True)
class DetectRequest:
    """image: a file's bytes, as the client sent them.

    limit: at most so many faces, the biggest; 0 is all. crops: what to cut of every face. whole_picture: do not look
    for a face, the picture is one.
    """

    image: bytes
    score_threshold: float | None = None
    limit: int = 0
    crops: tuple[CropSpec, ...] = ()
    whole_picture: bool = False


@dataclass(frozen=True, slots=True)
class FacesFound:
    """width, height: of the upright picture. chips: crop -> one chip per face. matrices: crop -> ``(N, 2, 3)``."""

    width: int
    height: int
    faces: Detections
    chips: dict[CropSpec, Chips] = field(default_factory=dict)
    matrices: dict[CropSpec, Float32] = field(default_factory=dict)
    milliseconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Rejected:
    """The picture could not be decoded. An expected outcome, hence a value: exceptions cost more to carry."""

    reason: RejectionReason
    message: str
