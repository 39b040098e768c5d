"""What CheckFace's routes take and answer.

A number that is missing, unreadable or out of range falls back to its default, as the documented service does it.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, BeforeValidator, Field, StrictStr

from prosopon.models.faces.detections import PictureFormat


class Failure(BaseModel):
    error: Annotated[str, Field(description="what went wrong")]


class Queue(BaseModel):
    queue: Annotated[int, Field(description="pictures and films that are being made or waited for")]


class LatentInZ(BaseModel):
    qlatent: Annotated[list[float], Field(description="512 numbers in z")]
    seed: Annotated[int | None, Field(description="where the latent has one")] = None


class LatentInW(BaseModel):
    dlatent: Annotated[
        list[list[float]], Field(description="512 numbers for each layer of the generator, in w+")
    ]


class Encoded(BaseModel):
    guid: Annotated[str, Field(description="takes part wherever a guid does")]
    did_align: Annotated[bool, Field(description="whether the face was looked for, turned and cut out")]


class NewLatent(BaseModel):
    """A latent to be kept."""

    latent: Annotated[list[Any], Field(description="512 numbers, or 512 for each layer of the generator")]
    type: Annotated[StrictStr | None, Field(description="where it comes from, in any words")] = None


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
