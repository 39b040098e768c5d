"""What every request passes before anything else, in each process that strangers connect to: headers that could
confuse Ray Serve are taken out, and bodies are bounded while they arrive.

Ray Serve reads a body ahead of the application, as fast as it comes, into a queue without bound.
"""

import asyncio
import contextlib
import ctypes
import os
import re
import time
import uuid

from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prosopon.configs.settings import HttpSettings
from prosopon.pipelines.http.patience import be_patient

LIMITS = "PROSOPON_HTTP"
"""The environment variable that has the settings as JSON for processes which see no others."""
_PASSED = "prosopon.front_door"
_REQUEST_ID = re.compile(rb"[!-~]{1,128}")
# Ray Serve obeys these, and fails where their values are not UTF-8.
_RAY_SERVES_OWN = {
    b"serve-multiplexed-model-id",
    b"x-session-id",
    b"x-request-timeout-seconds",
    b"x-request-disconnect-disabled",
}
_FREE = 64 * 1024
"""So many bytes of each request are not counted: to parse and answer it takes more."""
_TRIM_BYTES = 8 << 20
_TRIM_SECONDS = 5.0


def middlewares() -> list[Middleware]:
    """For Ray Serve (``RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH``), which calls it before it starts a server."""
    limits = HttpSettings.model_validate_json(os.environ.get(LIMITS, "{}"))
    be_patient(limits, bounded=os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") != "1")
    return [Middleware(FrontDoor, limits=limits)]


class FrontDoor:
    """Passes a request once, however many of these stand one behind the other.

    Too long a body is answered 413, one that stands still 408, and 503 what would make all bodies that are held more
    than the settings allow. Where Ray Serve itself answers, it is in JSON.
    """

    def __init__(self, app: ASGIApp, limits: HttpSettings) -> None:
        self._app, self._limits = app, limits
        self._held = 0
        self._trimmed = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _PASSED in scope:
            return await self._app(scope, receive, send)
        scope[_PASSED] = True
        scope["headers"] = without_confusion(scope["headers"])
        body, answer = _Body(self, receive), _Answer(send)
        try:
            await self._app(scope, body.receive, lambda message: answer.send(message, body.refusal))
        except (Exception, asyncio.CancelledError):
            if body.refusal is None:
                raise
        finally:
            body.let_go()
        if body.refusal is not None and not answer.started:
            await body.refusal(scope, receive, send)

    def take(self, size: int) -> bool:
        """Whether there is room for so many bytes more, which are then held."""
        if self._held + size > self._limits.held_bytes:
            return False
        self._held += size
        return True

    def give_back(self, size: int) -> None:
        """glibc keeps what large bodies took for the next: when the last is gone, the system gets it."""
        self._held -= size
        now = time.monotonic()
        if size > _TRIM_BYTES and not self._held and now - self._trimmed > _TRIM_SECONDS:
            self._trimmed = now
            asyncio.get_running_loop().run_in_executor(None, _trim)

    @property
    def limits(self) -> HttpSettings:
        return self._limits


class _Body:
    """One request's body. refusal: the answer to one that must not go on; the application is told that the client
    has gone."""

    def __init__(self, door: FrontDoor, receive: Receive) -> None:
        self._door, self._receive = door, receive
        self._read = self._held = 0
        self._complete = False
        self._deadline = time.monotonic() + door.limits.body_seconds
        self.refusal: JSONResponse | None = None

    async def receive(self) -> Message:
        if self._complete:
            return await self._receive()
        if self.refusal is not None:
            return {"type": "http.disconnect"}
        limits = self._door.limits
        try:
            async with asyncio.timeout(min(limits.idle_seconds, self._deadline - time.monotonic())):
                message = await self._receive()
        except TimeoutError:
            return self._refuse(408, "the request's body did not come in time")
        chunk = len(message.get("body", b""))
        self._read += chunk
        self._complete = message["type"] != "http.request" or not message.get("more_body", False)
        if self._read > limits.body_bytes:
            return self._refuse(413, f"the request is longer than {limits.body_bytes} bytes")
        if self._read > _FREE:
            if not self._door.take(chunk):
                return self._refuse(503, "too many large requests at once: try again", {"Retry-After": "2"})
            self._held += chunk
        return message

    def let_go(self) -> None:
        self._door.give_back(self._held)
        self._held = 0

    def _refuse(self, status: int, message: str, headers: dict[str, str] | None = None) -> Message:
        headers = {**(headers or {}), "Connection": "close", "X-Request-ID": str(uuid.uuid4())}
        self.refusal = JSONResponse({"message": message}, status, headers)
        return {"type": "http.disconnect"}


class _Answer:
    """Ray Serve's own errors are plain text, which no API has: they become JSON. A path that nobody has is one of an
    application that is not up yet, since ours has them all."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._plain: Message | None = None
        self._text = b""
        self.started = False

    async def send(self, message: Message, refusal: JSONResponse | None) -> None:
        if refusal is not None and not self.started:
            return
        self.started = True
        if message["type"] == "http.response.start":
            kind = dict(message["headers"]).get(b"content-type", b"")
            if message["status"] >= 400 and kind.startswith(b"text/plain"):
                self._plain = message
                return
        elif self._plain is not None:
            self._text += message.get("body", b"")
            if message.get("more_body", False):
                return
            start, self._plain = self._plain, None
            await _in_json(start, self._text.decode(errors="replace"), self._send)
            return
        await self._send(message)


async def _in_json(start: Message, text: str, send: Send) -> None:
    status = start["status"]
    headers = {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in start["headers"]
        if name not in (b"content-type", b"content-length")
    }
    if status == 404:
        status, text = 503, "the server is starting: try again"
        headers.setdefault("retry-after", "2")
    await JSONResponse({"message": text}, status, headers)({"type": "http"}, _nothing, send)


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


def without_confusion(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers without Ray Serve's own, and with a request's id only where it is printable and short."""
    kept = []
    for name, value in headers:
        spelling = name.lower().replace(b"_", b"-")
        if not name.isascii() or spelling in _RAY_SERVES_OWN:
            continue
        if spelling == b"x-request-id" and not _REQUEST_ID.fullmatch(value):
            continue
        kept.append((name, value))
    return kept


def _trim() -> None:
    with contextlib.suppress(OSError, AttributeError):  # Another C library.
        ctypes.CDLL(None).malloc_trim(0)
