"""The ingress: one ASGI application that hands each request to the API whose path it has."""

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from itertools import pairwise
from typing import get_args

from ray import serve
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prosopon.configs.settings import Api, Settings
from prosopon.deployments.serving.fair_queue import caller
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.keys import KeyStore
from prosopon.deployments.state.usage import UsageStore
from prosopon.pipelines.graphs.application import Graphs
from prosopon.pipelines.graphs.filling import IndexFilling
from prosopon.pipelines.graphs.generation import Generation, GeneratorHandles
from prosopon.pipelines.graphs.recognition import Recognition, RecognitionHandles
from prosopon.pipelines.graphs.searches import Searches
from prosopon.pipelines.graphs.swaps import SwapHandles, Swaps
from prosopon.pipelines.http import health, index_routes
from prosopon.pipelines.http.front_door import FrontDoor
from prosopon.pipelines.http.keys import Authenticator
from prosopon.pipelines.http.limits import LIMIT, RateLimit
from prosopon.pipelines.http.routing import canonical_path, without_prefix
from prosopon.pipelines.services import Services

logger = logging.getLogger("ray.serve")

_THREADS = 64


_PATHS: dict[Api, tuple[str, ...]] = {
    api: import_module(f"prosopon.pipelines.apis.{api}").PATHS for api in get_args(Api)
}
"""Whose path it is, as the APIs' packages say."""
_NAMED_BY_SECRETS = frozenset({"static", "result", "subjects"})
_COULD_BE_KEY = re.compile(
    r"([0-9a-f]{8})-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE
)
_MAX_LOGGED = 300
_LONGEST = max(path.count("/") for paths in _PATHS.values() for path in paths)


def _application(api: Api, services: Services) -> ASGIApp:
    """`create_app` of the package of the API's name; others are not imported."""
    app: ASGIApp = import_module(f"prosopon.pipelines.apis.{api}.routes").create_app(services)
    return app


class Dispatcher:
    """Chooses the API by the longest beginning of the path that is one's, and logs every request once."""

    def __init__(
        self,
        apps: Mapping[Api, ASGIApp],
        fallback: ASGIApp,
        limit: RateLimit | None = None,
        prefix: str = "",
    ) -> None:
        """fallback: for the paths of APIs that are not served, too. limit: of what one caller asks of all APIs.
        prefix: what paths may begin with, where a proxy shows this server below its own root."""
        self._limit, self._prefix = limit, prefix
        self._apps = {path: apps.get(api, fallback) for api, paths in _PATHS.items() for path in paths}
        self._apps |= {f"/openapi/{api}.json": app for api, app in apps.items()}
        self._fallback = fallback

    def _find(self, scope: Scope) -> ASGIApp:
        parts = canonical_path(scope).split("/", _LONGEST + 1)
        beginnings = ("/".join(parts[:end]) for end in range(_LONGEST + 1, 1, -1))
        return next((self._apps[path] for path in beginnings if path in self._apps), self._fallback)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._fallback(scope, receive, send)
        scope = without_prefix(scope, self._prefix)
        scope[LIMIT] = self._limit
        caller.set(f"address {scope['client'][0] if scope.get('client') else ''}")
        started, status = time.perf_counter(), 500

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._find(scope)(scope, receive, observed)
        finally:
            # Serve adds the request's id to the record, here and in every replica that the request reaches.
            milliseconds = (time.perf_counter() - started) * 1000
            logger.info(f"{scope['method']} {redact(canonical_path(scope))} {status} {milliseconds:.1f} ms")


def redact(path: str) -> str:
    """The path without what is secret or a person's in it: of anything that could be a key the first eight digits, of
    names and results nothing."""
    shown = ["***" if before in _NAMED_BY_SECRETS else part for before, part in pairwise(path.split("/"))]
    return (
        _COULD_BE_KEY.sub(r"\1-***", "/".join(["", *shown]))[:_MAX_LOGGED].encode("unicode_escape").decode()
    )


def _searches(recognizing: Recognition, settings: Settings, records: Records) -> Searches:
    """Whose results are told in the words of their one API, which is imported where it is served alone."""
    from prosopon.pipelines.apis.facecheck.wire import reporter

    report = reporter(settings.facecheck.show_files)
    return Searches(
        recognizing.faces, recognizing.galleries, settings, records, report, recognizing.similarity
    )


@serve.deployment
@serve.ingress()
class Ingress:
    """Routes of every API that the settings name, over handles to the deployments behind them."""

    async def __init__(  # type: ignore[misc]  # Serve awaits an asynchronous constructor
        self,
        settings: Settings,
        recognition: RecognitionHandles | None,
        generation: GeneratorHandles | None,
        swaps: SwapHandles | None,
    ) -> None:
        self._graphs = Graphs(settings, recognition, generation, swaps)
        # Those that wait for a lock of the database are cheap, and must not take the threads of those that do not.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, "blocking"))
        records = await asyncio.to_thread(Records, settings.state.database)
        served: list[object] = []
        if recognition:
            recognizing = await Recognition.connect(recognition, settings, records)
            served += [recognizing, recognizing.enrollments]
            if settings.serves("facecheck"):
                served.append(_searches(recognizing, settings, records))
        if generation:
            served.append(await Generation.connect(generation, settings, records))
        if swaps:
            served.append(await Swaps.connect(swaps, settings, records))
        keys = Authenticator(KeyStore(records), UsageStore(records))
        self._services = Services(settings, records, keys, tuple(served))

    def graphs(self) -> Graphs:
        """Everything that `pipelines.python.handles` needs, for those who join the application."""
        return self._graphs

    def __serve_build_asgi_app__(self) -> ASGIApp:
        services = self._services
        apps = {api: _application(api, services) for api in _PATHS if services.settings.serves(api)}
        http = services.settings.http
        limit = RateLimit(http.requests_per_second, http.burst)
        filling: list[Route] = []
        if services.settings.serves("facecheck"):
            index = IndexFilling(services.faces, services.galleries)
            filling = index_routes.routes(services.keys, index, services.settings.images)
        aside = health.create_app(services.settings, services.keys, services.records, filling)
        dispatcher = Dispatcher(apps, aside, limit, http.prefix)
        return FrontDoor(dispatcher, http)
