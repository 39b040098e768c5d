"""What Trueface's routes take and answer. Every answer is an envelope."""

import uuid
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictStr,
    WithJsonSchema,
)

from prosopon.deployments.state.errors import CollectionNotFound, EnrollmentNotFound, StateError
from prosopon.deployments.state.schema import MAX_SUBJECT_LENGTH
from prosopon.pipelines.http.bodies import AN_ID

DEFAULT_THRESHOLD = 0.5

Data = TypeVar("Data")


class Envelope(BaseModel, Generic[Data]):
    data: Annotated[Data, Field(description="the answer")]
    message: Annotated[str | None, Field(description="what came of it, and warnings")] = None
    success: Annotated[bool, Field(description="true")] = True


class Failure(BaseModel):
    data: Annotated[None, Field(description="nothing")] = None
    message: Annotated[str, Field(description="what went wrong")]
    success: Annotated[Literal[False], Field(description="false")] = False


class SpoofCheck(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    class_: Annotated[Literal["real", "fake"], Field(alias="class", description="whether the face is live")]
    key: Annotated[str, Field(description="of this check")]
    score: Annotated[float, Field(description="probability of the class that is named")]
    success: Annotated[bool, Field(description="true")] = True


class FoundFace(BaseModel):
    """In pixels."""

    bounding_box: Annotated[
        tuple[float, float, float, float, float], Field(description="x1 y1 x2 y2 confidence")
    ]
    points: Annotated[
        list[int],
        Field(
            min_length=10,
            max_length=10,
            description="the five x, then the five y, of left eye, right eye, nose, left and right mouth corner",
        ),
    ]


class FoundFaceWithLandmarks(FoundFace):
    raw_landmarks: Annotated[list[tuple[int, int]], Field(description="68 in the iBUG order")]


class FoundFaces(BaseModel):
    faces: Annotated[Sequence[FoundFaceWithLandmarks | FoundFace], Field(description="the biggest first")]


class EnrollmentId(BaseModel):
    enrollment_id: Annotated[str, Field(description="opaque")]


class CollectionId(BaseModel):
    collection_id: Annotated[str, Field(description="opaque")]


class CollectionDescription(BaseModel):
    """Times are in UTC and do not say so, as documented."""

    classifier_url: Annotated[
        str, Field(description="names the classifier in service; empty before there is one")
    ]
    created: Annotated[str, Field(description="ISO 8601")]
    enrollments: Annotated[list[str], Field(description="ids of its members")]
    id: Annotated[str, Field(description="opaque")]
    label_encoder: Annotated[str, Field(description="stored with the classifier")]
    name: Annotated[str, Field(description="as it was given")]
    owner: Annotated[str, Field(description="the tenant")]
    unknown: Annotated[bool, Field(description="whether its classifier learns a class of strangers")]
    updated: Annotated[str, Field(description="ISO 8601")]


class Identification(BaseModel):
    name: Annotated[str | None, Field(description="of the enrollment; null of a stranger")]
    key: Annotated[str | None, Field(description="the enrollment's id; null of a stranger")]
    confidence: Annotated[float, Field(description="of a stranger that of the most similar member")]


# ------------------------------------------------------------------------------------------------------- requests


def _id(missing: type[StateError]) -> Callable[[Any], uuid.UUID]:
    """Ids are opaque to clients: what could not be one is one that does not exist."""

    def read(given: Any) -> uuid.UUID:
        if not isinstance(given, str):
            raise ValueError("must be text")
        try:
            return uuid.UUID(given)
        except ValueError:
            raise missing(given[:64]) from None

    return read


def _storable(text: str) -> str:
    if not text.strip() or "\0" in text:
        raise ValueError("must hold text")
    return text


def _or(default: Any) -> Callable[[Any], Any]:
    """Nothing and an empty text mean the default."""
    return lambda given: default if given is None or given == "" else given


def _number(given: Any) -> Any:
    if isinstance(given, bool):
        raise ValueError("must be a number")
    return given


Name = Annotated[StrictStr, Field(max_length=MAX_SUBJECT_LENGTH), AfterValidator(_storable)]
EnrollmentRef = Annotated[
    uuid.UUID,
    BeforeValidator(_id(EnrollmentNotFound)),
    WithJsonSchema({"type": "string", "examples": [AN_ID]}),
]
# The second is the spelling of the document's table for POST /v1/train.
_SPELLINGS = Field(validation_alias=AliasChoices("collection_id", "collection_id_"))
_CollectionId = Annotated[
    uuid.UUID,
    BeforeValidator(_id(CollectionNotFound)),
    WithJsonSchema({"type": "string", "examples": [AN_ID]}),
]
CollectionRef = Annotated[_CollectionId, _SPELLINGS]
Threshold = Annotated[
    float,
    Field(ge=0, le=1, allow_inf_nan=False, description="a number, or one as text"),
    BeforeValidator(_number),
    BeforeValidator(_or(DEFAULT_THRESHOLD)),
]


class NewEnrollment(BaseModel):
    """With img0 to img9: base64 pictures, one or more."""

    name: Annotated[Name | None, Field(description="of the person", examples=["Ann"])] = None
    collection_id: Annotated[
        _CollectionId | None, _SPELLINGS, Field(description="where the enrollment becomes a member")
    ] = None


class ChangedEnrollment(BaseModel):
    """With img0 to img9: base64 pictures, one or more."""

    enrollment_id: Annotated[EnrollmentRef, Field(description="whose pictures these are too")]


class EnrollmentToDelete(BaseModel):
    enrollment_id: Annotated[EnrollmentRef, Field(description="of whom nothing is kept")]


class NewCollection(BaseModel):
    name: Annotated[Name, Field(description="of the collection", examples=["Colleagues"])]
    unknowns: Annotated[
        bool,
        BeforeValidator(_or(False)),
        Field(description="whether its classifier learns a class of strangers", examples=[True]),
    ] = False


class ChangedCollection(BaseModel):
    enrollment_id: Annotated[EnrollmentRef, Field(description="the new member")]
    collection_id: Annotated[CollectionRef, Field(description="that it is added to")]


class NamedCollection(BaseModel):
    collection_id: Annotated[CollectionRef, Field(description="of which collection")]


class ToMatch(BaseModel):
    """img: a base64 picture."""

    id: Annotated[EnrollmentRef, Field(description="of an enrollment")]
    threshold: Annotated[
        Threshold,
        Field(description="similarity from which it is a match, a number or one as text", examples=[0.6]),
    ] = DEFAULT_THRESHOLD


class ToIdentify(BaseModel):
    """img: a base64 picture."""

    collection_id: Annotated[CollectionRef, Field(description="of those who are looked for")]


class OnlyPicture(BaseModel):
    """img: a base64 picture."""
