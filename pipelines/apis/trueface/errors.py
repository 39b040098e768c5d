"""Trueface's answers to what goes wrong: the envelope with ``success`` false and the documented statuses.

What was deleted answers 404, as if it had never been: nothing is kept of it that could tell 410.
"""

from collections.abc import Callable

from fastapi import Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from prosopon.deployments.serving.calls import ModelFailed, Overloaded, Unavailable
from prosopon.deployments.state.errors import (
    CollectionEmpty,
    CollectionNotFound,
    CollectionUntrained,
    EnrollmentNotFound,
    StateError,
    StorageFault,
)
from prosopon.models.pictures.decoding import ImageError
from prosopon.pipelines.apis.trueface.wire import Failure
from prosopon.pipelines.graphs.recognition import LowQuality, NoFace
from prosopon.pipelines.http.application import INTERNAL
from prosopon.pipelines.http.bodies import BodyError
from prosopon.pipelines.http.errors import ErrorTable, first_problem, of_storage
from prosopon.pipelines.http.keys import KeyRefused, WrongScope


class WrongContentType(Exception):
    """The body is not of a kind that the route reads."""


class NoModel(Exception):
    """No model that could tell is in service."""


def failure(status: int, message: str, retry_after: int | None = None) -> Response:
    headers = {"Retry-After": str(retry_after)} if retry_after else None
    return JSONResponse(Failure(message=message).model_dump(), status, headers)


def says(status: int, message: str = "{}") -> Callable[[Exception], Response]:
    """The answer with a message in which ``{}`` is the exception's."""
    return lambda error: failure(status, message.format(error))


def _later(status: int, kind: str) -> Callable[[Overloaded | Unavailable], Response]:
    return lambda error: failure(status, f"{kind}: try again", error.retry_after)


def _invalid(error: RequestValidationError | ValidationError) -> Response:
    problem = first_problem(error)
    return failure(400, f"'{problem.name}': {problem.message}")


def _http(error: HTTPException) -> Response:
    return failure(error.status_code, str(error.detail))


ERRORS: ErrorTable = {
    KeyRefused: says(401, "x-api-key is missing or is not an API key"),
    WrongScope: says(403, "this API key is not for Trueface"),
    WrongContentType: says(406),
    RequestValidationError: _invalid,
    ValidationError: _invalid,
    HTTPException: _http,
    BodyError: says(400),
    ImageError: says(400),
    NoFace: says(400),
    LowQuality: says(400),
    NoModel: says(503),
    EnrollmentNotFound: says(404, "no enrollment has the id {}"),
    CollectionNotFound: says(404, "no collection has the id {}"),
    CollectionEmpty: says(
        400, "the collection is empty: add enrollments to it with PUT /v1/collection, then train it"
    ),
    CollectionUntrained: says(
        400,
        "the collection is not trained: add enrollments to it with PUT /v1/collection, call POST /v1/train, and "
        "allow up to 30 seconds",
    ),
    StateError: says(503),
    StorageFault: lambda error: failure(error.status, of_storage(error), error.retry_after),
    Overloaded: _later(429, "too many requests are waiting"),
    Unavailable: _later(503, "a model is restarting"),
    ModelFailed: says(500, "the model service failed; the server's log says why"),
    Exception: says(500, INTERNAL),
}
