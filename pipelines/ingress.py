"""The ingress: one ASGI application that hands each request to the API whose path it has."""

import asyncio
import logging
import time
from dataclasses import dataclass
from importlib import import_module

from ray import serve
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prosopon.configs.settings import Api, Settings
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.keys import KeyStore
from prosopon.models.matching.calibration import SimilarityCurve
from prosopon.pipelines.graphs.application import Graphs
from prosopon.pipelines.graphs.enrollments import Enrollments
from prosopon.pipelines.graphs.face_analysis import FaceAnalyzer
from prosopon.pipelines.graphs.galleries import Galleries
from prosopon.pipelines.graphs.generation import Generation, GeneratorHandles
from prosopon.pipelines.graphs.recognition import Recognition, RecognitionHandles
from prosopon.pipelines.graphs.searches import Searches
from prosopon.pipelines.graphs.swaps import SwapHandles, Swaps
from prosopon.pipelines.http import health
from prosopon.pipelines.http.keys import Authenticator

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True, slots=True)
class Services:
    """What routes may use. One per ingress process. A graph that no API of the settings needs is None."""

    settings: Settings
    records: Records
    keys: Authenticator
    recognition_graph: Recognition | None = None
    generation_graph: Generation | None = None
    swaps_graph: Swaps | None = None
    facecheck_searches: Searches | None = None

    @property
    def recognition(self) -> Recognition:
        assert self.recognition_graph is not None
        return self.recognition_graph

    @property
    def generation(self) -> Generation:
        assert self.generation_graph is not None
        return self.generation_graph

    @property
    def swaps(self) -> Swaps:
        assert self.swaps_graph is not None
        return self.swaps_graph

    @property
    def faces(self) -> FaceAnalyzer:
        return self.recognition.faces

    @property
    def similarity(self) -> SimilarityCurve:
        return self.recognition.similarity

    @property
    def galleries(self) -> Galleries:
        return self.recognition.galleries

    @property
    def enrollments(self) -> Enrollments | None:
        return self.recognition.enrollments

    @property
    def searches(self) -> Searches:
        assert self.facecheck_searches is not None
        return self.facecheck_searches


_CHECKFACE_PATHS = (
    "/status",
    "/api/face",
    "/api/hashdata",
    "/api/gif",
    "/api/webp",
    "/api/mp4",
    "/api/morphframe",
    "/api/linkpreview",
    "/api/registerlatent",
    "/api/recoverlatent",
    "/api/encodeimage",
    "/api/queue",
)

_FACECHECK_PATHS = ("/api/upload_pic", "/api/search", "/api/delete_pic", "/api/info")

# The order matters: the first prefix that fits wins.
_PATHS: dict[Api, tuple[str, ...]] = {
    "compreface": ("/api/v1/",),
    "checkface": _CHECKFACE_PATHS,
    "facecheck": _FACECHECK_PATHS,
    "trueface": ("/v1/",),
    "aifaceswap": ("/api/aifaceswap/v1/",),
}


def _route(api: Api, services: Services) -> tuple[tuple[str, ...], ASGIApp]:
    """The API's paths and its application, `create_app` of the package of its name; others are not imported."""
    app: ASGIApp = import_module(f"prosopon.pipelines.apis.{api}.routes").create_app(services)
    return (*_PATHS[api], f"/openapi/{api}"), app


class Dispatcher:
    """Chooses the API by the path's prefix and logs every request once."""

    def __init__(self, routes: list[tuple[tuple[str, ...], ASGIApp]], fallback: ASGIApp) -> None:
        self._routes = routes
        self._fallback = fallback

    def _find(self, path: str) -> ASGIApp:
        for prefixes, app in self._routes:
            if path.startswith(prefixes):
                return app
        return self._fallback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._fallback(scope, receive, send)
        started, status = time.perf_counter(), 500

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._find(scope["path"])(scope, receive, observed)
        finally:
            # Serve adds the request's id to the record, here and in every replica that the request reaches.
            milliseconds = (time.perf_counter() - started) * 1000
            logger.info(f"{scope['method']} {redact(scope['path'])} {status} {milliseconds:.1f} ms")


def redact(path: str) -> str:
    """The path without what is secret in it: an API key (CompreFace's static pictures), the name of a result."""
    parts = path.split("/")
    if parts[1:4] == ["api", "v1", "static"] and len(parts) > 4:
        parts[4] = "***"
    if parts[1:5] == ["api", "aifaceswap", "v1", "result"] and len(parts) > 5:
        parts[5] = "***"
    return "/".join(parts)


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
        records = await asyncio.to_thread(Records, settings.state.database)
        recognizing = await Recognition.connect(recognition, settings.state, records) if recognition else None
        searches = None
        if recognizing and settings.serves("facecheck"):
            searches = Searches(recognizing.faces, recognizing.galleries, settings, records)
        self._services = Services(
            settings=settings,
            records=records,
            keys=Authenticator(KeyStore(records)),
            recognition_graph=recognizing,
            generation_graph=await Generation.connect(generation, settings, records) if generation else None,
            swaps_graph=await Swaps.connect(swaps, settings, records) if swaps else None,
            facecheck_searches=searches,
        )

    def graphs(self) -> Graphs:
        """Everything that `pipelines.python.handles` needs, for those who join the application."""
        return self._graphs

    def __serve_build_asgi_app__(self) -> ASGIApp:
        services = self._services
        routes = [_route(api, services) for api in _PATHS if services.settings.serves(api)]
        return Dispatcher(routes, health.create_app(services.settings, services.keys))
