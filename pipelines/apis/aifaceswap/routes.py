"""aifaceswap's application: its routers, its errors, its place."""

from prosopon.pipelines.apis.aifaceswap import BASE, swaps, tasks
from prosopon.pipelines.apis.aifaceswap.errors import ERRORS
from prosopon.pipelines.apis.aifaceswap.wire import Failure
from prosopon.pipelines.http.application import ApiApp, api_app
from prosopon.pipelines.services import Services


def create_app(services: Services) -> ApiApp:
    """The API's application. Its OpenAPI document is at ``/openapi/aifaceswap.json``."""
    app = api_app(
        "aifaceswap",
        "aifaceswap API",
        "1",
        services=services,
        errors=ERRORS,
        responses={status: {"model": Failure} for status in (400, 401, 402, 403, 404, 413, 429, 500, 503)},
    )
    for part in (swaps, tasks):
        app.include_router(part.router, prefix=BASE)
    return app
