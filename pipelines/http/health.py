"""What is no API: liveness, readiness, administration of keys, the console, and a 404 that names what is served."""

import asyncio
from collections.abc import Sequence

from cachetools import TTLCache
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from prosopon.configs.settings import Settings
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.errors import StorageFull
from prosopon.deployments.state.room import full
from prosopon.pipelines.http import key_routes
from prosopon.pipelines.http import pages as console
from prosopon.pipelines.http.keys import Authenticator
from prosopon.pipelines.http.metrics import Metrics

_LOOK_SECONDS = 2.0


def create_app(
    settings: Settings, keys: Authenticator, records: Records, more: Sequence[Route] = ()
) -> Starlette:
    """`/healthz` and `/readyz` answer 200 once this process runs, which it does only when every model is warm. Before
    that the front door says that the server is starting.

    While nothing more can be stored `/readyz` is 507, so that others are asked who can; what needs no storage is
    answered all the same. more: routes of what is served beside these.
    """
    looking = asyncio.Lock()
    seen: TTLCache[str, bool] = TTLCache(1, _LOOK_SECONDS)

    async def ok(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def ready(request: Request) -> Response:
        async with looking:
            without_room = seen.get("full")
            if without_room is None:
                seen["full"] = without_room = await asyncio.to_thread(full, settings.state)
        if not without_room:
            return await ok(request)
        message = "no space is left on the server: nothing more can be stored"
        headers = {"Retry-After": str(StorageFull.retry_after)}
        return JSONResponse({"status": "full", "message": message}, StorageFull.status, headers)

    async def not_found(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        body = {
            "message": f"nothing is served at {request.url.path}",
            "apis": list(settings.apis),
            "documentation": [f"{settings.http.prefix}/docs/{api}" for api in settings.apis],
        }
        return JSONResponse(body, status_code=error.status_code)

    return Starlette(
        routes=[
            Route("/healthz", ok),
            Route("/readyz", ready),
            Route("/metrics", Metrics(keys).__call__),
            *key_routes.routes(keys, records),
            *more,
            *console.routes(settings),
        ],
        exception_handlers={HTTPException: not_found},
    )
