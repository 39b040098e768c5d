"""Cross-origin requests (Fetch standard, "HTTP CORS protocol") for an API that is open to everybody."""

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PREFLIGHT = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD, POST, OPTIONS",
    "Access-Control-Max-Age": "86400",
}
_EXPOSED = "Accept-Ranges, Content-Length, Content-Range, ETag, Retry-After, X-Request-ID"


class OpenToEveryOrigin:
    """Allows every origin, in every answer: one that a cache keeps must serve those who ask with an Origin too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        if scope["method"] == "OPTIONS":
            asked = dict(scope["headers"]).get(b"access-control-request-headers", b"").decode("latin-1")
            headers = {**_PREFLIGHT, **({"Access-Control-Allow-Headers": asked} if asked else {})}
            return await Response(status_code=204, headers=headers)(scope, receive, send)

        async def opened(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Access-Control-Allow-Origin"] = "*"
                headers["Access-Control-Expose-Headers"] = _EXPOSED
            await send(message)

        return await self._app(scope, receive, opened)
