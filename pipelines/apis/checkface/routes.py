"""The CheckFace API: any text is a face, and two faces are a film. Open to everybody, as documented."""

from starlette.responses import PlainTextResponse

from prosopon.pipelines.apis.checkface import BASE, faces, films, latents
from prosopon.pipelines.apis.checkface.errors import ERRORS
from prosopon.pipelines.apis.checkface.wire import Failure, Queue
from prosopon.pipelines.http.application import ApiApp, api_app
from prosopon.pipelines.http.errors import refusals
from prosopon.pipelines.http.routing import api_router
from prosopon.pipelines.services import Served, Services

status = api_router(tags=["status"])


@status.get("/status/", response_class=PlainTextResponse)
@status.get(f"{BASE}/status/", response_class=PlainTextResponse)
async def available() -> str:
    """200 where the API is available."""
    return "ok"


@status.get(f"{BASE}/queue/")
async def queue(services: Served) -> Queue:
    """How many pictures and films are being made or waited for."""
    return Queue(queue=await services.generation.computing())


def create_app(services: Services) -> ApiApp:
    """The API's application. Its OpenAPI document is at ``/openapi/checkface.json``."""
    app = api_app(
        "checkface",
        "CheckFace API",
        "1.0.0",
        services=services,
        errors=ERRORS,
        slash=True,
        responses=refusals(
            Failure, *(400, 404, 413, 429, 500, 503), s404="no latent of that guid is registered"
        ),
    )
    app.include_router(status)
    for part in (faces.router, films.router, latents.router, faces.texts):
        app.include_router(part, prefix=BASE)
    return app
