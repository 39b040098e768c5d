"""What CheckFace's routes take and answer.

A number that is missing, unreadable or out of range falls back to its default, as the documented service does it.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, BeforeValidator, Field, StrictStr

from prosopon.models.faces.detections import PictureFormat


class Failure(BaseModel):
    error: str


class Queue(BaseModel):
    """queue: pictures and films that are being made or waited for."""

    queue: int


class LatentInZ(BaseModel):
    """qlatent: 512 numbers in z. seed: where the latent has one."""

    qlatent: list[float]
    seed: int | None = None


class LatentInW(BaseModel):
    """dlatent: 512 numbers for each layer of the generator, in w+."""

    dlatent: list[list[float]]


class Encoded(BaseModel):
    """guid: takes part wherever a guid does. did_align: whether the face was looked for, turned and cut out."""

    guid: str
    did_align: bool


class NewLatent(BaseModel):
    """A latent to be kept. type: where it comes from, in any words."""

    latent: Annotated[list[Any], Field(description="512 numbers, or 512 for each layer of the generator")]
    type: StrictStr | None = None


# ----------------------------------------------------------------------------------------------------- parameters


def within(low: int, high: int, default: int) -> tuple[BeforeValidator, Any]:
    """An integer parameter that falls back to its default."""

    def fall_back(text: object) -> int:
        try:
            number = int(str(text))
        except ValueError:
            return default
        return number if low <= number <= high else default

    return BeforeValidator(fall_back), Query(json_schema_extra={"minimum": low, "maximum": high})


def _truth(text: object) -> bool:
    return str(text).lower() in ("true", "1", "yes", "on")


def _format(text: object) -> PictureFormat:
    formats: dict[str, PictureFormat] = {"jpg": "jpg", "jpeg": "jpg", "webp": "webp", "png": "png"}
    return formats.get(str(text).lower(), "jpg")


Dim = Annotated[int, *within(10, 1024, 300)]
Fps = Annotated[int, *within(1, 100, 16)]
Frames = Annotated[int, *within(3, 200, 50)]
Width = Annotated[int, *within(100, 1400, 1200)]
Kbitrate = Annotated[int, *within(100, 20000, 2400)]
FrameNumber = Annotated[int, *within(0, 199, 0)]
Format = Annotated[PictureFormat, BeforeValidator(_format)]
Flag = Annotated[bool, BeforeValidator(_truth)]


@dataclass(frozen=True, slots=True)
class Film:
    """What a film's and a frame's parameters have in common."""

    dim: Dim = 300
    fps: Fps = 16
    num_frames: Frames = 50
    linear: Flag = False
