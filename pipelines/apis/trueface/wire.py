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

DEFAULT_THRESHOLD = 0.5

Data = TypeVar("Data")


class Envelope(BaseModel, Generic[Data]):
    data: Data
    message: str | None = None
    success: bool = True


class Failure(BaseModel):
    data: None = None
    message: str
    success: Literal[False] = False


class SpoofCheck(BaseModel):
    """score: probability of the class that is named."""

    model_config = ConfigDict(populate_by_name=True)

    class_: Annotated[Literal["real", "fake"], Field(alias="class")]
    key: str
    score: float
    success: bool = True


class FoundFace(BaseModel):
    """bounding_box: x1 y1 x2 y2 confidence. points: the five x, then the five y, of left eye, right eye, nose, left
    and right mouth corner. raw_landmarks: 68 in the iBUG order. All in pixels."""

    bounding_box: tuple[float, float, float, float, float]
    points: Annotated[list[int], Field(min_length=10, max_length=10)]


class FoundFaceWithLandmarks(FoundFace):
    raw_landmarks: list[tuple[int, int]]


class FoundFaces(BaseModel):
    faces: Sequence[FoundFaceWithLandmarks | FoundFace]


class EnrollmentId(BaseModel):
    enrollment_id: str


class CollectionId(BaseModel):
    collection_id: str


class CollectionDescription(BaseModel):
    """Times are in UTC and do not say so, as documented."""

    classifier_url: str
    created: str
    enrollments: list[str]
    id: str
    label_encoder: str
    name: str
    owner: str
    unknown: bool
    updated: str


class Identification(BaseModel):
    """Of a stranger, name and key are null and confidence is that of the most similar member."""

    name: str | None
    key: str | None
    confidence: float


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
    uuid.UUID, BeforeValidator(_id(EnrollmentNotFound)), WithJsonSchema({"type": "string"})
]
# The second is the spelling of the document's table for POST /v1/train.
_SPELLINGS = Field(validation_alias=AliasChoices("collection_id", "collection_id_"))
_CollectionId = Annotated[
    uuid.UUID, BeforeValidator(_id(CollectionNotFound)), WithJsonSchema({"type": "string"})
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

    name: Name | None = None
    collection_id: Annotated[_CollectionId | None, _SPELLINGS] = None


class ChangedEnrollment(BaseModel):
    """With img0 to img9: base64 pictures, one or more."""

    enrollment_id: EnrollmentRef


class EnrollmentToDelete(BaseModel):
    enrollment_id: EnrollmentRef


class NewCollection(BaseModel):
    name: Name
    unknowns: Annotated[bool, BeforeValidator(_or(False))] = False


class ChangedCollection(BaseModel):
    enrollment_id: EnrollmentRef
    collection_id: CollectionRef


class NamedCollection(BaseModel):
    collection_id: CollectionRef


class ToMatch(BaseModel):
    """img: a base64 picture; id: of an enrollment."""

    id: EnrollmentRef
    threshold: Threshold = DEFAULT_THRESHOLD


class ToIdentify(BaseModel):
    """img: a base64 picture."""

    collection_id: CollectionRef


class OnlyPicture(BaseModel):
    """img: a base64 picture."""
