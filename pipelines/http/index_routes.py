"""`/admin/index`: pictures into the index that FaceCheck searches, for who has a key with the scope `admin`.

The index is one for everybody: who may search is not therefore who may fill it.
"""

from typing import Annotated, Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from prosopon.configs.settings import ImageLimits
from prosopon.deployments.serving.calls import ModelFailed, Overloaded, Unavailable
from prosopon.deployments.state.errors import StateError, StorageFault
from prosopon.deployments.state.schema import MAX_SUBJECT_LENGTH
from prosopon.deployments.web.client import MAX_URL
from prosopon.models.pictures.decoding import ImageError
from prosopon.pipelines.http.bodies import BodyError, BodyTooLarge
from prosopon.pipelines.http.errors import of_storage
from prosopon.pipelines.http.key_routes import may_administer, wrong
from prosopon.pipelines.http.keys import Authenticator
from prosopon.pipelines.http.uploads import read_pictures

_PICTURE = "file"


class Filling(Protocol):
    """`pipelines.graphs.filling.IndexFilling`."""

    async def take(self, picture: bytes, url: str, group: str | None) -> Any: ...


class Place(BaseModel):
    """url: what results show as the picture's place, an address or a file's name; group: what belongs together."""

    model_config = ConfigDict(extra="forbid")

    url: Annotated[str, Field(min_length=1, max_length=MAX_URL)]
    group: Annotated[str, Field(min_length=1, max_length=MAX_SUBJECT_LENGTH)] | None = None


def routes(keys: Authenticator, filling: Filling, limits: ImageLimits) -> list[Route]:
    """POST `/admin/index?url=...&group=...` with a picture as `file`: ``{"faces", "outcome"}``, where the outcome is
    ``added``, ``replaced`` or ``unchanged``. It may be sent again. A refusal is ``{"message"}``."""

    async def taken(request: Request) -> Response:
        if refusal := await may_administer(request, keys):
            return refusal
        try:
            place = Place.model_validate(dict(request.query_params))
            (upload,) = await read_pictures(request, [_PICTURE], limits.max_bytes)
            found = await filling.take(upload.data, place.url, place.group)
        except (
            ValidationError,
            BodyError,
            ImageError,
            StateError,
            Overloaded,
            Unavailable,
            ModelFailed,
        ) as error:
            return _refused(error)
        return JSONResponse({"faces": found.faces, "outcome": str(found.outcome)})

    return [Route("/admin/index", taken, methods=["POST"])]


def _refused(error: Exception) -> Response:
    status, message, wait = 400, str(error), None
    match error:
        case ValidationError():
            return wrong(error)
        case BodyTooLarge():
            status = 413
        case StorageFault():
            status, message, wait = error.status, of_storage(error), error.retry_after
        case Overloaded():
            status, wait = error.status, error.retry_after
        case Unavailable() | StateError():  # The embedder has just been replaced by another.
            status, wait = 503, Overloaded.retry_after
        case ModelFailed():
            status = 500
    return JSONResponse({"message": message}, status, {"Retry-After": str(wait)} if wait else None)
