"""Bounds of connections where no HAProxy keeps them: in Ray Serve's own proxy, which waits for headers for ever and
takes as many connections as come."""

import asyncio
import json
import math
import resource
from collections import Counter
from typing import Any

import uvicorn.config
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from prosopon.configs.settings import HttpSettings

_BODY = json.dumps({"message": "the request did not come in time"}).encode()
_LATE = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)


_OTHER_FILES = 1000
"""Beside one for each connection a process needs so many open files."""
_ENOUGH = 32 << 10
"""Bytes of a body that are there before a request is passed on; of a shorter body all."""
_SPARE = 0.9
"""Of all connections; beyond it requests are refused, and connections are still answered."""


class Crowd:
    """How many connections there are, in all and from each address. Of one event loop."""

    def __init__(self, most: float = math.inf, most_of_one: float = math.inf) -> None:
        self._most, self._most_of_one = most, most_of_one
        self._from: Counter[str] = Counter()
        self._all = 0

    def enter(self, address: str) -> bool:
        """Whether there is room to answer it at all. It leaves, whichever it is."""
        self._from[address] += 1
        self._all += 1
        return self._all <= self._most and self._from[address] <= 2 * self._most_of_one

    def leave(self, address: str) -> None:
        self._all -= 1
        self._from[address] -= 1
        if not self._from[address]:
            del self._from[address]

    def refusal(self, address: str) -> str | None:
        """Why a request from there is not served."""
        if self._from[address] > self._most_of_one:
            return "too many connections from one address: try again"
        return "too many connections: try again" if self._all > _SPARE * self._most else None


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's. A connection whose first headers, or whose next ones once they have begun, do not come in time is
    answered 408 and closed; between two requests uvicorn's own time for idle connections counts. Requests of a crowd
    are answered 503, but for `/healthz`, and connections beyond it closed, as HAProxy does it; and as there, who only
    announces a body waits here, where that costs nothing but the connection."""

    header_seconds = 10.0
    crowd = Crowd()
    awaits_bodies = False
    _awaited: tuple[RequestResponseCycle, Any] | None = None
    _deadline: asyncio.TimerHandle | None = None
    _address: str | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._address = self.client[0] if self.client else ""
        if self.crowd.enter(self._address):
            self._begin()
        else:
            transport.abort()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._deadline is None:
            self._begin()

    def on_headers_complete(self) -> None:
        self._end()
        reason = self.crowd.refusal(self._address or "")
        served = self.app
        if reason and self.url.partition(b"?")[0] != b"/healthz":
            self.app = _refusing(reason)
        super().on_headers_complete()
        self.app = served

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if not self.awaits_bodies or not cycle.more_body or len(cycle.body) >= _ENOUGH:
            super()._start_asgi_task(cycle, app)
            return
        if cycle.waiting_for_100_continue:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            cycle.waiting_for_100_continue = False
        self._awaited = cycle, app
        self._begin()

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._start_awaited()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._start_awaited()

    def _start_awaited(self) -> None:
        if self._awaited is not None:
            cycle, app = self._awaited
            if not cycle.more_body or len(cycle.body) >= _ENOUGH:
                self._awaited = None
                self._end()
                super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        self._awaited = None
        if self._address is not None:
            self.crowd.leave(self._address)
            self._address = None
        super().connection_lost(exc)

    def _begin(self) -> None:
        self._deadline = self.loop.call_later(self.header_seconds, self._give_up)

    def _end(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(_LATE)
            self.transport.close()


def _refusing(reason: str) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = {"Retry-After": "2", "Connection": "close", "Access-Control-Allow-Origin": "*"}
        await JSONResponse({"message": reason}, 503, headers)(scope, receive, send)

    return app


def be_patient(limits: HttpSettings, bounded: bool) -> None:
    """In every server that uvicorn starts in this process from here on, unless it names a protocol. bounded: what
    clients hold, too, where the connections are their own."""
    PatientProtocol.header_seconds = limits.header_seconds
    PatientProtocol.awaits_bodies = bounded
    PatientProtocol.crowd = (
        Crowd(_room(limits.connections), limits.connections_per_source) if bounded else Crowd()
    )
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{PatientProtocol.__name__}"


def _room(connections: int) -> float:
    """So many, if this process may open so many files."""
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return connections
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    return min(connections, max(256, files - _OTHER_FILES))
