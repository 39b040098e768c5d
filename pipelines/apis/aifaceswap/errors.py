"""aifaceswap's answers to what goes wrong: the HTTP status as the code, and empty data."""

import contextlib
from collections.abc import Callable, Iterator, Mapping

from fastapi import Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from prosopon.deployments.serving.calls import ModelFailed, Overloaded, Unavailable
from prosopon.deployments.state.errors import (
    KeyNotFound,
    NotEnoughCredits,
    ResultExpired,
    StateError,
    StorageFault,
    TaskNotFound,
    TooManyTasks,
    TooManyTasksOfTenant,
)
from prosopon.deployments.web.client import WebError
from prosopon.models.pictures.decoding import ImageError, RejectionReason
from prosopon.models.swap.types import NoSwap
from prosopon.pipelines.apis.aifaceswap.fields import FieldError
from prosopon.pipelines.apis.aifaceswap.wire import Failure
from prosopon.pipelines.http.application import INTERNAL
from prosopon.pipelines.http.bodies import BodyError, BodyTooLarge
from prosopon.pipelines.http.errors import ErrorTable, of_storage
from prosopon.pipelines.http.keys import KeyRefused, NoKey, WrongScope

_RETRY_AFTER = 10


@contextlib.contextmanager
def naming(field: str) -> Iterator[None]:
    """What is wrong with a field is told with its name."""
    try:
        yield
    except ImageError as error:
        raise ImageError(error.reason, f"{field}: {error}") from None
    except (WebError, TaskNotFound, ResultExpired) as error:
        raise FieldError(f"{field}: {error}") from None


def failure(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse(Failure(code=status, message=message).model_dump(), status, headers)


def says(status: int, message: str = "{}") -> Callable[[Exception], Response]:
    """The answer with a message in which ``{}`` is the exception's."""
    return lambda error: failure(status, message.format(error))


def _unauthorized(message: str) -> Callable[[Exception], Response]:
    return lambda _: failure(401, message, {"WWW-Authenticate": "Bearer"})


def _later(status: int, message: str, retry_after: int | None = None) -> Callable[[Exception], Response]:
    """retry_after: None is as the exception says."""

    def answer(error: Exception) -> Response:
        seconds = retry_after or getattr(error, "retry_after", None)
        return failure(status, message.format(error), {"Retry-After": str(seconds)} if seconds else None)

    return answer


def _storage(error: StorageFault) -> Response:
    return _later(error.status, of_storage(error))(error)


ERRORS: ErrorTable = {
    NoKey: _unauthorized("the header 'Authorization: Bearer <API key>' is missing"),
    KeyRefused: _unauthorized("the API key is unknown or revoked"),
    KeyNotFound: _unauthorized("the API key is unknown or revoked"),
    WrongScope: says(403, "the API key does not have the scope 'aifaceswap'"),
    RequestValidationError: says(400, "the request is malformed"),
    HTTPException: lambda error: failure(error.status_code, str(error.detail)),
    BodyTooLarge: says(413),
    BodyError: says(400),
    ImageError: lambda error: failure(413 if error.reason is RejectionReason.TOO_LARGE else 400, str(error)),
    WebError: says(400),
    NoSwap: says(400),
    NotEnoughCredits: says(402, "the key does not have enough points left"),
    TaskNotFound: says(404),
    ResultExpired: says(410),
    TooManyTasksOfTenant: _later(429, "{}", _RETRY_AFTER),
    TooManyTasks: _later(503, "{}", _RETRY_AFTER),
    StateError: says(500),
    StorageFault: _storage,
    Overloaded: lambda error: _later(error.status, "too many requests are waiting: try again")(error),
    Unavailable: _later(503, "a model is restarting: try again"),
    ModelFailed: says(500, "a model failed; the server's log says why"),
    Exception: says(500, INTERNAL),
}
