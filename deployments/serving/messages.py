"""What crosses a process boundary between deployments: small frozen dataclasses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from uuid import UUID

from prosopon.models.faces.detections import Detections, FilmFormat, Float32, RGBImage
from prosopon.models.generation.latents import Latent, Mixture
from prosopon.models.pictures.crops import CropSpec
from prosopon.models.pictures.decoding import ImageError, RejectionReason
from prosopon.models.roles import Chips

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Timed(Generic[Result]):
    """A result with what it cost, in milliseconds per face."""

    value: Result
    milliseconds: float


FaceChips = Mapping[CropSpec, Chips]
"""Crop -> one chip of every face of a picture."""

Results = Mapping[str, Timed[Any]]
"""Role -> one result for every face of a picture."""


@dataclass(frozen=True, slots=True)
class DetectRequest:
    """image: a file's bytes, as the client sent them; inside the replica perhaps its pixels already.

    limit: at most so many faces, the biggest; 0 is all. crops: what to cut of every face. whole_picture: do not look
    for a face, the picture is one. roles: what else to run on every face, of those that the detector describes.
    det_size: longer side, in pixels, to which the picture is shrunk; 0 is as large as is allowed, None the configured
    one.
    """

    image: bytes | RGBImage
    score_threshold: float | None = None
    limit: int = 0
    crops: tuple[CropSpec, ...] = ()
    whole_picture: bool = False
    roles: frozenset[str] = frozenset()
    det_size: int | None = None


@dataclass(frozen=True, slots=True)
class FacesFound:
    """width, height: of the upright picture. chips: crop that was asked for -> one chip per face. matrices: every crop
    that was cut -> ``(N, 2, 3)``.

    results: of the roles that were asked for, one per face; none where there are no faces.
    """

    width: int
    height: int
    faces: Detections
    chips: dict[CropSpec, Chips] = field(default_factory=dict)
    matrices: dict[CropSpec, Float32] = field(default_factory=dict)
    milliseconds: float = 0.0
    results: Results = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rejected:
    """The picture could not be decoded. An expected outcome, hence a value: exceptions cost more to carry."""

    reason: RejectionReason
    message: str

    @classmethod
    def of(cls, error: ImageError) -> "Rejected":
        return cls(error.reason, str(error))

    def error(self) -> ImageError:
        """What `deployments.serving.calls.call` raises for it."""
        return ImageError(self.reason, self.message)


@dataclass(frozen=True, slots=True)
class GeneratorCard:
    """What callers need to know of the generator.

    fingerprint: of everything between a latent and its picture; generator: of the network alone, which is what a
    latent in w+ is for; layers: styles of such a latent.
    """

    name: str
    fingerprint: str
    generator: str
    layers: int


@dataclass(frozen=True, slots=True)
class PictureRequest:
    """A face of `dim` pixels."""

    mixture: Mixture
    dim: int


@dataclass(frozen=True, slots=True)
class FilmRequest:
    """A morph. dim: of the square frames, in pixels; kbitrate: of an mp4, in 1000 bits a second."""

    start: Latent
    end: Latent
    format: FilmFormat
    dim: int
    fps: int
    frames: int
    kbitrate: int = 2400
    linear: bool = False


@dataclass(frozen=True, slots=True)
class InversionRequest:
    """image: a file's bytes, as the client sent them. align: False where it is aligned as FFHQ's pictures are."""

    image: bytes
    align: bool = True


@dataclass(frozen=True, slots=True)
class Inverted:
    """latent: in w+; None where nobody waited for it any more. aligned: whether the picture was turned and cut."""

    latent: Latent | None
    aligned: bool


@dataclass(frozen=True, slots=True)
class FaceMissing:
    """The picture shows no face. The message is fit for the client."""

    message: str


@dataclass(frozen=True, slots=True)
class Identified:
    """The most likely member of a collection. confidence: 0 to 1."""

    enrollment: UUID
    name: str | None
    confidence: float
