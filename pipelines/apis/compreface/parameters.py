"""What requests ask for, as the server reads it: unknown names and empty values are no errors, and pages count as
Spring Data's do. Parameters may be in the query or, beside a picture, fields of the form."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request
from pydantic import BeforeValidator

from prosopon.deployments.state.keys import Key
from prosopon.pipelines.graphs.face_analysis import Attribute, FaceAnalyzer
from prosopon.pipelines.http.bodies import AN_ID
from prosopon.pipelines.http.forms import notice
from prosopon.pipelines.http.keys import IN_PATH, caller
from prosopon.pipelines.services import Served

_LARGEST = 2**31 - 1
_PAGE_SIZE = 20
_LARGEST_PAGE = 2000

RecognitionKey = Annotated[Key, caller("recognition")]
RecognitionKeyInPath = Annotated[Key, caller("recognition", IN_PATH)]
DetectionKey = Annotated[Key, caller("detection")]
VerificationKey = Annotated[Key, caller("verification")]

ImageId = Annotated[uuid.UUID, Path(description="of an example", examples=[AN_ID])]
SubjectPath = Annotated[str, Path(description="a name; a slash in it is written as %2F", examples=["Ann"])]
Limit = Annotated[
    int,
    Query(ge=0, le=_LARGEST, description="how many faces at most, the biggest first; 0 is all", examples=[1]),
]
PredictionCount = Annotated[int, Query(ge=1, le=_LARGEST, description="subjects per face", examples=[2])]
Threshold = Annotated[
    float | None, Query(ge=0, le=1, allow_inf_nan=False, description="least face probability", examples=[0.8])
]
DetSize = Annotated[
    int | None,
    Query(
        ge=0,
        le=_LARGEST,
        description="longer side, in pixels, in which small faces are looked for; 0 is as large as the server allows. "
        "An addition; beyond 1280 each tile of that size costs as much as four pictures",
        examples=[1280],
    ),
]
PluginNames = Annotated[
    str,
    Query(
        description="comma-separated: age, gender, landmarks, calculator, ...; unknown names are ignored",
        examples=["age,gender,pose"],
    ),
]
GroupThreshold = Annotated[
    float,
    Query(
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="similarity from which two groups, on the average, are one person: of two strangers one pair in a "
        "thousand reaches 0.9",
        examples=[0.9],
    ),
]
Status = Annotated[bool, Query(description="add execution_time and plugins_versions", examples=[True])]
DetectFaces = Annotated[
    bool, Query(description="false: the picture is a face that was cut out already", examples=[True])
]


def _number(text: Any) -> int:
    try:
        number = int(text)
    except (TypeError, ValueError):
        return -1
    return number if number <= _LARGEST else -1


def _size(text: Any) -> int:
    number = _number(text)
    return min(number, _LARGEST_PAGE) if number >= 1 else _PAGE_SIZE


Page = Annotated[
    int, BeforeValidator(lambda text: max(0, _number(text))), Query(description="counts from 0", examples=[0])
]
PageSize = Annotated[
    int,
    BeforeValidator(_size),
    Query(description=f"1 to {_LARGEST_PAGE}; anything else is the default", examples=[20]),
]


@dataclass(frozen=True, slots=True)
class Asked:
    """Which faces a request asks for, and what about them. plugins: by their names in this API."""

    limit: int
    threshold: float | None
    plugins: Mapping[str, Attribute]
    status: bool
    det_size: int | None = None

    @property
    def attributes(self) -> frozenset[Attribute]:
        return frozenset(self.plugins.values())


def plugins_in_service(faces: FaceAnalyzer) -> dict[str, Attribute]:
    """The plugins whose models are here, by their names in this API: of two by one name the later in the table."""
    return {
        attribute.called["compreface"]: attribute
        for attribute in faces.attributes.values()
        if "compreface" in attribute.called and faces.available(attribute)
    }


async def _asked(
    request: Request,
    services: Served,
    limit: Limit = 0,
    det_prob_threshold: Threshold = None,
    face_plugins: PluginNames = "",
    status: Status = False,
    det_size: DetSize = None,
) -> Asked:
    names = [name for name in (part.strip() for part in face_plugins.split(",")) if name]
    known = plugins_in_service(services.faces)
    if not known.keys() >= set(names):
        notice(request, f"face_plugins other than {', '.join(known)} are ignored")
    plugins = {name: known[name] for name in names if name in known}
    return Asked(limit, det_prob_threshold, plugins, status, det_size)


FacesAsked = Annotated[Asked, Depends(_asked)]
