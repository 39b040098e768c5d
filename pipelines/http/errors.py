"""From an exception to an answer: each API has one table, which `api_app` registers."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from prosopon.deployments.serving.calls import ModelFailed, Overloaded, Unavailable
from prosopon.deployments.state.errors import StateError, StorageBusy, StorageFault, StorageFull
from prosopon.models.pictures.decoding import ImageError
from prosopon.pipelines.http.bodies import BodyError
from prosopon.pipelines.http.keys import KeyRefused

logger = logging.getLogger("ray.serve")

ErrorTable = Mapping[type[Exception], Callable[[Any], Response]]
"""The answer to an exception. Of an exception's classes the most special that is in the table counts, so that
`SubjectNotFound` may stand beside `StateError`. `Exception` is for bugs, which are logged."""

EVERY_TABLE_ANSWERS = (
    RequestValidationError, HTTPException, BodyError, ImageError, StateError, Overloaded, Unavailable, ModelFailed,
    Exception,
)  # fmt: skip
"""`KeyRefused` too, where the API has keys."""


def check_table(table: ErrorTable, *, keys: bool) -> None:
    """Raises `LookupError` that names what the table does not answer."""
    needed = (*EVERY_TABLE_ANSWERS, *((KeyRefused,) if keys else ()))
    if missing := [kind.__name__ for kind in needed if kind not in table]:
        raise LookupError(f"the table of errors has no row for {', '.join(missing)}")


_WHEN = {
    400: "what was sent is not what is needed; the message names the parameter or the picture",
    401: "no key was sent, or one that is unknown or revoked",
    402: "the key does not have enough points",
    403: "the key is not for this",
    404: "what is named is not there",
    406: "the body's Content-Type is not one that is read",
    413: "the body, or a picture in it, is too large",
    429: "too many requests, or tasks, at once: try again after `Retry-After` seconds",
    500: "a fault of the server, whose log has the details under the answer's `X-Request-ID`",
    503: "the server is busy or starting: try again after `Retry-After` seconds",
}


def refusals(model: type[BaseModel], *statuses: int, **instead: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's responses of an API's refusals, each with when it is given. instead: the words for one, as
    ``s404="..."``."""
    return {
        status: {"model": model, "description": instead.get(f"s{status}", _WHEN[status])}
        for status in statuses
    }


def of_storage(error: StorageFault) -> str:
    """What a client is told of storage that is at fault. Names and hashes are for the log, with the request's id."""
    logger.error("storage: %s: %s", type(error).__name__, error)
    if isinstance(error, StorageFull):
        return "no space is left on the server"
    if isinstance(error, StorageBusy):
        return "the storage is busy: try again"
    return "what is stored cannot be read; the server's log has the details"


@dataclass(frozen=True, slots=True)
class Problem:
    """place: query, path, header or body. name: of the field, with dots; of a whole body ``body``.
    kind: pydantic's type of error, such as ``missing`` or ``greater_than_equal``. message: in pydantic's words."""

    place: str
    name: str
    kind: str
    message: str


def first_problem(error: RequestValidationError | ValidationError) -> Problem:
    """What is wrong with the first of the parameters that are."""
    problem = error.errors()[0]
    places = [str(part) for part in problem["loc"]]
    place = places.pop(0) if places and places[0] in ("query", "path", "header", "body") else "body"
    return Problem(place, ".".join(places) or "body", problem["type"], problem["msg"])
