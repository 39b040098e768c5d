"""Trueface's application: its routers, its errors, its place. Contract: Trueface's own documentation."""

from prosopon.pipelines.apis.trueface import BASE, collections, detection, enrollments, recognition
from prosopon.pipelines.apis.trueface.errors import ERRORS
from prosopon.pipelines.apis.trueface.wire import Failure
from prosopon.pipelines.http.application import ApiApp, api_app
from prosopon.pipelines.http.errors import refusals
from prosopon.pipelines.services import Services


def create_app(services: Services) -> ApiApp:
    """The API's application. Its OpenAPI document is at ``/openapi/trueface.json``."""
    app = api_app(
        "trueface",
        "Trueface API",
        "1",
        services=services,
        errors=ERRORS,
        flags=("rawlandmarks", "rawlandmark"),
        responses=refusals(
            Failure,
            *(400, 401, 403, 404, 406, 429, 500, 503),
            s404="the enrollment, the collection or its classifier is not there, or the picture shows no face",
        ),
    )
    for part in (detection, enrollments, collections, recognition):
        app.include_router(part.router, prefix=BASE)
    return app
