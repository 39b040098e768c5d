"""Cross-origin requests (Fetch standard, "HTTP CORS protocol"): pages of these origins may call an API."""

from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import Scope

EVERYONE = "*"
_METHODS = "GET, HEAD, POST, PUT, DELETE, OPTIONS"
_HEADERS = (
    "x-api-key, content-type, authorization, accept, range, if-none-match, x-requested-with, x-request-id"
)
_EXPOSED = "Accept-Ranges, Content-Length, Content-Range, ETag, Retry-After, X-Notice, X-Request-ID"


class CrossOrigin:
    """origins: who may; ``*`` is everyone, none is nobody.

    Everyone is told in every answer, also where no origin asks: a cache may keep it for one that does.
    """

    def __init__(self, origins: Collection[str]) -> None:
        self._origins = frozenset(origins)

    def preflight(self, scope: Scope) -> Response:
        """The answer 204 to OPTIONS. Methods and headers are those of every route; other headers are named back."""
        asked = Headers(scope=scope).get("access-control-request-headers", "")
        names = dict.fromkeys(
            name.strip().lower() for name in [*_HEADERS.split(","), *asked[:2048].split(",")]
        )
        response = Response(status_code=204)
        self.allow(scope, response.headers)
        if "Access-Control-Allow-Origin" in response.headers:
            response.headers["Access-Control-Allow-Methods"] = _METHODS
            response.headers["Access-Control-Allow-Headers"] = ", ".join(filter(None, names))
            response.headers["Access-Control-Max-Age"] = "86400"
        return response

    def allow(self, scope: Scope, headers: MutableHeaders) -> None:
        """Add to an answer's headers what lets the page that asked read it."""
        if EVERYONE in self._origins:
            headers["Access-Control-Allow-Origin"] = EVERYONE
        else:
            headers.add_vary_header("Origin")
            origin = Headers(scope=scope).get("origin")
            if origin not in self._origins:
                return
            headers["Access-Control-Allow-Origin"] = str(origin)
        headers["Access-Control-Expose-Headers"] = _EXPOSED
