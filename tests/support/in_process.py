"""The application over real models in this process: for tests of what a route answers, without Ray's processes.

Ray Serve's local testing mode builds the same graph of deployments from the same settings and calls them in threads.
What it leaves out is what lies between processes: HAProxy, queues and their bounds, batches, replicas that die.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from unittest.mock import patch

import httpx
import uvicorn
from anyio.from_thread import BlockingPortal, start_blocking_portal
from ray import serve
from ray.serve._private.default_impl import create_init_handle_options
from ray.serve._private.replica import UserCallableWrapper
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp, Receive, Scope, Send

from prosopon.configs.settings import Settings
from prosopon.deployments.state.galleries.store import GalleryStore
from prosopon.pipelines.app import build
from prosopon.pipelines.graphs.application import Graphs
from prosopon.pipelines.ingress import Ingress

logger = logging.getLogger(__name__)


class Served(Protocol):
    """A server, whether it is a process of its own or not. home: its state."""

    @property
    def home(self) -> Path: ...

    def connect(self) -> httpx.Client:
        """A client whose paths begin at the server's root."""
        ...


class Listening(Served, Protocol):
    """One that any client reaches by its URL."""

    @property
    def url(self) -> str: ...


class _OneLoop(httpx.BaseTransport):
    """Requests of any number of clients and threads to an ASGI application in one event loop, as in an ingress."""

    def __init__(self, app: ASGIApp, loop: BlockingPortal) -> None:
        async def logged(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await app(scope, receive, send)
            except Exception:
                logger.exception("a bug")
                raise

        # A status 500 is an answer to look at, as it is for a client.
        self._app, self._loop = httpx.ASGITransport(logged, raise_app_exceptions=False), loop

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        return self._loop.call(self._answer, request)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        answer = await self._app.handle_async_request(request)
        body = [chunk async for chunk in answer.aiter_raw()]
        return httpx.Response(answer.status_code, headers=answer.headers, content=b"".join(body))


@dataclass(frozen=True)
class InProcess:
    """As `Served`."""

    home: Path
    app: ASGIApp
    loop: BlockingPortal

    def connect(self) -> httpx.Client:
        transport = _OneLoop(self.app, self.loop)
        return httpx.Client(transport=transport, base_url="http://127.0.0.1", timeout=60)


@dataclass(frozen=True)
class OverHttp:
    """As `Listening`."""

    home: Path
    url: str

    def connect(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60)


@contextmanager
def in_process(home: Path, args: dict[str, Any] | None = None) -> Iterator[InProcess]:
    """The application over the state in `home`, gone with the block; `args` are its settings.

    Swaps are made by warp unless they say otherwise: what routes answer does not depend on how a face is made.
    """
    quick = {"state": {"home": str(home)}, "swap": {"method": "warp"}}
    settings = Settings.model_validate({**quick, **(args or {})})
    # Local testing mode knows handles with a loop of their own alone (ray 2.60), whatever the environment says.
    own_loop = partial(create_init_handle_options, _run_router_in_separate_loop=True)
    replicas: list[UserCallableWrapper] = []

    class Replica(UserCallableWrapper):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            replicas.append(self)

    with (
        patch("ray.serve.handle.create_init_handle_options", own_loop),
        patch("ray.serve._private.local_testing_mode.UserCallableWrapper", Replica),
    ):
        try:
            handle = serve.run(build(settings), name=home.name, _local_testing_mode=True)
            with start_blocking_portal() as loop:
                yield InProcess(home, loop.call(_ingress, handle), loop)
        finally:
            for replica in replicas:
                _end(replica)


def _end(replica: UserCallableWrapper) -> None:
    """What the end of its process does for a replica of Serve: it does nothing any more and lets go of the home."""
    loop = replica.event_loop
    replica.call_destructor().result(60)
    asyncio.run_coroutine_threadsafe(_cancel_tasks(), loop).result(60)
    loop.call_soon_threadsafe(loop.stop)
    if isinstance(store := getattr(replica._callable, "_store", None), GalleryStore):
        store.close()


async def _cancel_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def over_http(home: Path, args: dict[str, Any] | None = None) -> Iterator[OverHttp]:
    """As `in_process`, behind the HTTP server that an ingress has: for browsers, and for clients that hang up."""
    with in_process(home, args) as running, closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        http = uvicorn.Server(uvicorn.Config(running.app, lifespan="off", log_level="warning"))
        ended = running.loop.start_task_soon(http.serve, [listener])
        while not http.started and not ended.done():
            time.sleep(0.01)
        yield OverHttp(home, f"http://127.0.0.1:{listener.getsockname()[1]}")
        http.force_exit = http.should_exit = True
        ended.result(10)


async def _ingress(handle: DeploymentHandle) -> ASGIApp:
    """The ingress as an ASGI application: without the wrapper by which a replica of Serve answers."""
    graphs: Graphs = await handle.graphs.remote()
    wrapper: Any = Ingress  # to the type checker it is still the class that was decorated
    plain: Any = next(
        kind for kind in wrapper.func_or_class.__mro__ if "__serve_build_asgi_app__" in vars(kind)
    )
    ingress = object.__new__(plain)
    await plain.__init__(ingress, graphs.settings, graphs.recognition, graphs.generation, graphs.swaps)
    app: ASGIApp = ingress.__serve_build_asgi_app__()
    return app
