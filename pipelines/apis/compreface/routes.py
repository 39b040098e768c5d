"""CompreFace's application: its routers, its errors, its place.

Contract: CompreFace's own REST description, version 1.2, and where that is silent its server.
"""

from prosopon.pipelines.apis.compreface import BASE, detection, examples, recognition, subjects
from prosopon.pipelines.apis.compreface.errors import ERRORS
from prosopon.pipelines.apis.compreface.wire import Failure
from prosopon.pipelines.http.application import ApiApp, api_app
from prosopon.pipelines.http.errors import refusals
from prosopon.pipelines.services import Services


def create_app(services: Services) -> ApiApp:
    """The API's application. Its OpenAPI document is at ``/openapi/compreface.json``."""
    app = api_app(
        "compreface",
        "CompreFace API",
        "1.2.0",
        services=services,
        errors=ERRORS,
        blank=("subject",),  # Whoever sends an empty name has not meant everybody.
        responses=refusals(
            Failure,
            *(400, 404, 429, 500, 503),
            s400="what was sent is not what is needed, or the key is missing or unknown: `code` tells which",
            s404="the subject or the example is not there",
        ),
    )
    for part in (subjects, examples, recognition, detection):
        app.include_router(part.router, prefix=BASE)
    return app
