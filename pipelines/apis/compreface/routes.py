"""The CompreFace REST API (base ``/api/v1``): routes, wire types and its errors.

Contract: CompreFace's own REST description, version 1.2. Every error is ``{"message", "code"}``.
"""

import asyncio
import uuid
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import Body, Depends, FastAPI, Header, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import APIKeyHeader
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from prosopon.deployments.serving.calls import ModelFailed, Overloaded, Unavailable
from prosopon.deployments.state.blobs import Blob
from prosopon.deployments.state.errors import (
    FingerprintMismatch,
    InvalidEmbedding,
    InvalidSubject,
    StateError,
    SubjectExists,
    SubjectNotFound,
)
from prosopon.deployments.state.galleries.faces import FaceRecord, NewFace
from prosopon.deployments.state.galleries.store import GalleryStore
from prosopon.deployments.state.keys import Key, Scope
from prosopon.models.faces.detections import Float32
from prosopon.models.pictures.decoding import ImageError, RejectionReason, media_type
from prosopon.pipelines.graphs.face_analysis import Face, Picture, Plugin, inside
from prosopon.pipelines.graphs.recognition import NoFace, Recognition, SeveralFaces
from prosopon.pipelines.http.application import INTERNAL, api_app
from prosopon.pipelines.http.uploads import BodyError, MissingPicture, Upload, read_pictures

if TYPE_CHECKING:
    from prosopon.pipelines.ingress import Services

BASE = "/api/v1"
EXTENSIONS = frozenset({"jpeg", "jpg", "ico", "png", "bmp", "gif", "tif", "tiff", "webp"})
_MAX_PAGE = 1000
_FOR_EVER = "public, max-age=31536000, immutable"

# ---------------------------------------------------------------------------------------------------- wire types


class Wire(BaseModel):
    """Absent plugins are left out, not null."""

    def response(self, status: int = 200) -> Response:
        return Response(
            self.model_dump_json(exclude_none=True), status_code=status, media_type="application/json"
        )


class Failure(BaseModel):
    message: str
    code: int


class Box(Wire):
    probability: float
    x_max: int
    y_max: int
    x_min: int
    y_min: int


class AgeRange(Wire):
    probability: float
    high: int
    low: int


class Choice(Wire):
    probability: float
    value: str


class Pose(Wire):
    pitch: float
    roll: float
    yaw: float


class SubjectSimilarity(Wire):
    subject: str
    similarity: float


class FoundFace(Wire):
    age: AgeRange | None = None
    gender: Choice | None = None
    mask: Choice | None = None
    liveness: Choice | None = None
    pose: Pose | None = None
    embedding: list[float] | None = None
    box: Box
    landmarks: list[tuple[int, int]] | None = None
    landmarks2d106: list[tuple[int, int]] | None = None
    execution_time: dict[str, float] | None = None


class RecognizedFace(FoundFace):
    subjects: list[SubjectSimilarity]


class ComparedFace(FoundFace):
    similarity: float


class Detected(Wire):
    result: list[FoundFace]
    plugins_versions: dict[str, str] | None = None


class Recognized(Wire):
    result: list[RecognizedFace]
    plugins_versions: dict[str, str] | None = None


class ComparedToExample(Wire):
    result: list[ComparedFace]
    plugins_versions: dict[str, str] | None = None


class Verification(Wire):
    source_image_face: FoundFace
    face_matches: list[ComparedFace]
    plugins_versions: dict[str, str] | None = None


class Verified(Wire):
    result: list[Verification]


class Subject(Wire):
    subject: str


class Subjects(Wire):
    subjects: list[str]


class Updated(Wire):
    updated: bool


class Deleted(Wire):
    deleted: int


class Example(Wire):
    image_id: uuid.UUID
    subject: str


class Examples(Wire):
    faces: list[Example]
    page_number: int
    page_size: int
    total_pages: int
    total_elements: int


class EmbeddingRecognition(Wire):
    embedding: list[float]
    similarities: list[SubjectSimilarity]


class RecognizedEmbeddings(Wire):
    result: list[EmbeddingRecognition]


class EmbeddingSimilarity(Wire):
    embedding: list[float]
    similarity: float


class ComparedEmbeddings(Wire):
    result: list[EmbeddingSimilarity]


class SubjectName(BaseModel):
    subject: str


class Embeddings(BaseModel):
    embeddings: list[list[float]]


class SourceAndTargets(BaseModel):
    source: list[float]
    targets: list[list[float]]


# -------------------------------------------------------------------------------------------------------- errors


class CompreFaceError(Exception):
    """An answer in the API's error form."""

    def __init__(self, status: int, code: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after

    def response(self) -> JSONResponse:
        headers = {"Retry-After": str(self.retry_after)} if self.retry_after else None
        return JSONResponse({"message": self.message, "code": self.code}, self.status, headers)


_STATE_ERRORS: dict[type[StateError], tuple[int, int]] = {
    SubjectNotFound: (404, 42),
    SubjectExists: (400, 43),
    InvalidSubject: (400, 26),
    InvalidEmbedding: (400, 37),
    FingerprintMismatch: (400, 36),
}

_MISSING_CODES = {"header": 20, "query": 33, "path": 35, "body": 5}


def _translate(error: Exception) -> CompreFaceError:
    """The API's own error for whatever went wrong below the routes."""
    match error:
        case CompreFaceError():
            return error
        case RequestValidationError():
            return _invalid(error)
        case MissingPicture():
            code = 34 if error.multipart and not error.empty else 5
            return CompreFaceError(400, code, f"Required part {error}")
        case BodyError():
            return CompreFaceError(400, 0, str(error))
        case ImageError():
            code = 5 if error.reason is RejectionReason.EMPTY else 0
            return CompreFaceError(400, code, str(error))
        case Overloaded() | Unavailable():
            kind = (
                "too many requests are waiting" if isinstance(error, Overloaded) else "a model is restarting"
            )
            return CompreFaceError(503, 0, f"{kind}: try again", error.retry_after)
        case ModelFailed():
            return CompreFaceError(500, 41, "the model service failed; the server's log says why")
        case NoFace():
            return CompreFaceError(400, 28, str(error))
        case SeveralFaces():
            return CompreFaceError(400, 31, str(error))
        case HTTPException():
            return CompreFaceError(error.status_code, 0, str(error.detail))
        case StateError():
            status, code = next(
                (answer for kind, answer in _STATE_ERRORS.items() if isinstance(error, kind)), (400, 0)
            )
            return CompreFaceError(status, code, str(error))
    raise error


_EXPECTED = (
    CompreFaceError, RequestValidationError, HTTPException, BodyError, ImageError, StateError, NoFace, SeveralFaces,
    Overloaded, Unavailable, ModelFailed,
)  # fmt: skip


def _invalid(error: RequestValidationError) -> CompreFaceError:
    problem = error.errors()[0]
    place, *names = problem["loc"]
    name = ".".join(str(part) for part in names) or "body"
    if problem["type"] == "missing":
        return CompreFaceError(
            400, _MISSING_CODES[str(place)], f"Required {place} parameter '{name}' is missing"
        )
    out_of_range = problem["type"] in {"greater_than_equal", "less_than_equal", "finite_number"}
    return CompreFaceError(400, 26 if out_of_range else 36, f"'{name}': {problem['msg']}")


# ------------------------------------------------------------------------------------------------------- request

Limit = Annotated[
    int, Query(ge=0, le=2**31 - 1, description="at most so many faces, the biggest first; 0 is all")
]
PredictionCount = Annotated[int, Query(ge=1, le=2**31 - 1, description="subjects per face")]
Threshold = Annotated[
    float | None, Query(ge=0, le=1, allow_inf_nan=False, description="least face probability")
]
PluginNames = Annotated[str, Query(description="comma-separated: age, gender, landmarks, calculator, ...")]
Status = Annotated[bool, Query(description="add execution_time and plugins_versions")]
ImageId = Annotated[uuid.UUID, Path()]

PLUGINS = {
    "age": Plugin.AGE,
    "gender": Plugin.GENDER,
    "mask": Plugin.MASK,
    "liveness": Plugin.LIVENESS,
    "pose": Plugin.POSE,
    "landmarks": Plugin.LANDMARKS,
    "landmarks2d106": Plugin.DENSE_LANDMARKS,
    "calculator": Plugin.EMBEDDING,
}


@dataclass(frozen=True, slots=True)
class Asked:
    """Which faces and which plugins (names of `PLUGINS`) a request asks for."""

    limit: int
    threshold: float | None
    names: list[str]
    status: bool


async def asked_for(  # A plain function, or the class itself, would be sent to a thread.
    limit: Limit = 0,
    det_prob_threshold: Threshold = None,
    face_plugins: PluginNames = "",
    status: Status = False,
) -> Asked:
    names = [name for name in (part.strip() for part in face_plugins.split(",")) if name]
    return Asked(limit, det_prob_threshold, names, status)


def _picture_body(*names: str) -> dict[str, Any]:
    """OpenAPI of a body that carries pictures, as files or as base64."""
    files = {name: {"type": "string", "format": "binary"} for name in names}
    texts = {name: {"type": "string", "format": "byte"} for name in names}
    schemas = {"multipart/form-data": files, "application/json": texts}
    content = {
        media: {"schema": {"type": "object", "properties": properties, "required": list(names)}}
        for media, properties in schemas.items()
    }
    return {"requestBody": {"required": True, "content": content}}


def _check_extension(upload: Upload) -> None:
    if upload.filename is None:
        return
    extension = PurePath(upload.filename).suffix.lstrip(".").lower()
    if extension not in EXTENSIONS:
        given = f"'{extension}' is" if extension else "none is given and one is"
        allowed = ", ".join(sorted(EXTENSIONS))
        needed = "not allowed" if extension else "needed"
        raise CompreFaceError(400, 21, f"Extension of the file name: {given} {needed}; allowed: {allowed}")


def _vectors(name: str, rows: list[list[float]], dim: int) -> Float32:
    """``(N, dim)`` float32 unit vectors. Raises `CompreFaceError` 36 or 37 that says which is wrong."""
    for row, values in enumerate(rows):
        if len(values) != dim:
            message = f"'{name}' {row} has {len(values)} numbers and the model's embeddings have {dim}"
            raise CompreFaceError(400, 37, message)
    array = np.asarray(rows, np.float64).reshape(len(rows), dim)
    norms = np.linalg.norm(array, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or (norms == 0).any():
        raise CompreFaceError(400, 36, f"'{name}' must hold finite numbers that are not all zero")
    unit: Float32 = (array / norms).astype(np.float32)
    return unit


# -------------------------------------------------------------------------------------------------------- answers


class Answers:
    """Puts what the pipeline found into wire types."""

    def __init__(self, services: "Services") -> None:
        self._faces = services.faces

    def plugins(self, asked: Asked) -> frozenset[Plugin]:
        """Raises `CompreFaceError` that lists the known plugins."""
        available = [name for name in PLUGINS if self._available(name)]
        for name in asked.names:
            if name not in available:
                state = "is not available with the models in service" if name in PLUGINS else "is unknown"
                message = f"face_plugins: '{name}' {state}; available: {', '.join(available)}"
                raise CompreFaceError(400, 36, message)
        return frozenset(PLUGINS[name] for name in asked.names)

    def _available(self, name: str) -> bool:
        if name == "landmarks2d106":
            return self._faces.available(Plugin.DENSE_LANDMARKS) and self._faces.cards["landmarks"].dim == 106
        return self._faces.available(PLUGINS[name])

    def face(self, face: Face, picture: Picture, asked: Asked) -> dict[str, Any]:
        """Fields of `FoundFace`."""
        x1, y1, x2, y2 = inside(face, picture)
        fields: dict[str, Any] = {
            "box": Box(probability=round(face.score, 5), x_min=x1, y_min=y1, x_max=x2, y_max=y2)
        }
        if face.age and "age" in asked.names:
            fields["age"] = AgeRange(probability=face.age.probability, high=face.age.high, low=face.age.low)
        if face.gender:
            fields["gender"] = Choice(probability=face.gender.probability, value=face.gender.value)
        if face.mask:
            fields["mask"] = Choice(probability=face.mask.probability, value=face.mask.value)
        if face.liveness:
            live = face.liveness.probability
            fields["liveness"] = Choice(
                probability=max(live, 1 - live), value="real" if live >= 0.5 else "fake"
            )
        if face.pose:
            fields["pose"] = Pose(pitch=face.pose.pitch, roll=face.pose.roll, yaw=face.pose.yaw)
        if "landmarks" in asked.names:
            fields["landmarks"] = _points(face.landmarks)
        if "landmarks2d106" in asked.names and face.dense_landmarks is not None:
            fields["landmarks2d106"] = _points(face.dense_landmarks)
        if "calculator" in asked.names and face.embedding is not None:
            fields["embedding"] = face.embedding.tolist()
        if asked.status:
            fields["execution_time"] = {
                _COMPREFACE_STAGE.get(stage, stage): round(cost, 1)
                for stage, cost in face.milliseconds.items()
            }
        return fields

    def versions(self, asked: Asked, plugins: frozenset[Plugin]) -> dict[str, str] | None:
        if not asked.status:
            return None
        used = {"detector": self._faces.cards["detector"].name}
        for name, plugin in PLUGINS.items():
            if plugin in plugins and name != "landmarks":
                used[name] = self._faces.card(plugin).name
        return used


_COMPREFACE_STAGE = {"embedder": "calculator", "landmarks": "pose"}


def _points(landmarks: Float32) -> list[tuple[int, int]]:
    return [(round(float(x)), round(float(y))) for x, y in landmarks]


# --------------------------------------------------------------------------------------------------------- routes


def create_app(services: "Services") -> FastAPI:
    """The API's application. Its OpenAPI document is at ``/openapi/compreface.json``."""
    app = api_app(
        "compreface",
        "CompreFace API",
        "1.2.0",
        expected=_EXPECTED,
        answer=lambda error: _translate(error).response(),
        bug=CompreFaceError(500, 0, INTERNAL),
        responses={status: {"model": Failure} for status in (400, 404, 500, 503)},
    )
    answers = Answers(services)
    recognition, galleries = services.recognition, services.galleries
    max_bytes = services.settings.images.max_bytes

    async def authorize(text: str, scope: Scope) -> Key:
        try:
            uuid.UUID(text)
        except ValueError:
            raise CompreFaceError(400, 36, "x-api-key is not a UUID") from None
        key = await services.keys.find(text)
        if key is None or not key.allows(scope):
            raise CompreFaceError(404, 10, f"Model with api key {text} of type {scope.upper()} not found")
        return key

    # Only documents the header. It is read as a parameter, whose absence is told like that of any other.
    scheme = Depends(APIKeyHeader(name="x-api-key", auto_error=False))

    def key_with(scope: Scope) -> Any:
        async def dependency(
            x_api_key: Annotated[str, Header(include_in_schema=False)], _: Annotated[object, scheme]
        ) -> Key:
            return await authorize(x_api_key, scope)

        return Depends(dependency)

    RecognitionKey = Annotated[Key, key_with("recognition")]
    DetectionKey = Annotated[Key, key_with("detection")]
    VerificationKey = Annotated[Key, key_with("verification")]
    Faces = Annotated[Asked, Depends(asked_for)]

    async def pictures(request: Request, *names: str) -> list[bytes]:
        uploads = await read_pictures(request, names, max_bytes)
        for upload in uploads:
            _check_extension(upload)
        return [upload.data for upload in uploads]

    async def faces_of(
        image: bytes, asked: Asked, plugins: frozenset[Plugin], *, whole_picture: bool = False
    ) -> Picture:
        """At least one face. Raises `NoFace`."""
        picture = await services.faces.analyze(
            image,
            plugins,
            limit=asked.limit,
            score_threshold=asked.threshold,
            whole_picture=whole_picture,
        )
        if not picture.faces:
            raise NoFace("No face is found in the given image")
        return picture

    # ------------------------------------------------------------------------------------------------- subjects

    @app.post(f"{BASE}/recognition/subjects", status_code=201, response_model=Subject, tags=["subjects"])
    async def add_subject(key: RecognitionKey, body: SubjectName) -> Response:
        """Create a subject without an example."""
        await galleries.run(GalleryStore.create_subject, key.gallery, body.subject)
        return Subject(subject=body.subject).response(201)

    @app.get(f"{BASE}/recognition/subjects", response_model=Subjects, tags=["subjects"])
    @app.get(f"{BASE}/recognition/subjects/", response_model=Subjects, include_in_schema=False)
    async def list_subjects(key: RecognitionKey) -> Response:
        """Every subject of the face collection."""
        return Subjects(subjects=await galleries.run(GalleryStore.subjects, key.gallery)).response()

    @app.delete(f"{BASE}/recognition/subjects", response_model=Deleted, tags=["subjects"])
    @app.delete(f"{BASE}/recognition/subjects/", response_model=Deleted, include_in_schema=False)
    async def delete_all_subjects(key: RecognitionKey) -> Response:
        """Delete every subject with all examples and images."""
        return Deleted(deleted=await galleries.run(GalleryStore.delete_all_subjects, key.gallery)).response()

    @app.put(f"{BASE}/recognition/subjects/{{subject:path}}", response_model=Updated, tags=["subjects"])
    async def rename_subject(key: RecognitionKey, subject: str, body: SubjectName) -> Response:
        """Rename a subject; where the new name exists, the two are merged."""
        await galleries.run(GalleryStore.rename_subject, key.gallery, subject, body.subject)
        return Updated(updated=True).response()

    @app.delete(f"{BASE}/recognition/subjects/{{subject:path}}", response_model=Subject, tags=["subjects"])
    async def delete_subject(key: RecognitionKey, subject: str) -> Response:
        """Delete a subject with all its examples and images."""
        await galleries.run(GalleryStore.delete_subject, key.gallery, subject)
        return Subject(subject=subject).response()

    # ------------------------------------------------------------------------------------------------- examples

    @app.post(
        f"{BASE}/recognition/faces",
        status_code=201,
        response_model=Example,
        tags=["examples"],
        openapi_extra=_picture_body("file"),
    )
    async def add_example(
        request: Request,
        key: RecognitionKey,
        subject: Annotated[str, Query()],
        det_prob_threshold: Threshold = None,
    ) -> Response:
        """Enrol the only face of a picture."""
        if not subject.strip():
            raise CompreFaceError(400, 26, "'subject' must not be blank")
        (image,) = await pictures(request, "file")
        picture = await recognition.one_face(image, frozenset({Plugin.EMBEDDING}), det_prob_threshold)
        embedding = picture.faces[0].embedding
        assert embedding is not None
        blob = Blob(image, media_type(image))
        record = await galleries.add(NewFace(key.gallery, subject, uuid.uuid4(), embedding, blob))
        return _example(record).response(201)

    @app.get(f"{BASE}/recognition/faces", response_model=Examples, tags=["examples"])
    async def list_examples(
        key: RecognitionKey,
        page: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
        size: Annotated[int, Query(ge=1, le=_MAX_PAGE)] = 20,
        subject: Annotated[str | None, Query()] = None,
    ) -> Response:
        """Examples, oldest first, one page at a time."""
        found = await galleries.run(GalleryStore.list_faces, key.gallery, page, size, subject or None)
        return Examples(
            faces=[_example(face) for face in found.faces],
            page_number=page,
            page_size=size,
            total_pages=found.pages,
            total_elements=found.total,
        ).response()

    @app.delete(f"{BASE}/recognition/faces", response_model=Deleted, tags=["examples"])
    async def delete_examples(
        key: RecognitionKey, subject: Annotated[str | None, Query()] = None
    ) -> Response:
        """Delete every example of a subject, or of all."""
        count = await galleries.run(GalleryStore.delete_all_faces, key.gallery, subject or None)
        return Deleted(deleted=count).response()

    @app.post(f"{BASE}/recognition/faces/delete", response_model=list[Example], tags=["examples"])
    async def delete_examples_by_id(
        key: RecognitionKey, ids: Annotated[list[uuid.UUID], Body(max_length=10_000)]
    ) -> Response:
        """Delete several examples; unknown ids are ignored."""
        gone = await galleries.run(GalleryStore.delete_faces, key.gallery, ids)
        return JSONResponse([_example(face).model_dump(mode="json") for face in gone])

    @app.delete(f"{BASE}/recognition/faces/{{image_id}}", response_model=Example, tags=["examples"])
    async def delete_example(key: RecognitionKey, image_id: ImageId) -> Response:
        """Delete one example and its image."""
        gone = await galleries.run(GalleryStore.delete_faces, key.gallery, [image_id])
        if not gone:
            raise CompreFaceError(404, 44, f"No example with id {image_id}")
        return _example(gone[0]).response()

    async def image_of(key: Key, image_id: uuid.UUID) -> Response:
        """The stored bytes; an empty body where there are none, as documented."""
        blob = await galleries.run(GalleryStore.image, key.gallery, image_id)
        if blob is None:
            return Response(b"", media_type="application/octet-stream")
        headers = {"Cache-Control": _FOR_EVER, "X-Content-Type-Options": "nosniff"}
        return Response(blob.data, media_type=blob.media_type, headers=headers)

    binary: dict[int | str, dict[str, Any]] = {
        200: {"content": {"image/*": {}, "application/octet-stream": {}}}
    }

    @app.get(
        f"{BASE}/recognition/faces/{{image_id}}/img",
        tags=["examples"],
        responses=binary,
        response_class=Response,
    )
    async def download_example(key: RecognitionKey, image_id: ImageId) -> Response:
        """The stored image."""
        return await image_of(key, image_id)

    @app.get(
        f"{BASE}/static/{{api_key}}/images/{{image_id}}",
        tags=["examples"],
        responses=binary,
        response_class=Response,
    )
    async def static_example(api_key: str, image_id: ImageId) -> Response:
        """The stored image, with the key in the path: for an ``<img>`` element."""
        return await image_of(await authorize(api_key, "recognition"), image_id)

    # ---------------------------------------------------------------------------------------------- recognition

    @app.post(
        f"{BASE}/recognition/recognize",
        response_model=Recognized,
        tags=["recognition"],
        openapi_extra=_picture_body("file"),
    )
    async def recognize(
        request: Request,
        key: RecognitionKey,
        asked: Faces,
        prediction_count: PredictionCount = 1,
        detect_faces: Annotated[bool, Query()] = True,
    ) -> Response:
        """Who is in the picture."""
        plugins = answers.plugins(asked) | {Plugin.EMBEDDING}
        (image,) = await pictures(request, "file")
        picture = await faces_of(image, asked, plugins, whole_picture=not detect_faces)
        embeddings = [face.embedding for face in picture.faces if face.embedding is not None]
        subjects = await best_subjects(key, embeddings, prediction_count)
        return Recognized(
            result=[
                RecognizedFace(**answers.face(face, picture, asked), subjects=matches)
                for face, matches in zip(picture.faces, subjects, strict=True)
            ],
            plugins_versions=answers.versions(asked, plugins),
        ).response()

    async def best_subjects(key: Key, embeddings: list[Float32], count: int) -> list[list[SubjectSimilarity]]:
        found = await recognition.candidates(key.gallery, embeddings, count)
        return [
            [
                SubjectSimilarity(subject=one.subject, similarity=round(one.similarity, 5))
                for one in candidates
            ]
            for candidates in found
        ]

    @app.post(
        f"{BASE}/recognition/faces/{{image_id}}/verify",
        response_model=ComparedToExample,
        tags=["recognition"],
        openapi_extra=_picture_body("file"),
    )
    async def verify_example(
        request: Request, key: RecognitionKey, image_id: ImageId, asked: Faces
    ) -> Response:
        """How similar each face of the picture is to one example."""
        plugins = answers.plugins(asked) | {Plugin.EMBEDDING}
        example = await embedding_of(key, image_id)
        (image,) = await pictures(request, "file")
        picture = await faces_of(image, asked, plugins)
        return ComparedToExample(
            result=compared(example, picture, asked), plugins_versions=answers.versions(asked, plugins)
        ).response()

    async def embedding_of(key: Key, image_id: uuid.UUID) -> Float32:
        embedding = await galleries.run(GalleryStore.embedding, key.gallery, image_id)
        if embedding is None:
            raise CompreFaceError(404, 44, f"No example with id {image_id}")
        return embedding

    def compared(embedding: Float32, picture: Picture, asked: Asked) -> list[ComparedFace]:
        others = np.stack([face.embedding for face in picture.faces if face.embedding is not None])
        similarities = recognition.similarities(embedding, others)
        return [
            ComparedFace(**answers.face(face, picture, asked), similarity=round(float(similarity), 5))
            for face, similarity in zip(picture.faces, similarities, strict=True)
        ]

    dim = services.faces.cards["embedder"].dim or 0

    @app.post(
        f"{BASE}/recognition/embeddings/recognize", response_model=RecognizedEmbeddings, tags=["recognition"]
    )
    async def recognize_embeddings(
        key: RecognitionKey, body: Embeddings, prediction_count: PredictionCount = 1
    ) -> Response:
        """Who the embeddings belong to."""
        vectors = _vectors("embeddings", body.embeddings, dim)
        subjects = await best_subjects(key, list(vectors), prediction_count)
        return RecognizedEmbeddings(
            result=[
                EmbeddingRecognition(embedding=embedding, similarities=matches)
                for embedding, matches in zip(body.embeddings, subjects, strict=True)
            ]
        ).response()

    @app.post(
        f"{BASE}/recognition/embeddings/faces/{{image_id}}/verify",
        response_model=ComparedEmbeddings,
        tags=["recognition"],
    )
    async def verify_embeddings(key: RecognitionKey, image_id: ImageId, body: Embeddings) -> Response:
        """How similar each embedding is to one example."""
        vectors = _vectors("embeddings", body.embeddings, dim)
        example = await embedding_of(key, image_id)
        return _compared_embeddings(recognition, example, vectors, body.embeddings)

    # ------------------------------------------------------------------------------- detection and verification

    @app.post(
        f"{BASE}/detection/detect",
        response_model=Detected,
        tags=["detection"],
        openapi_extra=_picture_body("file"),
    )
    async def detect(request: Request, key: DetectionKey, asked: Faces) -> Response:
        """Every face of the picture."""
        plugins = answers.plugins(asked)
        (image,) = await pictures(request, "file")
        picture = await faces_of(image, asked, plugins)
        return Detected(
            result=[FoundFace(**answers.face(face, picture, asked)) for face in picture.faces],
            plugins_versions=answers.versions(asked, plugins),
        ).response()

    @app.post(
        f"{BASE}/verification/verify",
        response_model=Verified,
        tags=["verification"],
        openapi_extra=_picture_body("source_image", "target_image"),
    )
    async def verify(request: Request, key: VerificationKey, asked: Faces) -> Response:
        """How similar each face of the target is to the only face of the source."""
        plugins = answers.plugins(asked) | {Plugin.EMBEDDING}
        source, target = await pictures(request, "source_image", "target_image")
        source_picture, target_picture = await asyncio.gather(
            recognition.one_face(source, plugins, asked.threshold), faces_of(target, asked, plugins)
        )
        source_face = source_picture.faces[0]
        assert source_face.embedding is not None
        verification = Verification(
            source_image_face=FoundFace(**answers.face(source_face, source_picture, asked)),
            face_matches=compared(source_face.embedding, target_picture, asked),
            plugins_versions=answers.versions(asked, plugins),
        )
        return Verified(result=[verification]).response()

    @app.post(
        f"{BASE}/verification/embeddings/verify", response_model=ComparedEmbeddings, tags=["verification"]
    )
    async def verify_embedding_pairs(key: VerificationKey, body: SourceAndTargets) -> Response:
        """How similar each target embedding is to the source."""
        source = _vectors("source", [body.source], dim)[0]
        return _compared_embeddings(recognition, source, _vectors("targets", body.targets, dim), body.targets)

    return app


def _example(face: FaceRecord) -> Example:
    return Example(image_id=face.image_id, subject=face.subject)


def _compared_embeddings(
    recognition: Recognition, one: Float32, vectors: Float32, embeddings: list[list[float]]
) -> Response:
    similarities = recognition.similarities(one, vectors)
    return ComparedEmbeddings(
        result=[
            EmbeddingSimilarity(embedding=embedding, similarity=round(float(similarity), 5))
            for embedding, similarity in zip(embeddings, similarities, strict=True)
        ]
    ).response()
