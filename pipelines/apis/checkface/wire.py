"""What CheckFace's routes take and answer.

A number that is missing, unreadable or out of range falls back to its default, as the documented service does it.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, BeforeValidator, Field, StrictStr

from prosopon.models.faces.detections import PictureFormat


class Failure(BaseModel):
    error: Annotated[str, Field(description="what went wrong")]


class Queue(BaseModel):
    queue: Annotated[int, Field(description="pictures and films that are being made or waited for")]


class FilmProgress(BaseModel):
    """How far a film is."""

    state: Annotated[
        Literal["absent", "making", "ready"],
        Field(description="absent: it is not there, and nobody makes it or it waits for its turn"),
    ]
    made: Annotated[int, Field(description="pictures that are generated and encoded")]
    pictures: Annotated[
        int, Field(description="pictures that the film needs: one that is shown twice counts once")
    ]


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
    type: Annotated[
        StrictStr | None, Field(description="where it comes from, in any words", examples=["drawn"])
    ] = None


# ----------------------------------------------------------------------------------------------------- parameters


def within(
    low: int, high: int, default: int, description: str, *, example: int
) -> tuple[BeforeValidator, Any]:
    """An integer parameter that falls back to its default."""

    def fall_back(text: object) -> int:
        try:
            number = int(str(text))
        except ValueError:
            return default
        return number if low <= number <= high else default

    told = Query(
        description=description, examples=[example], json_schema_extra={"minimum": low, "maximum": high}
    )
    return BeforeValidator(fall_back), told


def _truth(text: object) -> bool:
    return str(text).lower() in ("true", "1", "yes", "on")


def _format(text: object) -> PictureFormat:
    formats: dict[str, PictureFormat] = {"jpg": "jpg", "jpeg": "jpg", "webp": "webp", "png": "png"}
    return formats.get(str(text).lower(), "jpg")


Dim = Annotated[int, *within(10, 1024, 300, "side of the square picture, in pixels", example=128)]
Fps = Annotated[int, *within(1, 100, 16, "frames a second", example=12)]
Frames = Annotated[int, *within(3, 200, 50, "frames of the film, there and back", example=6)]
Width = Annotated[int, *within(100, 1400, 1200, "of the picture, in pixels", example=600)]
Kbitrate = Annotated[int, *within(100, 20000, 2400, "kilobits a second", example=1200)]
FrameNumber = Annotated[
    int, *within(0, 199, 0, "which frame, from 0; one past the end is the first", example=3)
]
Format = Annotated[
    PictureFormat, BeforeValidator(_format), Query(description="of the picture", examples=["webp"])
]
Linear = Annotated[
    bool,
    BeforeValidator(_truth),
    Query(description="equal steps; otherwise slow at both ends", examples=[False]),
]
Embedded = Annotated[
    bool, BeforeValidator(_truth), Query(description="a page that plays the film", examples=[True])
]


@dataclass(frozen=True, slots=True)
class Film:
    """What a film's and a frame's parameters have in common."""

    dim: Dim = 300
    fps: Fps = 16
    num_frames: Frames = 50
    linear: Linear = False
