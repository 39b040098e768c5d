"""Routes whose key is asked for first, whose parameters may come in a form, and whose paths may be written loosely."""

import re
from collections.abc import Callable, Collection, Coroutine, Iterator
from typing import Any
from urllib.parse import unquote, unquote_plus, urlencode

from fastapi import APIRouter, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.types import Scope

from prosopon.pipelines.http import limits

_SLASHES = re.compile(rb"/{2,}")


class ApiRoute(APIRoute):
    """The key (`keys.caller`) before the body, the body (`uploads.pictures`, `uploads.form`) before the parameters:
    text fields of a form count as parameters that the query has not."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        calls = list(calls_of(self.dependant))
        check = next((call.check for call in calls if hasattr(call, "check")), None)
        fields = next((call.fields for call in calls if hasattr(call, "fields")), None)

        async def in_order(request: Request) -> Response:
            if check is not None:
                await check(request)
            else:
                limits.charge(request)
            if fields is not None:
                given = request.query_params
                added = [(name, text) for name, text in await fields(request) if text and name not in given]
                query = [request.scope["query_string"], urlencode(added).encode()]
                scope = {**request.scope, "query_string": b"&".join(filter(None, query))}
                request = Request(scope, request.receive)
            return await handle(request)

        return in_order


def api_router(**options: Any) -> APIRouter:
    """FastAPI's router, whose routes are `ApiRoute`."""
    return APIRouter(route_class=ApiRoute, **options)


def calls_of(dependant: Dependant) -> Iterator[Any]:
    """Every function that a route depends on."""
    for one in dependant.dependencies:
        yield one.call
        yield from calls_of(one)


def canonical_path(scope: Scope, *, slash: bool = False) -> str:
    """The path with single slashes, and without one at its end (slash: with one). A slash that is written as ``%2F``
    belongs to a name and stays. Bytes are UTF-8, whether they are escaped or not."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape")
    path = _SLASHES.sub(b"/", raw.partition(b"?")[0]).rstrip(b"/")
    return unquote(path + b"/" if slash or not path else path)


def without_prefix(scope: Scope, prefix: str) -> Scope:
    """The request as it is without the prefix that its path may begin with."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape")
    beginning = f"{prefix}/".encode()
    if not prefix or not (raw + b"/").startswith(beginning):
        return scope
    raw = b"/" + raw[len(beginning) :]
    return {**scope, "raw_path": raw, "path": unquote(raw.partition(b"?")[0])}


def canonical_query(query: bytes, flags: Collection[str] = (), blank: Collection[str] = ()) -> bytes:
    """The query without parameters that have no value. flags: names that without a value mean ``true``; blank: whose
    empty value is one."""
    kept = []
    for pair in query.split(b"&"):
        name, _, value = pair.partition(b"=")
        if value or unquote_plus(name.decode("latin-1")) in blank:
            kept.append(pair)
        elif unquote_plus(name.decode("latin-1")) in flags:
            kept.append(name + b"=true")
    return b"&".join(kept)
