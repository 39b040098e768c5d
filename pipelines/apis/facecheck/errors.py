"""FaceCheck's answers to what goes wrong: a code for programs, a message for people, and the status 200 unless HTTP
itself has a word for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any

from fastapi import Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from prosopon.deployments.serving.calls import ModelFailed, Overloaded, Unavailable
from prosopon.deployments.state.errors import (
    NotEnoughCredits,
    SearchNotFound,
    SearchPictureNotFound,
    SearchRunning,
    SearchWithoutPictures,
    StateError,
    StorageFault,
    TooManySearchPictures,
)
from prosopon.deployments.state.jobs.searches import GIVEN_UP, MAX_PICTURES
from prosopon.models.pictures.decoding import ImageError, RejectionReason
from prosopon.pipelines.apis.facecheck.wire import BrowserJsonResponse
from prosopon.pipelines.graphs.searches import NoFace
from prosopon.pipelines.http.application import INTERNAL
from prosopon.pipelines.http.bodies import BodyError, BodyTooLarge
from prosopon.pipelines.http.errors import ErrorTable, first_problem, of_storage
from prosopon.pipelines.http.keys import KeyRefused, WrongScope


class Code(StrEnum):
    """What went wrong, for programs."""

    TOKEN = "BAD_TOKEN"
    REQUEST = "BAD_REQUEST"
    TOO_LARGE = "TOO_LARGE"
    NO_PICTURE = "NO_PICTURE"
    TOO_MANY_PICTURES = "TOO_MANY_PICTURES"
    BAD_PICTURE = "BAD_PICTURE"
    NO_FACE = "NO_FACE"
    SEARCH = "UNKNOWN_SEARCH"
    PICTURE = "UNKNOWN_PICTURE"
    RUNNING = "SEARCH_IS_RUNNING"
    CREDITS = "NOT_ENOUGH_CREDITS"
    BUSY = "BUSY"
    INTERRUPTED = GIVEN_UP
    FAILED = "FAILED"


class SearchFailed(Exception):
    """A search has ended without a result."""

    def __init__(self, code: str | None, message: str | None) -> None:
        super().__init__(message or "The search failed.")
        self.code = code or Code.FAILED


class NoPictures(BodyError):
    """An upload has no picture."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An answer to what went wrong."""

    code: str
    message: str
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self, answers: type[JSONResponse]) -> Response:
        document = BrowserJsonResponse(error=self.message, code=self.code)
        return answers(document.model_dump(), self.status, self.headers)


def _says(code: Code, message: str = "{}", status: int = 200) -> Callable[[Exception], Failure]:
    """The answer with a message in which ``{}`` is the exception's."""
    return lambda error: Failure(code, message.format(error), status)


def _later(message: str) -> Callable[[Overloaded | Unavailable], Failure]:
    return lambda error: Failure(Code.BUSY, message, error.status, {"Retry-After": str(error.retry_after)})


def _invalid(error: RequestValidationError | ValidationError) -> Failure:
    problem = first_problem(error)
    return Failure(Code.REQUEST, f"{problem.name}: {problem.message}")


def _http(error: HTTPException) -> Failure:
    return Failure(Code.REQUEST, str(error.detail), error.status_code, error.headers or {})


def _image(error: ImageError) -> Failure:
    if error.reason is RejectionReason.TOO_LARGE:
        return Failure(Code.TOO_LARGE, str(error), 413)
    return Failure(Code.BAD_PICTURE, str(error))


def _storage(error: StorageFault) -> Failure:
    message = f"The service cannot answer: {of_storage(error)}."
    if not error.retry_after:
        return Failure(Code.FAILED, message, error.status)
    return Failure(Code.BUSY, message, error.status, {"Retry-After": str(error.retry_after)})


_FAILURES: Mapping[type[Exception], Callable[[Any], Failure]] = {
    KeyRefused: _says(Code.TOKEN, "Authorization is missing or is not a token.", 401),
    WrongScope: _says(Code.TOKEN, "This token is not for FaceCheck.", 401),
    RequestValidationError: _invalid,
    ValidationError: _invalid,
    HTTPException: _http,
    BodyTooLarge: _says(Code.TOO_LARGE, status=413),
    NoPictures: _says(Code.NO_PICTURE),
    BodyError: _says(Code.REQUEST),
    ImageError: _image,
    NoFace: _says(Code.NO_FACE),
    SearchNotFound: _says(Code.SEARCH, "There is no search with this id_search; it may have expired."),
    SearchPictureNotFound: _says(Code.PICTURE, "The search has no picture with this id_pic."),
    SearchRunning: _says(Code.RUNNING, "The search is running: change its pictures when it is done."),
    SearchWithoutPictures: _says(Code.NO_PICTURE, "The search has no pictures: upload 1 to 3."),
    TooManySearchPictures: _says(
        Code.TOO_MANY_PICTURES, f"A search takes at most {MAX_PICTURES} pictures; it would have {{}}."
    ),
    SearchFailed: lambda error: Failure(error.code, str(error)),
    NotEnoughCredits: _says(Code.CREDITS, "The token does not have enough credits left for a search."),
    StateError: _says(Code.FAILED),
    StorageFault: _storage,
    Overloaded: _later("Too many requests are waiting: try again."),
    Unavailable: _later("A part of the service is restarting: try again."),
    ModelFailed: _says(Code.FAILED, "A model failed; the server's log says why."),
    Exception: _says(Code.FAILED, INTERNAL, 500),
}


def errors(answers: type[JSONResponse]) -> ErrorTable:
    """The API's table. answers: what every answer is made with, see `wire.WithoutNullOutput`."""

    def answer(fails: Callable[[Any], Failure], error: Exception) -> Response:
        return fails(error).response(answers)

    return {kind: partial(answer, fails) for kind, fails in _FAILURES.items()}
