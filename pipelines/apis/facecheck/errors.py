"""FaceCheck's errors: a code for programs, a message for people."""

from collections.abc import Mapping
from enum import StrEnum

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

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
from prosopon.deployments.state.jobs.search_runs import GIVEN_UP
from prosopon.deployments.state.jobs.searches import MAX_PICTURES
from prosopon.models.pictures.decoding import ImageError, RejectionReason
from prosopon.pipelines.apis.facecheck.wire import BrowserJsonResponse
from prosopon.pipelines.graphs.searches import NoFace
from prosopon.pipelines.http.errors import of_storage
from prosopon.pipelines.http.uploads import BodyError, BodyTooLarge

TRANSLATED = (
    RequestValidationError,
    ValidationError,
    HTTPException,
    BodyError,
    ImageError,
    NoFace,
    StateError,
    Overloaded,
    Unavailable,
    ModelFailed,
)
"""What `translate` takes besides `FaceCheckError`."""


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


class FaceCheckError(Exception):
    """An answer in the API's error form, which has the status 200 unless HTTP itself has a word for it."""

    def __init__(
        self, code: str, message: str, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.status, self.headers = code, message, status, dict(headers or {})

    def response(self, null_output: bool) -> Response:
        answer = BrowserJsonResponse(error=self.message, code=self.code)
        return answer.response(null_output=null_output, status=self.status, headers=self.headers)


def translate(error: Exception) -> FaceCheckError:
    """The API's own error for whatever went wrong below the routes."""
    match error:
        case FaceCheckError():
            return error
        case RequestValidationError() | ValidationError():
            problem = error.errors()[0]
            name = ".".join(str(part) for part in problem["loc"] if part != "query")
            return FaceCheckError(Code.REQUEST, f"{name}: {problem['msg']}" if name else str(problem["msg"]))
        case BodyTooLarge():
            return FaceCheckError(Code.TOO_LARGE, str(error), 413)
        case BodyError():
            return FaceCheckError(Code.REQUEST, str(error))
        case ImageError():
            if error.reason == RejectionReason.TOO_LARGE:
                return FaceCheckError(Code.TOO_LARGE, str(error), 413)
            return FaceCheckError(Code.BAD_PICTURE, str(error))
        case NoFace():
            return FaceCheckError(Code.NO_FACE, str(error))
        case SearchNotFound():
            return FaceCheckError(Code.SEARCH, "There is no search with this id_search; it may have expired.")
        case SearchPictureNotFound():
            return FaceCheckError(Code.PICTURE, "The search has no picture with this id_pic.")
        case SearchRunning():
            return FaceCheckError(Code.RUNNING, "The search is running: change its pictures when it is done.")
        case SearchWithoutPictures():
            return FaceCheckError(Code.NO_PICTURE, "The search has no pictures: upload 1 to 3.")
        case TooManySearchPictures():
            return FaceCheckError(
                Code.TOO_MANY_PICTURES,
                f"A search takes at most {MAX_PICTURES} pictures; it would have {error}.",
            )
        case NotEnoughCredits():
            return FaceCheckError(Code.CREDITS, "The token has not enough credits left for a search.")
        case Overloaded():
            return _busy("Too many requests are waiting: try again.", error.retry_after)
        case Unavailable():
            return _busy("A part of the service is restarting: try again.", error.retry_after)
        case ModelFailed():
            return FaceCheckError(Code.FAILED, "A model failed; the server's log says why.")
        case StorageFault():
            headers = {"Retry-After": str(error.retry_after)} if error.retry_after else None
            code = Code.BUSY if error.retry_after else Code.FAILED
            return FaceCheckError(
                code, f"The service cannot answer: {of_storage(error)}.", error.status, headers
            )
        case StateError():
            return FaceCheckError(Code.FAILED, str(error))
        case HTTPException():
            return FaceCheckError(Code.REQUEST, str(error.detail), error.status_code, error.headers)
    raise error


def _busy(message: str, retry_after: int) -> FaceCheckError:
    return FaceCheckError(Code.BUSY, message, 503, {"Retry-After": str(retry_after)})
