"""What the applications of all APIs have in common."""

from collections.abc import Callable, Collection
from copy import deepcopy
from typing import Any, Protocol

from fastapi import FastAPI, Request, Response
from fastapi.routing import iter_route_contexts
from starlette.datastructures import MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from prosopon.configs.settings import Api, Settings
from prosopon.pipelines.http.cors import EVERYONE, CrossOrigin
from prosopon.pipelines.http.errors import ErrorTable, check_table
from prosopon.pipelines.http.forms import NOTICES
from prosopon.pipelines.http.keys import Authenticator
from prosopon.pipelines.http.routing import ApiRoute, calls_of, canonical_path, canonical_query

INTERNAL = "internal error; the server's log has the details"


class HasKeys(Protocol):
    """What `api_app` and `keys.caller` use of the services; routes know the rest."""

    @property
    def settings(self) -> Settings: ...
    @property
    def keys(self) -> Authenticator: ...


class ApiApp(FastAPI):
    """FastAPI as the five services are: other origins may call it, slashes may be doubled or left out, HEAD is where
    GET is, and a parameter without a value is none. Its document leaves out the status 422: wrong parameters are
    answered in the API's own form."""

    cross_origin = CrossOrigin((EVERYONE,))
    slash = False
    flags: Collection[str] = ()
    blank: Collection[str] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await super().__call__(scope, receive, send)
        if scope["method"] == "OPTIONS":
            return await self.cross_origin.preflight(scope)(scope, receive, send)
        head = scope["method"] == "HEAD"
        document = scope["path"] == self.openapi_url
        scope = {
            **scope,
            "method": "GET" if head else scope["method"],
            "path": canonical_path(scope, slash=self.slash and not document),
            "query_string": canonical_query(scope["query_string"], self.flags, self.blank),
            NOTICES: [],
        }

        async def finished(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                self.cross_origin.allow(scope, headers)
                if scope[NOTICES]:
                    headers["X-Notice"] = "; ".join(scope[NOTICES])
            elif head:
                message = {**message, "body": b""}
            await send(message)

        await super().__call__(scope, receive, finished)

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            for path in document["paths"].values():
                for operation in path.values():
                    operation["responses"].pop("422", None)
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            for context in iter_route_contexts(self.routes):
                route = context.original_route
                if not isinstance(route, ApiRoute) or not route.include_in_schema:
                    continue
                body = next((call.body for call in calls_of(route.dependant) if hasattr(call, "body")), None)
                if body is None:
                    continue
                for method in map(str.lower, route.methods or ()):
                    content = deepcopy(body)
                    document["paths"][context.path_format][method].setdefault("requestBody", content)
                    schemas.update(_taken_out(content))
        return super().openapi()


def api_app(
    api: Api,
    title: str,
    version: str,
    *,
    services: HasKeys,
    errors: ErrorTable,
    slash: bool = False,
    flags: Collection[str] = (),
    blank: Collection[str] = (),
    **options: Any,
) -> ApiApp:
    """An application without routes. Its OpenAPI document is at ``/openapi/{api}.json``.

    services: what routes find as `request.app.state.services`. errors: the API's table (`errors`). slash: whether the
    paths of its routes end with one. flags: parameters that may be given without a value, which is then ``true``.
    blank: parameters of which an empty value is not none. options: `FastAPI`'s.
    """
    check_table(errors, keys=api != "checkface")
    app = ApiApp(
        title=title,
        version=version,
        openapi_url=f"/openapi/{api}.json",
        servers=[{"url": prefix}] if (prefix := services.settings.http.prefix) else None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={kind: _handler(respond) for kind, respond in errors.items()},
        **options,
    )
    app.router.route_class = ApiRoute
    app.slash, app.flags, app.blank = slash, flags, blank
    app.state.services = services
    app.cross_origin = CrossOrigin(services.settings.cors.get(api, (EVERYONE,)))
    return app


def _handler(respond: Callable[[Any], Response]) -> Callable[[Request, Exception], Any]:
    async def handle(_: Request, error: Exception) -> Response:
        return respond(error)

    return handle


def _taken_out(content: dict[str, Any]) -> dict[str, Any]:
    """The definitions that the schemas of a body bring with them, which belong to the document's."""
    found: dict[str, Any] = {}
    for media in content["content"].values():
        found |= media["schema"].pop("$defs", {})
    return found
