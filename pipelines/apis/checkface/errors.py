"""CheckFace's answers to what goes wrong: ``{"error": message}``."""

import uuid
from collections.abc import Callable, Mapping

from fastapi import Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from prosopon.deployments.serving.calls import ModelFailed, Overloaded, Unavailable
from prosopon.deployments.state.errors import StateError, StorageFault
from prosopon.models.generation.latents import LatentError
from prosopon.models.inversion.target import NoFace
from prosopon.models.pictures.decoding import ImageError, RejectionReason
from prosopon.pipelines.apis.checkface.wire import Failure
from prosopon.pipelines.graphs.generation import NoInversion
from prosopon.pipelines.http.application import INTERNAL
from prosopon.pipelines.http.bodies import BodyError, BodyTooLarge
from prosopon.pipelines.http.errors import ErrorTable, first_problem, of_storage

_TOO_LARGE = (RejectionReason.TOO_LARGE, RejectionReason.TOO_MANY_PIXELS)


class LatentNotFound(Exception):
    """No latent is registered under a guid."""

    def __init__(self, guid: uuid.UUID) -> None:
        super().__init__(f"no latent is registered under the guid {guid}")


def failure(
    status: int, message: str, retry_after: int | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    retry = {"Retry-After": str(retry_after)} if retry_after else {}
    return JSONResponse(Failure(error=message).model_dump(), status, {**(headers or {}), **retry})


def says(status: int, message: str = "{}") -> Callable[[Exception], Response]:
    """The answer with a message in which ``{}`` is the exception's."""
    return lambda error: failure(status, message.format(error))


def _later(kind: str) -> Callable[[Overloaded | Unavailable], Response]:
    return lambda error: failure(error.status, f"{kind}: try again", error.retry_after)


def _invalid(error: RequestValidationError) -> Response:
    problem = first_problem(error)
    return failure(400, f"'{problem.name}': {problem.message}")


ERRORS: ErrorTable = {
    RequestValidationError: _invalid,
    LatentError: says(400),
    LatentNotFound: says(404),
    NoFace: says(400),
    BodyTooLarge: says(413),
    BodyError: says(400),
    ImageError: lambda error: failure(413 if error.reason in _TOO_LARGE else 400, str(error)),
    NoInversion: says(
        503,
        "latents cannot be recovered from pictures in this installation: "
        "run `prosopon models pull --role embedder` and start it again",
    ),
    Overloaded: _later("too many requests are waiting"),
    Unavailable: _later("the generator is restarting"),
    StateError: says(500),
    StorageFault: lambda error: failure(error.status, of_storage(error), error.retry_after),
    ModelFailed: says(500, "the generator failed; the server's log says why"),
    HTTPException: lambda error: failure(error.status_code, str(error.detail), headers=error.headers),
    Exception: says(500, INTERNAL),
}
