"""The Trueface (chui) API (base ``/v1``): routes, wire types and its errors.

Contract: Trueface's own documentation. Every answer is ``{"data", "message", "success"}``; errors are the same with
``success`` false. What was deleted answers 404, as if it had never been: nothing is kept of it that could tell 410.
"""

import asyncio
import re
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar

import numpy as np
from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import APIKeyHeader
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictStr, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from prosopon.deployments.serving.calls import ModelFailed, Overloaded, Unavailable
from prosopon.deployments.state.blobs import Blob
from prosopon.deployments.state.errors import (
    CollectionEmpty,
    CollectionNotFound,
    CollectionUntrained,
    EnrollmentNotFound,
    StateError,
)
from prosopon.deployments.state.galleries.collections import Collection
from prosopon.deployments.state.galleries.enrollments import EnrolledPicture
from prosopon.deployments.state.keys import Key
from prosopon.deployments.state.schema import MAX_SUBJECT_LENGTH
from prosopon.deployments.state.spoof_checks import SpoofChecks
from prosopon.models.faces.attributes.embedding import EMBEDDING
from prosopon.models.faces.attributes.landmarks import DENSE_LANDMARKS
from prosopon.models.faces.attributes.liveness import LIVENESS
from prosopon.models.pictures.decoding import ImageError, media_type
from prosopon.pipelines.graphs.face_analysis import Attribute, Face, Picture
from prosopon.pipelines.graphs.side_by_side import all_of
from prosopon.pipelines.http.application import INTERNAL, api_app
from prosopon.pipelines.http.uploads import (
    OVERHEAD,
    BodyError,
    MissingPicture,
    check_size,
    decode_base64,
    read_body,
    read_json,
)

if TYPE_CHECKING:
    from prosopon.pipelines.services import Services

BASE = "/v1"
MAX_PICTURES = 10
DEFAULT_THRESHOLD = 0.5
LANDMARKS = 68
_PICTURE_FIELD = re.compile(r"img(\d+)")

# ---------------------------------------------------------------------------------------------------- wire types

Data = TypeVar("Data")


class Envelope(BaseModel, Generic[Data]):
    data: Data
    message: str | None = None
    success: bool = True

    def response(self) -> Response:
        return Response(self.model_dump_json(), media_type="application/json")


class Failure(BaseModel):
    data: None = None
    message: str
    success: Literal[False] = False


class SpoofCheck(BaseModel):
    """score: probability of the class that is named."""

    model_config = ConfigDict(populate_by_name=True)

    class_: Literal["real", "fake"] = Field(serialization_alias="class", validation_alias="class")
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


def _storable(text: str) -> str:
    if not text.strip() or "\0" in text:
        raise ValueError("must hold text")
    return text


Name = Annotated[StrictStr, Field(max_length=MAX_SUBJECT_LENGTH), AfterValidator(_storable)]


class NewEnrollment(BaseModel):
    """With img0 to img9: base64 pictures, one or more."""

    name: Name | None = None
    collection_id: StrictStr | None = None


class ChangedEnrollment(BaseModel):
    """With img0 to img9: base64 pictures, one or more."""

    enrollment_id: StrictStr


class EnrollmentToDelete(BaseModel):
    enrollment_id: StrictStr


class NewCollection(BaseModel):
    name: Name
    unknowns: StrictBool = False


class ChangedCollection(BaseModel):
    enrollment_id: StrictStr
    collection_id: StrictStr


class NamedCollection(BaseModel):
    collection_id: StrictStr


class ToMatch(BaseModel):
    """img: a base64 picture; id: of an enrollment."""

    id: StrictStr
    threshold: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=True)] = DEFAULT_THRESHOLD


class ToIdentify(BaseModel):
    """img: a base64 picture."""

    collection_id: StrictStr


Body = TypeVar("Body", bound=BaseModel)

# -------------------------------------------------------------------------------------------------------- errors


class TruefaceError(Exception):
    """An answer in the API's error form."""

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.retry_after = status, message, retry_after

    def response(self) -> Response:
        headers = {"Retry-After": str(self.retry_after)} if self.retry_after else None
        return JSONResponse(Failure(message=self.message).model_dump(), self.status, headers)


def _translate(error: Exception) -> TruefaceError:
    """The API's own error for whatever went wrong below the routes."""
    match error:
        case TruefaceError():
            return error
        case RequestValidationError() | ValidationError():
            problem = error.errors()[0]
            name = ".".join(str(part) for part in problem["loc"] if part not in ("query", "header"))
            return TruefaceError(400, f"'{name}': {problem['msg']}" if name else str(problem["msg"]))
        case BodyError() | ImageError():
            return TruefaceError(400, str(error))
        case Overloaded():
            return TruefaceError(429, "too many requests are waiting: try again", error.retry_after)
        case Unavailable():
            return TruefaceError(503, "a model is restarting: try again", error.retry_after)
        case ModelFailed():
            return TruefaceError(500, "the model service failed; the server's log says why")
        case HTTPException():
            return TruefaceError(error.status_code, str(error.detail))
        case EnrollmentNotFound():
            return TruefaceError(404, f"no enrollment has the id {error}")
        case CollectionNotFound():
            return TruefaceError(404, f"no collection has the id {error}")
        case CollectionEmpty():
            return TruefaceError(
                400, "the collection is empty: add enrollments to it with PUT /v1/collection, then train it"
            )
        case CollectionUntrained():
            return TruefaceError(
                400,
                "the collection is not trained: add enrollments to it with PUT /v1/collection, call "
                "POST /v1/train, and allow up to 30 seconds",
            )
        case StateError():
            return TruefaceError(503, str(error))
    raise error


_EXPECTED = (
    TruefaceError, RequestValidationError, ValidationError, HTTPException, BodyError, ImageError, StateError,
    Overloaded, Unavailable, ModelFailed,
)  # fmt: skip


# ------------------------------------------------------------------------------------------------------- request


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _json_object(request: Request, limit: int) -> dict[str, Any]:
    """Raises `TruefaceError` 406 for another Content-Type, `BodyError` for what is no JSON object."""
    if _media_type(request) != "application/json":
        raise TruefaceError(406, "the body must be JSON, with the Content-Type application/json")
    document = await read_json(request, limit)
    if not isinstance(document, dict):
        raise BodyError("the body must be a JSON object")
    return document


def _as_uuid(text: str, missing: type[StateError]) -> uuid.UUID:
    """Ids are opaque to clients: what could not be one is one that does not exist."""
    try:
        return uuid.UUID(text)
    except ValueError:
        raise missing(text[:64]) from None


def _pictures_in(document: dict[str, Any], max_bytes: int) -> dict[str, bytes]:
    """The pictures img0, img1, ... by their field, in the order of their numbers."""
    fields = [field for field in document if _PICTURE_FIELD.fullmatch(field)]
    if not fields:
        raise MissingPicture("img0", multipart=False)
    if len(fields) > MAX_PICTURES:
        raise TruefaceError(400, f"{len(fields)} pictures were sent; at most {MAX_PICTURES} are accepted")
    fields.sort(key=lambda field: (len(field), field))
    return {field: _picture(field, document, max_bytes) for field in fields}


def _picture(field: str, document: dict[str, Any], max_bytes: int) -> bytes:
    data = decode_base64(field, document.get(field))
    check_size(f"'{field}'", data, max_bytes)
    return data


def _body_of(model: type[BaseModel], pictures: Sequence[str] = (), raw: bool = False) -> dict[str, Any]:
    """OpenAPI of a JSON body with base64 pictures beside the model's fields, or of a raw picture."""
    schema = model.model_json_schema()
    schema.setdefault("properties", {}).update(
        {field: {"type": "string", "format": "byte"} for field in pictures}
    )
    if pictures:
        schema["required"] = [*schema.get("required", []), pictures[0]]
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    if raw:
        binary = {"schema": {"type": "string", "format": "binary"}}
        content |= {"image/jpeg": binary, "image/png": binary}
    return {"requestBody": {"required": True, "content": content}}


_PICTURES = [f"img{number}" for number in range(MAX_PICTURES)]


class _OnlyPicture(BaseModel):
    """img: a base64 picture."""


# -------------------------------------------------------------------------------------------------------- answers


def _found(face: Face) -> FoundFace:
    x1, y1, x2, y2 = (float(value) for value in face.box)
    points = [round(float(value)) for value in np.concatenate([face.landmarks[:, 0], face.landmarks[:, 1]])]
    box = (x1, y1, x2, y2, face.score)
    landmarks = face.get(DENSE_LANDMARKS)
    if landmarks is None:
        return FoundFace(bounding_box=box, points=points)
    dense = [(round(float(x)), round(float(y))) for x, y in landmarks]
    return FoundFaceWithLandmarks(bounding_box=box, points=points, raw_landmarks=dense)


def _described(collection: Collection, owner: int) -> CollectionDescription:
    """The labels are stored with the classifier, so that both are named alike."""
    classifier = f"sha256:{collection.classifier}" if collection.classifier else ""
    return CollectionDescription(
        classifier_url=classifier,
        created=_iso(collection.created),
        enrollments=[str(member) for member in collection.members],
        id=str(collection.id),
        label_encoder=classifier,
        name=collection.name,
        owner=str(owner),
        unknown=collection.unknowns,
        updated=_iso(collection.updated),
    )


def _iso(time: datetime) -> str:
    """In UTC and without saying so, as documented."""
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


# --------------------------------------------------------------------------------------------------------- routes


def create_app(services: "Services") -> FastAPI:
    """The API's application. Its OpenAPI document is at ``/openapi/trueface.json``."""
    app = api_app(
        "trueface",
        "Trueface API",
        "1",
        expected=_EXPECTED,
        answer=lambda error: _translate(error).response(),
        bug=TruefaceError(500, INTERNAL),
        responses={status: {"model": Failure} for status in (400, 401, 403, 404, 406, 429, 500, 503)},
    )
    assert services.enrollments is not None
    enrollments = services.enrollments
    checks = SpoofChecks(services.records)
    max_bytes = services.settings.images.max_bytes
    # Twice what base64 needs, so that a picture that is a little too large is named instead of the whole body.
    one_picture = 2 * max_bytes + OVERHEAD
    all_pictures = 2 * MAX_PICTURES * max_bytes + OVERHEAD

    header = APIKeyHeader(name="x-api-key", auto_error=False)

    async def authorized(given: Annotated[str | None, Depends(header)]) -> Key:
        key = await services.keys.find(given) if given else None
        if key is None:
            raise TruefaceError(401, "x-api-key is missing or is no API key")
        if not key.allows("trueface"):
            raise TruefaceError(403, "this API key is not for Trueface")
        return key

    Caller = Annotated[Key, Depends(authorized)]

    async def body(request: Request, model: type[Body]) -> Body:
        return model.model_validate(await _json_object(request, OVERHEAD))

    async def raw_or_json_picture(request: Request) -> bytes:
        kind = _media_type(request)
        if kind in ("image/jpeg", "image/png"):
            data = await read_body(request, max_bytes)
            if not data:
                raise BodyError("the body is empty")
            return data
        if kind != "application/json":
            raise TruefaceError(406, "the Content-Type must be image/jpeg, image/png or application/json")
        return _picture("img", await _json_object(request, one_picture), max_bytes)

    async def analyze(field: str, image: bytes, attribute: Attribute, limit: int = 1) -> Picture:
        """At least one face; errors name the field."""
        try:
            picture = await services.faces.analyze(image, frozenset({attribute}), limit=limit)
        except ImageError as error:
            raise TruefaceError(400, f"'{field}': {error}") from None
        if not picture.faces:
            raise TruefaceError(400, f"'{field}': no face is found in the image")
        return picture

    async def enrolled(field: str, image: bytes) -> EnrolledPicture:
        face = (await analyze(field, image, EMBEDDING)).faces[0]
        return EnrolledPicture(uuid.uuid4(), face.embedding, Blob(image, media_type(image)))

    async def all_enrolled(pictures: dict[str, bytes]) -> list[EnrolledPicture]:
        """Every picture's biggest face. Raises the first picture's error, in the order of the fields."""
        return await all_of(enrolled(*item) for item in pictures.items())

    # -------------------------------------------------------------------------------------------- single pictures

    @app.post(
        f"{BASE}/spdetect",
        response_model=Envelope[SpoofCheck],
        tags=["pictures"],
        openapi_extra=_body_of(_OnlyPicture, ["img"], raw=True),
    )
    async def detect_spoof(request: Request, caller: Caller) -> Response:
        """Whether the biggest face is live or an attempt to deceive."""
        image = await raw_or_json_picture(request)
        if not services.faces.available(LIVENESS):
            message = "no liveness model is in service: run `prosopon models pull minifasnet` and restart the server"
            raise TruefaceError(503, message)
        face = (await analyze("img", image, LIVENESS)).faces[0]
        live, key = face[LIVENESS].probability, uuid.uuid4()
        model = services.faces.card(LIVENESS).fingerprint
        await asyncio.to_thread(checks.add, caller.tenant, key, live, model)
        found = SpoofCheck(
            class_="real" if live >= 0.5 else "fake", key=str(key), score=max(live, 1 - live), success=True
        )
        answer = Envelope(data=found.model_dump(by_alias=True), message="data processed successfully")
        return answer.response()

    @app.post(
        f"{BASE}/facedetect",
        response_model=Envelope[FoundFaces],
        tags=["pictures"],
        openapi_extra=_body_of(_OnlyPicture, ["img"], raw=True),
    )
    async def detect_faces(
        request: Request,
        caller: Caller,
        rawlandmarks: Annotated[bool, Query(description="add raw_landmarks")] = False,
        rawlandmark: Annotated[bool, Query(description="the documentation's other spelling")] = False,
    ) -> Response:
        """Every face of the picture, the biggest first; none is an empty list."""
        image = await raw_or_json_picture(request)
        plugins = frozenset[Attribute]()
        if rawlandmarks or rawlandmark:
            cards = services.faces.cards
            if "landmarks" not in cards or cards["landmarks"].dim != LANDMARKS:
                raise TruefaceError(503, f"no model of {LANDMARKS} landmarks is in service")
            plugins = frozenset({DENSE_LANDMARKS})
        picture = await services.faces.analyze(image, plugins)
        found = FoundFaces(faces=[_found(face) for face in picture.faces])
        return Envelope(data=found, message="face processed successfully").response()

    # ------------------------------------------------------------------------------------------------ enrollments

    @app.post(
        f"{BASE}/enroll",
        response_model=Envelope[EnrollmentId],
        tags=["enrollments"],
        openapi_extra=_body_of(NewEnrollment, _PICTURES),
    )
    async def enroll(request: Request, caller: Caller) -> Response:
        """Enroll a person with 1 to 10 pictures: all of them or, where one has no face, none."""
        document = await _json_object(request, all_pictures)
        new = NewEnrollment.model_validate(document)
        collection = None
        if new.collection_id is not None:
            collection = _as_uuid(new.collection_id, CollectionNotFound)
        pictures = await all_enrolled(_pictures_in(document, max_bytes))
        enrollment = uuid.uuid4()
        await enrollments.enroll(caller.tenant, enrollment, new.name, collection, pictures)
        found = EnrollmentId(enrollment_id=str(enrollment))
        return Envelope(data=found, message="enrollment processed successfully").response()

    @app.put(
        f"{BASE}/enroll",
        response_model=Envelope[EnrollmentId],
        tags=["enrollments"],
        openapi_extra=_body_of(ChangedEnrollment, _PICTURES),
    )
    async def add_pictures(request: Request, caller: Caller) -> Response:
        """Add 1 to 10 pictures to an enrollment: all of them or none."""
        document = await _json_object(request, all_pictures)
        enrollment = _as_uuid(ChangedEnrollment.model_validate(document).enrollment_id, EnrollmentNotFound)
        pictures = await all_enrolled(_pictures_in(document, max_bytes))
        await enrollments.add_pictures(caller.tenant, enrollment, pictures)
        found = EnrollmentId(enrollment_id=str(enrollment))
        return Envelope(data=found, message="enrollment updated successfully").response()

    @app.delete(
        f"{BASE}/enroll",
        response_model=Envelope[str],
        tags=["enrollments"],
        openapi_extra=_body_of(EnrollmentToDelete),
    )
    async def delete_enrollment(request: Request, caller: Caller) -> Response:
        """Delete a person: pictures, embeddings, and the place in every collection."""
        given = (await body(request, EnrollmentToDelete)).enrollment_id
        await enrollments.delete(caller.tenant, _as_uuid(given, EnrollmentNotFound))
        return Envelope(data=f"Enrollment {given} has been deleted").response()

    # ------------------------------------------------------------------------------------------------ collections

    @app.post(
        f"{BASE}/collection",
        response_model=Envelope[CollectionId],
        tags=["collections"],
        openapi_extra=_body_of(NewCollection),
    )
    async def create_collection(request: Request, caller: Caller) -> Response:
        """Create a collection; with unknowns its classifier also learns a class of strangers."""
        new, collection = await body(request, NewCollection), uuid.uuid4()
        await enrollments.create_collection(caller.tenant, collection, new.name, new.unknowns)
        found = CollectionId(collection_id=str(collection))
        return Envelope(data=found, message="collection created successfully").response()

    @app.put(
        f"{BASE}/collection",
        response_model=Envelope[CollectionId],
        tags=["collections"],
        openapi_extra=_body_of(ChangedCollection),
    )
    async def add_to_collection(request: Request, caller: Caller) -> Response:
        """Add an enrollment; the classifier follows within 30 seconds."""
        given = await body(request, ChangedCollection)
        collection = _as_uuid(given.collection_id, CollectionNotFound)
        enrollment = _as_uuid(given.enrollment_id, EnrollmentNotFound)
        await enrollments.add_to_collection(caller.tenant, collection, enrollment)
        found = CollectionId(collection_id=given.collection_id)
        return Envelope(data=found, message="collection updated successfully").response()

    @app.delete(
        f"{BASE}/collection",
        response_model=Envelope[str],
        tags=["collections"],
        openapi_extra=_body_of(NamedCollection),
    )
    async def delete_collection(request: Request, caller: Caller) -> Response:
        """Delete a collection and its classifier; the enrollments stay."""
        given = (await body(request, NamedCollection)).collection_id
        await enrollments.delete_collection(caller.tenant, _as_uuid(given, CollectionNotFound))
        return Envelope(data=f"Entity {given} has been deleted").response()

    @app.get(f"{BASE}/collection", response_model=Envelope[list[CollectionDescription]], tags=["collections"])
    async def list_collections(caller: Caller) -> Response:
        """Every collection, the oldest first."""
        found = await enrollments.collections(caller.tenant)
        return Envelope(data=[_described(collection, caller.tenant) for collection in found]).response()

    @app.post(
        f"{BASE}/train",
        response_model=Envelope[CollectionId],
        tags=["collections"],
        openapi_extra=_body_of(NamedCollection),
    )
    async def train(request: Request, caller: Caller) -> Response:
        """Have the classifier trained in the background."""
        given = (await body(request, NamedCollection)).collection_id
        await enrollments.train(caller.tenant, _as_uuid(given, CollectionNotFound))
        found = CollectionId(collection_id=given)
        return Envelope(data=found, message="retraining the classifier").response()

    # ------------------------------------------------------------------------------------------------ recognition

    @app.post(
        f"{BASE}/match",
        response_model=Envelope[dict[str, bool | float]],
        tags=["recognition"],
        openapi_extra=_body_of(ToMatch, ["img"]),
    )
    async def match(request: Request, caller: Caller) -> Response:
        """How similar the picture's most similar face is to every picture of an enrollment."""
        document = await _json_object(request, one_picture)
        asked = ToMatch.model_validate(document)
        enrollment = _as_uuid(asked.id, EnrollmentNotFound)
        image = _picture("img", document, max_bytes)
        stored = await enrollments.embeddings(caller.tenant, enrollment)
        picture = await analyze("img", image, EMBEDDING, limit=0)
        probes = np.stack([face.embedding for face in picture.faces])
        distances = np.linalg.norm(stored[:, np.newaxis] - probes, axis=2).min(axis=1)
        scores = [float(score) for score in services.similarity.similarity(distances)]
        found: dict[str, bool | float] = {}
        for number, score in enumerate(scores):
            found[f"emb{number}_match"] = score >= asked.threshold
            found[f"emb{number}_score"] = score
        return Envelope(data=found, message="face processed successfully").response()

    @app.post(
        f"{BASE}/identify",
        response_model=Envelope[Identification],
        tags=["recognition"],
        openapi_extra=_body_of(ToIdentify, ["img"]),
    )
    async def identify(request: Request, caller: Caller) -> Response:
        """Who of a collection the picture's biggest face belongs to, if to anybody."""
        document = await _json_object(request, one_picture)
        collection = _as_uuid(ToIdentify.model_validate(document).collection_id, CollectionNotFound)
        image = _picture("img", document, max_bytes)
        face = (await analyze("img", image, EMBEDDING)).faces[0]
        found = await enrollments.identify(caller.tenant, collection, face.embedding)
        if found is None:
            raise CollectionUntrained(str(collection))
        if found.confidence < 0.5:
            nobody = Identification(name=None, key=None, confidence=found.confidence)
            return Envelope(data=nobody, message="the person is unknown").response()
        member = Identification(name=found.name, key=str(found.enrollment), confidence=found.confidence)
        return Envelope(data=member, message="identify processed successfully").response()

    return app
