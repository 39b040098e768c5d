"""The aifaceswap API (base ``/api/aifaceswap/v1``): faces put into pictures, by tasks that survive anything.

Every answer is ``{"code", "data", "message"}``; an error has the HTTP status as its code and empty data.
"""

import contextlib
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from prosopon.deployments.serving.calls import ModelFailed, Overloaded, Unavailable
from prosopon.deployments.state.blobs import Blob
from prosopon.deployments.state.errors import (
    KeyNotFound,
    NotEnoughCredits,
    ResultExpired,
    StorageFault,
    TaskNotFound,
    TooManyTasks,
    TooManyTasksOfTenant,
)
from prosopon.deployments.state.jobs.task_types import TYPES, Kind, NewTask, TaskInput, TaskRecord
from prosopon.deployments.state.keys import Key
from prosopon.deployments.web.client import WebError
from prosopon.models.pictures.decoding import ImageError, RejectionReason, check
from prosopon.models.swap.face_swap import face_names
from prosopon.pipelines.apis.aifaceswap.fields import FieldError, Fields, PictureField, read_fields
from prosopon.pipelines.http.application import INTERNAL, api_app
from prosopon.pipelines.http.downloads import download, etag_of, not_modified
from prosopon.pipelines.http.errors import of_storage
from prosopon.pipelines.http.keys import bearer_token
from prosopon.pipelines.http.uploads import BodyError, BodyTooLarge

if TYPE_CHECKING:
    from prosopon.pipelines.services import Services

BASE = "/api/aifaceswap/v1"
RESULTS = f"{BASE}/result/"
POINTS_EXTRACT = 2
POINTS_SWAP = 2
POINTS_PICTURE = 1
POINTS_FACE = 2
_MAX_WHOLE_PICTURES = 8
"""How many files of the largest size one body may hold."""
_RETRY_AFTER = 10
_CACHE_CONTROL = "private, max-age=3600"

# ---------------------------------------------------------------------------------------------------- wire types

Data = TypeVar("Data", bound=BaseModel)


class Envelope(BaseModel, Generic[Data]):
    code: Literal[200] = 200
    data: Data
    message: str = "OK"


class Failure(BaseModel):
    code: int
    data: dict[str, Any] = {}
    message: str


class Accepted(BaseModel):
    """points: what the task costs; they are given back when it fails."""

    task_id: str
    points: int


class Faces(BaseModel):
    """faces: x1 y1 x2 y2 in pixels, from left to right: the order that `index` counts."""

    faces: list[tuple[int, int, int, int]]
    points: int


class Task(BaseModel):
    """success: 1 or 0 once it has ended. type: 1 for one face, 2 for several. result_image: until it expires."""

    task_id: str
    type: Literal[1, 2]
    status: Literal["waiting", "running", "succeeded", "failed"]
    success: Literal[0, 1] | None
    result_image: str | None
    message: str | None
    points: int
    created: str
    finished: str | None


def _task(record: TaskRecord) -> Task:
    ended = {"succeeded": 1, "failed": 0}
    message = record.message if record.state != "succeeded" else None
    if record.state == "succeeded" and record.result_url is None:
        message = "the result was kept for its time and is deleted"
    return Task(
        task_id=record.id.hex,
        type=TYPES[record.kind],
        status=record.state,
        success=ended.get(record.state),  # type: ignore[arg-type]
        result_image=record.result_url,
        message=message,
        points=record.points,
        created=record.created.isoformat(),
        finished=record.finished.isoformat() if record.finished else None,
    )


# -------------------------------------------------------------------------------------------------------- errors


class SwapApiError(Exception):
    """An answer in the API's error form."""

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.retry_after = status, message, retry_after

    def response(self) -> Response:
        headers = {"Retry-After": str(self.retry_after)} if self.retry_after else {}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(
            Failure(code=self.status, message=self.message).model_dump(), self.status, headers
        )


def _translate(error: Exception) -> SwapApiError:
    """The API's own error for whatever went wrong below the routes."""
    match error:
        case SwapApiError():
            return error
        case BodyError():
            return SwapApiError(413 if isinstance(error, BodyTooLarge) else 400, str(error))
        case ImageError():
            return SwapApiError(413 if error.reason is RejectionReason.TOO_LARGE else 400, str(error))
        case WebError():
            return SwapApiError(400, str(error))
        case NotEnoughCredits():
            return SwapApiError(402, "the key has not enough points left")
        case KeyNotFound():
            return SwapApiError(401, "the API key is unknown or revoked")
        case TaskNotFound():
            return SwapApiError(404, str(error))
        case ResultExpired():
            return SwapApiError(410, str(error))
        case TooManyTasks():
            return SwapApiError(
                429 if isinstance(error, TooManyTasksOfTenant) else 503, str(error), _RETRY_AFTER
            )
        case Overloaded():
            return SwapApiError(503, "too many requests are waiting: try again", error.retry_after)
        case Unavailable():
            return SwapApiError(503, "a model is restarting: try again", error.retry_after)
        case StorageFault():
            return SwapApiError(error.status, of_storage(error), error.retry_after)
        case ModelFailed():
            return SwapApiError(500, "a model failed; the server's log says why")
        case HTTPException():
            return SwapApiError(error.status_code, str(error.detail))
        case RequestValidationError():
            return SwapApiError(400, "the request is malformed")
    raise error


_EXPECTED = (
    SwapApiError, StorageFault, BodyError, ImageError, WebError, NotEnoughCredits, KeyNotFound, TaskNotFound,
    ResultExpired, TooManyTasks, Overloaded, Unavailable, ModelFailed, HTTPException, RequestValidationError,
)  # fmt: skip

# --------------------------------------------------------------------------------------------------------- routes


def create_app(services: "Services") -> FastAPI:
    """The API's application. Its OpenAPI document is at ``/openapi/aifaceswap.json``."""
    app = api_app(
        "aifaceswap",
        "aifaceswap API",
        "1",
        expected=_EXPECTED,
        answer=lambda error: _translate(error).response(),
        bug=SwapApiError(500, INTERNAL),
        responses={status: {"model": Failure} for status in (400, 401, 402, 403, 404, 413, 429, 500, 503)},
    )
    swaps, settings = services.swaps, services.settings

    # Only documents it. OpenAPI has its readers ignore a header parameter that is called Authorization.
    scheme = Depends(HTTPBearer(auto_error=False))

    async def authenticate(request: Request, _: Annotated[object, scheme]) -> Key:
        text = bearer_token(request.headers.get("authorization"))
        if text is None:
            raise SwapApiError(401, "the header 'Authorization: Bearer <API key>' is missing")
        key = await services.keys.find(text)
        if key is None:
            raise SwapApiError(401, "the API key is unknown or revoked")
        if not key.allows("aifaceswap"):
            raise SwapApiError(403, "the API key has not the scope 'aifaceswap'")
        return key

    Caller = Annotated[Key, Depends(authenticate)]

    # ------------------------------------------------------------------------------------------------ pictures

    def base_url(request: Request) -> str:
        return settings.swap.public_url or str(request.base_url).rstrip("/")

    async def own_result(request: Request, url: str) -> Blob | None:
        """The result that the URL names, where it is one of this server's."""
        path = url.removeprefix(base_url(request))
        if not path.startswith(RESULTS):
            return None
        return await swaps.result(path.removeprefix(RESULTS))

    async def checked(request: Request, picture: PictureField, name: str) -> Blob | str:
        """A file that may be a picture, or a URL that may be fetched."""
        with _naming(name):
            if picture.url is not None:
                return await own_result(request, picture.url) or swaps.checked_url(picture.url)
            assert picture.data is not None
            return Blob(picture.data, check(picture.data, settings.images))

    async def read(request: Request, files: int) -> Fields:
        whole = min(files, _MAX_WHOLE_PICTURES)
        return await read_fields(request, whole * 2 * settings.images.max_bytes, files + 1)

    async def submit(
        request: Request,
        key: Key,
        fields: Fields,
        kind: Kind,
        points: int,
        pictures: list[Blob | str],
        indices: tuple[int, ...] | None = None,
    ) -> Envelope[Accepted]:
        webhook = fields.text("webhook")
        if webhook is not None:
            with _naming("webhook"):
                webhook = swaps.checked_url(webhook)
        blobs = {picture.sha256: picture for picture in pictures if isinstance(picture, Blob)}
        inputs = tuple(
            TaskInput(blob=picture.sha256) if isinstance(picture, Blob) else TaskInput(url=picture)
            for picture in pictures
        )
        task = NewTask(
            tenant=key.tenant,
            key=key.id,
            kind=kind,
            points=points,
            inputs=inputs,
            results_url=base_url(request) + RESULTS,
            indices=indices,
            webhook=webhook,
            uploads=blobs,
        )
        identity = await swaps.accept(task)
        return Envelope(data=Accepted(task_id=identity.hex, points=points))

    # -------------------------------------------------------------------------------------------------- routes

    @app.post(
        f"{BASE}/faceswap", tags=["swaps"], openapi_extra=_body("source_image", "face_image", "webhook")
    )
    async def faceswap(request: Request, key: Caller) -> Envelope[Accepted]:
        """Put a face in the place of the biggest one of a picture."""
        fields = await read(request, 2)
        pictures = [
            await checked(request, fields.picture(name), name) for name in ("source_image", "face_image")
        ]
        return await submit(request, key, fields, "faceswap", POINTS_SWAP, pictures)

    @app.post(
        f"{BASE}/multi_faceswap",
        tags=["swaps"],
        openapi_extra=_body("source_image", "face_images", "index", "webhook"),
    )
    async def multi_faceswap(request: Request, key: Caller) -> Envelope[Accepted]:
        """Put faces in the places of some of a picture's, as `extract_face` counts them."""
        fields = await read(request, settings.swap.max_faces + 1)
        source = await checked(request, fields.picture("source_image"), "source_image")
        faces = fields.pictures("face_image")
        if len(faces) > settings.swap.max_faces:
            raise FieldError(
                f"'face_image' has {len(faces)} faces; at most {settings.swap.max_faces} are accepted"
            )
        indices = fields.numbers("index")
        _check_indices(indices, len(faces))
        pictures = [
            await checked(request, face, name)
            for face, name in zip(faces, face_names(len(faces)), strict=True)
        ]
        points = POINTS_PICTURE + POINTS_FACE * len(faces)
        await swaps.check_balance(key, points)
        if isinstance(source, Blob):  # What must be fetched first is judged by the task.
            with _naming("source_image"):
                found = await swaps.faces(source.data)
            _check_range(indices, len(found.boxes))
        return await submit(
            request, key, fields, "multi_faceswap", points, [source, *pictures], tuple(indices)
        )

    @app.post(f"{BASE}/extract_face", tags=["swaps"], openapi_extra=_body("img"))
    async def extract_face(request: Request, key: Caller) -> Envelope[Faces]:
        """Where the faces of a picture are, from left to right."""
        fields = await read(request, 1)
        picture = await checked(request, fields.picture("img"), "img")
        await swaps.check_balance(key, POINTS_EXTRACT)
        with _naming("img"):
            data = picture.data if isinstance(picture, Blob) else (await swaps.fetch(picture)).data
            found = await swaps.faces(data)
        # Charged with the answer in hand: what fails, or dies, before it costs nothing.
        await swaps.charge(key, POINTS_EXTRACT)
        return Envelope(data=Faces(faces=list(found.boxes), points=POINTS_EXTRACT))

    @app.get(f"{BASE}/task/{{task_id}}", tags=["tasks"])
    async def task(task_id: str, key: Caller) -> Envelope[Task]:
        """What has become of a task."""
        try:
            identity = uuid.UUID(task_id)
        except ValueError:
            raise SwapApiError(404, f"{task_id[:64]!r} is no task's id") from None
        return Envelope(data=_task(await swaps.find(identity, key.tenant)))

    @app.api_route(
        f"{RESULTS}{{name}}",
        methods=["GET", "HEAD"],
        tags=["tasks"],
        response_class=Response,
        include_in_schema=False,
    )
    async def result(request: Request, name: str) -> Response:
        """A result. Its URL is the permission: no key is asked for."""
        blob = await swaps.result(name)
        etag = etag_of(blob.sha256)
        response = not_modified(request, etag, _CACHE_CONTROL) or download(
            request, blob, etag, _CACHE_CONTROL
        )
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    return app


@contextlib.contextmanager
def _naming(field: str) -> Iterator[None]:
    """What is wrong with a field is told with its name."""
    try:
        yield
    except ImageError as error:
        raise ImageError(error.reason, f"{field}: {error}") from None
    except (WebError, TaskNotFound, ResultExpired) as error:
        raise FieldError(f"{field}: {error}") from None


def _check_indices(indices: list[int], faces: int) -> None:
    """What is wrong with indices whatever the picture shows."""
    if len(indices) != faces:
        raise FieldError(
            f"'index' has {len(indices)} number{'s' * (len(indices) != 1)} for {faces} "
            f"face image{'s' * (faces != 1)}: one is needed for each"
        )
    if repeated := sorted({index for index in indices if indices.count(index) > 1}):
        raise FieldError(f"'index' repeats {', '.join(map(str, repeated))}")
    if min(indices) < 0:
        raise FieldError(f"'index' {min(indices)} is out of range: faces are counted from 0")


def _check_range(indices: list[int], found: int) -> None:
    if not found:
        raise FieldError("no face is found in source_image")
    if max(indices) >= found:
        raise FieldError(
            f"'index' {max(indices)} is out of range: source_image has {found} face{'s' * (found != 1)}, "
            "counted from 0"
        )


# -------------------------------------------------------------------------------------------------------- OpenAPI

_URL = {"type": "string", "format": "uri"}
_FILE = {"type": "string", "format": "binary"}
_INDEX = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "uniqueItems": True}
_FIELDS: dict[str, tuple[str, dict[str, Any], dict[str, Any], bool]] = {
    # field: its name, its schema in JSON, in multipart, and whether it is required
    "source_image": ("source_image", _URL, _FILE, True),
    "face_image": ("face_image", _URL, _FILE, True),
    "face_images": (
        "face_image",
        {"type": "array", "items": _URL, "minItems": 1},
        {"type": "array", "items": _FILE, "minItems": 1},
        True,
    ),
    "img": ("img", _URL, _FILE, True),
    "index": ("index", _INDEX, _INDEX, True),
    "webhook": ("webhook", _URL, _URL, False),
}


def _body(*names: str) -> dict[str, Any]:
    """OpenAPI of a body that is JSON with URLs, or multipart with files (or URLs in their place)."""
    fields = [_FIELDS[name] for name in names]
    required = [name for name, *_, needed in fields if needed]
    content = {
        media_type: {
            "schema": {
                "type": "object",
                "required": required,
                "properties": {name: schemas[which] for name, *schemas, _ in fields},
            }
        }
        for which, media_type in enumerate(("application/json", "multipart/form-data"))
    }
    return {"requestBody": {"required": True, "content": content}}
