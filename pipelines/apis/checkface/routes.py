"""The CheckFace API: any text is a face, and two faces are a film. Open to everybody, as documented.

A number that is missing, unreadable or out of range falls back to its default, as the documented service does it; a
bad seed, guid or latent is an error, ``{"error": message}``.
"""

import base64
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, FastAPI, Query, Request, Response
from pydantic import BaseModel, BeforeValidator
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse

from prosopon.deployments.serving.calls import ModelFailed, Overloaded, Unavailable
from prosopon.deployments.serving.messages import FilmRequest
from prosopon.deployments.state.blobs import Blob
from prosopon.deployments.state.errors import StorageFault
from prosopon.models.faces.detections import FilmFormat, PictureFormat
from prosopon.models.generation.latents import (
    Latent,
    LatentError,
    Mixture,
    Morph,
    Part,
    between,
    checked,
    in_z,
    latent_of_seed,
    mixed,
    seed_of,
    sum_in_z,
)
from prosopon.models.inversion.target import NoFace
from prosopon.models.pictures.decoding import ImageError, RejectionReason
from prosopon.pipelines.apis.checkface.inversion import add_routes as add_inversion
from prosopon.pipelines.graphs.generation import NoInversion, Recipe
from prosopon.pipelines.http.application import INTERNAL, api_app
from prosopon.pipelines.http.downloads import download, etag_of, not_modified
from prosopon.pipelines.http.errors import of_storage
from prosopon.pipelines.http.uploads import BodyError, BodyTooLarge, read_json

if TYPE_CHECKING:
    from prosopon.pipelines.services import Services

_CACHE_CONTROL = "public, max-age=86400"
"""The bytes stay the same until the operator changes the generator."""
_MAX_LATENT_BYTES = 2 * 1024 * 1024
_MAX_MIXTURE = 16
_FILM_RETRY_AFTER = 15
_POSTED = ("registerlatent", "recoverlatent")
"""Routes that GET would otherwise take for texts."""

# -------------------------------------------------------------------------------------------------------- errors


class Failure(BaseModel):
    error: str


class CheckFaceError(Exception):
    """An answer in the API's error form."""

    def __init__(
        self,
        status: int,
        message: str,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self.headers = {**(headers or {}), **({"Retry-After": str(retry_after)} if retry_after else {})}

    def response(self) -> Response:
        return JSONResponse({"error": self.message}, self.status, self.headers)


_EXPECTED = (
    CheckFaceError, StorageFault, LatentError, BodyError, NoFace, ImageError, NoInversion, Overloaded, Unavailable,
    ModelFailed, HTTPException,
)  # fmt: skip
_TOO_LARGE = (RejectionReason.TOO_LARGE, RejectionReason.TOO_MANY_PIXELS)
_NO_INVERSION = (
    "latents cannot be recovered from pictures in this installation: "
    "run `prosopon models pull dlib-resnet29` and start it again"
)


def _translate(error: Exception) -> CheckFaceError:
    """The API's own error for whatever went wrong below the routes."""
    match error:
        case CheckFaceError():
            return error
        case LatentError() | BodyError() | NoFace() | ImageError():
            large = isinstance(error, BodyTooLarge) or (
                isinstance(error, ImageError) and error.reason in _TOO_LARGE
            )
            return CheckFaceError(413 if large else 400, str(error))
        case NoInversion():
            return CheckFaceError(503, _NO_INVERSION)
        case Overloaded():
            return CheckFaceError(503, "too many requests are waiting: try again", error.retry_after)
        case Unavailable():
            return CheckFaceError(503, "the generator is restarting: try again", error.retry_after)
        case StorageFault():
            return CheckFaceError(error.status, of_storage(error), error.retry_after)
        case ModelFailed():
            return CheckFaceError(500, "the generator failed; the server's log says why")
        case HTTPException():
            return CheckFaceError(error.status_code, str(error.detail), headers=error.headers)
    raise error


# ------------------------------------------------------------------------------------------------------- numbers


def _within(low: int, high: int, default: int) -> tuple[BeforeValidator, Any]:
    """An integer parameter that falls back to its default."""

    def fall_back(text: object) -> int:
        try:
            number = int(str(text))
        except ValueError:
            return default
        return number if low <= number <= high else default

    return BeforeValidator(fall_back), Query(json_schema_extra={"minimum": low, "maximum": high})


def _truth(text: object) -> bool:
    return str(text).lower() in ("true", "1", "yes", "on")


def _format(text: object) -> PictureFormat:
    formats: dict[str, PictureFormat] = {"jpg": "jpg", "jpeg": "jpg", "webp": "webp", "png": "png"}
    return formats.get(str(text).lower(), "jpg")


Dim = Annotated[int, *_within(10, 1024, 300)]
Fps = Annotated[int, *_within(1, 100, 16)]
Frames = Annotated[int, *_within(3, 200, 50)]
Width = Annotated[int, *_within(100, 1400, 1200)]
Kbitrate = Annotated[int, *_within(100, 20000, 2400)]
FrameNumber = Annotated[int, *_within(0, 199, 0)]
Format = Annotated[PictureFormat, BeforeValidator(_format)]
Flag = Annotated[bool, BeforeValidator(_truth)]

_FACE_PARAMETERS = {
    "value": "any text",
    "seed": "an integer, wins over value",
    "guid": "of a registered latent, wins over both",
}


def _documented(*prefixes: str, mixture: bool = False) -> dict[str, Any]:
    """OpenAPI of the parameters that name faces."""
    parameters = [
        {"name": prefix + name, "in": "query", "schema": {"type": "string"}, "description": text}
        for prefix in prefixes
        for name, text in _FACE_PARAMETERS.items()
    ]
    if mixture:
        text = "latents to mix: value0, seed0, guid0, amount0 and so on; amounts are -2..2, 1/n where missing"
        parameters.append(
            {
                "name": "num_multi",
                "in": "query",
                "description": text,
                "schema": {"type": "integer", "minimum": 1, "maximum": _MAX_MIXTURE},
            }
        )
    return {"parameters": parameters}


class Film:
    """What a film's and a frame's parameters have in common."""

    def __init__(self, dim: Dim = 300, fps: Fps = 16, num_frames: Frames = 50, linear: Flag = False) -> None:
        self.dim, self.fps, self.frames, self.linear = dim, fps, num_frames, linear


# --------------------------------------------------------------------------------------------------------- routes


def create_app(services: "Services") -> FastAPI:
    """The API's application. Its OpenAPI document is at ``/openapi/checkface.json``."""
    app = api_app(
        "checkface",
        "CheckFace API",
        "1.0.0",
        expected=_EXPECTED,
        answer=lambda error: _translate(error).response(),
        bug=CheckFaceError(500, INTERNAL),
        slash=True,
        responses={status: {"model": Failure} for status in (400, 404, 413, 500, 503)},
    )
    generation = services.generation

    def get(path: str, **options: Any) -> Callable[[Any], Any]:
        """GET and HEAD, with and without the slash at the end."""

        def register(route: Any) -> Any:
            app.add_api_route(f"{path}/", route, methods=["GET"], **options)
            for other, methods in ((f"{path}/", ["HEAD"]), (path, ["GET", "HEAD"])):
                app.add_api_route(other, route, methods=methods, include_in_schema=False)
            return route

        return register

    # ------------------------------------------------------------------------------------------------- latents

    async def latent_of(query: QueryParams, prefix: str = "", suffix: str = "") -> tuple[Latent, int | None]:
        """The latent that the parameters name, with its seed where it has one."""
        if (guid := query.get(f"{prefix}guid{suffix}")) is not None:
            return await latent_of_guid(guid), None
        if (text := query.get(f"{prefix}seed{suffix}")) is not None:
            seed = _seed(f"{prefix}seed{suffix}", text)
        else:
            seed = seed_of(query.get(f"{prefix}value{suffix}", ""))
        return latent_of_seed(seed), seed

    async def latent_of_guid(text: str) -> Latent:
        try:
            guid = uuid.UUID(text)
        except ValueError:
            raise CheckFaceError(400, f"{text[:64]!r} is not a guid") from None
        latent = await generation.registered(guid)
        if latent is None:
            raise CheckFaceError(404, f"no latent is registered under the guid {guid}")
        return latent

    async def mixture_of(query: QueryParams) -> tuple[Mixture, int | None]:
        count = _number(query.get("num_multi"))
        if not 1 <= count <= _MAX_MIXTURE:
            latent, seed = await latent_of(query)
            return (Part(latent),), seed
        latents = [(await latent_of(query, suffix=str(index)))[0] for index in range(count)]
        return mixed(latents, [_amount(query.get(f"amount{index}")) for index in range(count)]), None

    async def ends_of(query: QueryParams) -> tuple[Latent, Latent]:
        return (await latent_of(query, "from_"))[0], (await latent_of(query, "to_"))[0]

    async def answer(request: Request, recipe: Recipe) -> Response:
        etag = etag_of(recipe.key)
        if response := not_modified(request, etag, _CACHE_CONTROL):
            return response
        return download(request, await generation.get(recipe), etag, _CACHE_CONTROL)

    # -------------------------------------------------------------------------------------------------- status

    @get("/api/status", tags=["status"])
    @get("/status", tags=["status"])
    async def status() -> Response:
        """200 where the API is available."""
        return PlainTextResponse("ok")

    @get("/api/queue", tags=["status"])
    async def queue() -> dict[str, int]:
        """How many pictures and films are being made or waited for."""
        return {"queue": await generation.computing()}

    # -------------------------------------------------------------------------------------------------- faces

    @get("/api/face", tags=["faces"], openapi_extra=_documented("", mixture=True))
    async def face(request: Request, dim: Dim = 300, format: Format = "jpg") -> Response:
        """A picture of a face."""
        mixture, _ = await mixture_of(request.query_params)
        return await answer(request, generation.face(mixture, dim, format))

    @get("/api/hashdata", tags=["faces"], openapi_extra=_documented("", mixture=True))
    async def hashdata(request: Request) -> Response:
        """The latent behind a face: `qlatent`, 512 numbers in z, or `dlatent`, 512 for each layer, in w+."""
        mixture, seed = await mixture_of(request.query_params)
        document: dict[str, Any]
        if in_z(mixture):
            document = {"qlatent": sum_in_z(mixture).tolist()}
        elif len(mixture) == 1 and mixture[0].amount == 1:
            document = {"dlatent": mixture[0].latent.numbers.tolist()}
        else:
            document = {"dlatent": (await generation.styles(mixture)).tolist()}
        if seed is not None:
            document["seed"] = seed
        return JSONResponse(document)

    # -------------------------------------------------------------------------------------------------- films

    async def film(request: Request, format: FilmFormat, parameters: Film, kbitrate: int = 2400) -> Response:
        start, end = await ends_of(request.query_params)
        wanted = FilmRequest(
            start,
            end,
            format,
            parameters.dim,
            parameters.fps,
            parameters.frames,
            kbitrate,
            parameters.linear,
        )
        recipe = generation.film(wanted)
        etag = etag_of(recipe.key)
        if response := not_modified(request, etag, _CACHE_CONTROL):
            return response
        return download(request, await made(recipe), etag, _CACHE_CONTROL)

    async def made(recipe: Recipe) -> Blob:
        try:
            return await generation.get(recipe)
        except Overloaded:
            raise CheckFaceError(503, "too many films are waiting: try again", _FILM_RETRY_AFTER) from None

    @get("/api/gif", tags=["films"], openapi_extra=_documented("from_", "to_"))
    async def gif(request: Request, parameters: Annotated[Film, Depends()]) -> Response:
        """A morph as an animated gif, which loops."""
        return await film(request, "gif", parameters)

    @get("/api/webp", tags=["films"], openapi_extra=_documented("from_", "to_"))
    async def webp(request: Request, parameters: Annotated[Film, Depends()]) -> Response:
        """A morph as an animated webp, which loops."""
        return await film(request, "webp", parameters)

    @get("/api/mp4", tags=["films"], openapi_extra=_documented("from_", "to_"))
    async def mp4(
        request: Request,
        parameters: Annotated[Film, Depends()],
        kbitrate: Kbitrate = 2400,
        embed_html: Flag = False,
    ) -> Response:
        """A morph as H.264 video; with `embed_html` in a page that loops it."""
        if not embed_html:
            return await film(request, "mp4", parameters, kbitrate)
        start, end = await ends_of(request.query_params)
        wanted = FilmRequest(
            start, end, "mp4", parameters.dim, parameters.fps, parameters.frames, kbitrate, parameters.linear
        )
        recipe = generation.film(wanted)
        etag = etag_of(f"{recipe.key} page")
        if response := not_modified(request, etag, _CACHE_CONTROL):
            return response
        return _page(await made(recipe), parameters.dim, etag)

    @get("/api/morphframe", tags=["films"], openapi_extra=_documented("from_", "to_"))
    async def morphframe(
        request: Request,
        parameters: Annotated[Film, Depends()],
        frame_num: FrameNumber = 0,
        format: Format = "jpg",
    ) -> Response:
        """One frame of a morph."""
        start, end = await ends_of(request.query_params)
        morph = Morph.of(parameters.frames, parameters.linear)
        number = frame_num if frame_num < parameters.frames else 0
        mixture = between(start, end, morph.amounts[morph.order[number]])
        return await answer(request, generation.face(mixture, parameters.dim, format))

    @get("/api/linkpreview", tags=["films"], openapi_extra=_documented("from_", "to_"))
    async def linkpreview(request: Request, width: Width = 1200) -> Response:
        """Both ends of a morph and, larger, what lies between them."""
        start, end = await ends_of(request.query_params)
        return await answer(request, generation.link_preview(start, end, width))

    # ---------------------------------------------------------------------------------------- latents of others

    @app.post("/api/registerlatent", include_in_schema=False)
    @app.post("/api/registerlatent/", tags=["latents"], openapi_extra=_LATENT_BODY)
    async def registerlatent(request: Request) -> Response:
        """Keep a latent; the answer is its guid, in plain text."""
        document = await read_json(request, _MAX_LATENT_BYTES)
        if not isinstance(document, dict) or "latent" not in document:
            raise CheckFaceError(400, "the body must be a JSON object with the field 'latent'")
        kind = document.get("type")
        if kind is not None and not isinstance(kind, str):
            raise CheckFaceError(400, "'type' must be a string")
        return PlainTextResponse(str(await generation.register(checked(document["latent"]), kind)))

    add_inversion(app, generation, services.settings.photographs)

    @get("/api/{text}", tags=["faces"])
    async def face_of_text(request: Request, text: str) -> Response:
        """The face of a text, of 300 pixels: what pages embed. A route's name is no text."""
        if text in _POSTED:
            raise HTTPException(405, f"/api/{text}/ is for POST", {"Allow": "POST"})
        return await answer(request, generation.face((Part(latent_of_seed(seed_of(text))),), 300, "jpg"))

    return app


_LATENT_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["latent"],
                    "properties": {
                        "latent": {
                            "type": "array",
                            "description": "512 numbers, or 512 for each layer of the generator",
                            "items": {},
                        },
                        "type": {"type": "string"},
                    },
                }
            }
        },
    }
}


def _seed(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise CheckFaceError(400, f"'{name}' must be an integer, not {text[:64]!r}") from None


def _number(text: str | None) -> int:
    try:
        return int(text or "")
    except ValueError:
        return 0


def _amount(text: str | None) -> float | None:
    try:
        amount = float(text or "")
    except ValueError:
        return None
    return amount if amount == amount else None  # not a number is no amount


def _page(film: Blob, dim: int, etag: str) -> Response:
    """A page that holds the film itself, so that a saved one plays, and loops it. dim: of its square frames."""
    side = dim + dim % 2  # H.264's frames have even sides.
    source = f"data:{film.media_type};base64,{base64.b64encode(film.data).decode()}"
    page = (
        "<!DOCTYPE html>\n"
        '<html lang="en"><head><meta charset="utf-8"><title>CheckFace</title>\n'
        "<style>body{margin:0;min-height:100vh;display:grid;place-items:center;background:#111}"
        "video{max-width:100vw;max-height:100vh}</style></head>\n"
        f'<body><video autoplay loop muted playsinline controls width="{side}" height="{side}" src="{source}"></video>'
        "</body></html>\n"
    )
    policy = "default-src 'none'; media-src data:; style-src 'unsafe-inline'"
    headers = {"Content-Security-Policy": policy, "Cache-Control": _CACHE_CONTROL, "ETag": etag}
    return HTMLResponse(page, headers=headers)
