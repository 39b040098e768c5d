"""aifaceswap's application: its routers, its errors, its place."""

from prosopon.pipelines.apis.aifaceswap import BASE, swaps, tasks
from prosopon.pipelines.apis.aifaceswap.errors import ERRORS
from prosopon.pipelines.apis.aifaceswap.wire import Failure
from prosopon.pipelines.http.application import ApiApp, api_app
from prosopon.pipelines.http.errors import refusals
from prosopon.pipelines.services import Services


def create_app(services: Services) -> ApiApp:
    """The API's application. Its OpenAPI document is at ``/openapi/aifaceswap.json``."""
    app = api_app(
        "aifaceswap",
        "aifaceswap API",
        "1",
        services=services,
        errors=ERRORS,
        responses=refusals(
            Failure,
            *(400, 401, 402, 403, 404, 413, 429, 500, 503),
            s404="no task of that id was made with a key of this tenant, or it is forgotten",
        ),
    )
    for part in (swaps, tasks):
        app.include_router(part.router, prefix=BASE)
    return app
