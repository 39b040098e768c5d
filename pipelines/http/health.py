"""What is no API: liveness, readiness, administration of keys, the console, and a 404 that names what is served."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from prosopon.configs.settings import Settings
from prosopon.deployments.state.keys import KeyStore
from prosopon.pipelines.http import key_routes
from prosopon.pipelines.http import pages as console
from prosopon.pipelines.http.keys import Authenticator
from prosopon.pipelines.http.metrics import Metrics


def create_app(settings: Settings, keys: Authenticator, store: KeyStore) -> Starlette:
    """`/healthz` and `/readyz` answer 200 once this process runs, which it does only when every model is warm.

    Before that nobody has the path: HAProxy answers 404, or there is no HAProxy yet.
    """

    async def ok(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def not_found(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        body = {
            "message": f"nothing is served at {request.url.path}",
            "apis": list(settings.apis),
            "documentation": [f"/docs/{api}" for api in settings.apis],
        }
        return JSONResponse(body, status_code=error.status_code)

    return Starlette(
        routes=[
            Route("/healthz", ok),
            Route("/readyz", ok),
            Route("/metrics", Metrics(keys).__call__),
            *key_routes.routes(keys, store),
            *console.routes(settings),
        ],
        exception_handlers={HTTPException: not_found},
    )
