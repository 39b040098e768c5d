"""CompreFace's answers to what goes wrong: ``{"message", "code"}``, with the documented codes."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

from fastapi import Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from prosopon.deployments.serving.calls import ModelFailed, Overloaded, Unavailable
from prosopon.deployments.state.errors import (
    FingerprintMismatch,
    InvalidEmbedding,
    InvalidSubject,
    StateError,
    StorageFault,
    SubjectExists,
    SubjectNotFound,
)
from prosopon.models.pictures.decoding import ImageError, RejectionReason
from prosopon.pipelines.graphs.recognition import LowQuality, NoFace, SeveralFaces
from prosopon.pipelines.http.application import INTERNAL
from prosopon.pipelines.http.bodies import BodyError
from prosopon.pipelines.http.errors import ErrorTable, first_problem, of_storage
from prosopon.pipelines.http.forms import Upload
from prosopon.pipelines.http.keys import KeyRefused, MalformedKey, NoKey
from prosopon.pipelines.http.uploads import MissingPicture, NotBase64

EXTENSIONS = frozenset({"jpeg", "jpg", "ico", "png", "bmp", "gif", "tif", "tiff", "webp"})
"""Of file names. A file with another name is judged by its content."""


class ExampleNotFound(Exception):
    """The face collection has no example of that id."""

    def __init__(self, image_id: uuid.UUID) -> None:
        super().__init__(f"Image {image_id} not found")


class WrongEmbedding(ValueError):
    """An embedding holds what is no direction: zeros alone, or numbers that are not finite."""


class WrongFileType(ValueError):
    """Neither a file's name nor its content is that of a picture."""


@contextmanager
def judged_by_content(file: Upload) -> Iterator[None]:
    """Raises `WrongFileType` for a file that is found to be no picture and is not called one either."""
    try:
        yield
    except ImageError as error:
        named = file.filename is None or PurePath(file.filename).suffix.lstrip(".").lower() in EXTENSIONS
        if named or error.reason is not RejectionReason.NOT_AN_IMAGE:
            raise
        raise WrongFileType(f"File [{file.filename}] has an unavailable extension. {error}") from None


def failure(status: int, code: int, message: str, retry_after: int | None = None) -> Response:
    headers = {"Retry-After": str(retry_after)} if retry_after else None
    return JSONResponse({"message": message, "code": code}, status, headers)


def says(status: int, code: int, message: str = "") -> Callable[[Exception], Response]:
    """The answer with a message of its own, or the exception's."""
    return lambda error: failure(status, code, message or str(error))


_MISSING_CODES = {"header": 20, "query": 33, "path": 35, "body": 5}
_OUT_OF_RANGE = {"greater_than_equal", "less_than_equal", "finite_number"}


def _invalid(error: RequestValidationError) -> Response:
    problem = first_problem(error)
    if problem.kind == "missing":
        kind = "part" if problem.place == "body" else "parameter"
        return failure(400, _MISSING_CODES[problem.place], f"Required {kind} {problem.name} is missing")
    if problem.kind == "too_short":
        return failure(400, 5, f"Field {problem.name} cannot be empty")
    return failure(400, 26 if problem.kind in _OUT_OF_RANGE else 36, f"'{problem.name}': {problem.message}")


def _http(error: HTTPException) -> Response:
    """A wrong method is a route that is not there."""
    if error.status_code == 405:
        return failure(404, 0, "Request method is not supported here")
    return failure(error.status_code, 0, str(error.detail))


def _missing_picture(error: MissingPicture) -> Response:
    if error.multipart and not error.empty:
        return failure(400, 34, f"Required part {error.name} is missing")
    return failure(400, 5, f"Field {error.name} cannot be empty")


def _image(error: ImageError) -> Response:
    return failure(400, 5 if error.reason is RejectionReason.EMPTY else 0, str(error))


def _later(kind: str) -> Callable[[Any], Response]:
    return lambda error: failure(error.status, 0, f"{kind}: try again", error.retry_after)


ERRORS: ErrorTable = {
    NoKey: says(400, 20, "Missing header: x-api-key"),
    MalformedKey: says(400, 26, "Service API key should be UUID"),
    KeyRefused: says(404, 10, "No service of this type with this API key was found"),
    RequestValidationError: _invalid,
    HTTPException: _http,
    MissingPicture: _missing_picture,
    NotBase64: says(400, 21),
    BodyError: says(400, 0),
    WrongFileType: says(400, 21),
    ImageError: _image,
    NoFace: says(400, 28),
    LowQuality: says(400, 28),
    SeveralFaces: says(400, 31, "More than one face in the source image"),
    ExampleNotFound: says(404, 44),
    SubjectNotFound: says(404, 42),
    SubjectExists: says(400, 43),
    InvalidSubject: says(400, 26),
    InvalidEmbedding: says(400, 37),
    WrongEmbedding: says(400, 36),
    FingerprintMismatch: says(400, 36),
    StateError: says(400, 0),
    StorageFault: lambda error: failure(error.status, 0, of_storage(error), error.retry_after),
    Overloaded: _later("too many requests are waiting"),
    Unavailable: _later("a model is restarting"),
    ModelFailed: says(500, 41, "the model service failed; the server's log says why"),
    Exception: says(500, 0, INTERNAL),
}
