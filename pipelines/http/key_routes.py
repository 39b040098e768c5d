"""`/admin/keys`: API keys over HTTP, for who has one with the scope `admin`, as `prosopon keys` has them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from prosopon.deployments.state.database import Records
from prosopon.deployments.state.errors import KeyNotFound, StateError
from prosopon.deployments.state.keys import API_SCOPES, Key, KeyStore, Scope
from prosopon.deployments.state.usage import KEPT_DAYS, UsageStore
from prosopon.pipelines.http.bodies import BodyError, read_json_object
from prosopon.pipelines.http.errors import first_problem
from prosopon.pipelines.http.keys import Authenticator, bearer_token

_MOST_CREDITS = 2**31 - 1
Named = Annotated[str, Field(min_length=1, max_length=255)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewKey(_Strict):
    """As `KeyStore.create`."""

    name: Named
    scopes: tuple[Scope, ...] = API_SCOPES
    tenant: Named | None = None
    gallery: Named | None = None
    credits: Annotated[int, Field(ge=0, le=_MOST_CREDITS)] | None = None


class Days(_Strict):
    days: Annotated[int, Field(ge=1, le=KEPT_DAYS)] = 30


class TopUp(_Strict):
    credits: Annotated[int, Field(ge=1, le=_MOST_CREDITS)]


async def may_administer(request: Request, keys: Authenticator) -> Response | None:
    """A refusal where the request has no key with the scope `admin`."""
    key = await _key_of(request, keys)
    return None if key and key.allows("admin") else _refusal("an API key with the scope admin is needed")


async def _key_of(request: Request, keys: Authenticator) -> Key | None:
    """The key that comes as `x-api-key` or as a bearer token."""
    given = request.headers.get("x-api-key") or bearer_token(request.headers.get("authorization"))
    return await keys.find(given) if given else None


def wrong(error: ValidationError) -> Response:
    """400, which names the first parameter that is wrong."""
    problem = first_problem(error)
    return JSONResponse({"message": f"{problem.name}: {problem.message}"}, 400)


def _refusal(message: str) -> Response:
    return JSONResponse({"message": message}, 401, {"WWW-Authenticate": "Bearer"})


def routes(keys: Authenticator, records: Records) -> list[Route]:
    """GET and POST `/admin/keys`, POST `/admin/keys/{id}/revoke` and `/admin/keys/{id}/credits`, GET `/admin/usage`;
    for any key, GET `/admin/key` and `/admin/key/usage`: itself. Usage is by day, `?days=30` of them.

    A refusal is `{"message": ...}`: 400 for what is asked, 401 for who asks, 404 for a key that is not there.
    """

    store, used = KeyStore(records), UsageStore(records)

    def guarded(act: Callable[[Request], Awaitable[Any]], status: int = 200) -> Callable[..., Any]:
        async def endpoint(request: Request) -> Response:
            if refusal := await may_administer(request, keys):
                return refusal
            try:
                return JSONResponse(await act(request), status)
            except ValidationError as error:
                return wrong(error)
            except KeyNotFound as error:
                return JSONResponse({"message": str(error)}, 404)
            except (BodyError, StateError) as error:
                return JSONResponse({"message": str(error)}, 400)

        return endpoint

    async def itself(request: Request) -> Response:
        key = await _key_of(request, keys)
        return JSONResponse(_shown(key)) if key else _refusal("an API key is needed")

    async def itself_used(request: Request) -> Response:
        key = await _key_of(request, keys)
        if key is None:
            return _refusal("an API key is needed")
        try:
            return JSONResponse(await _used_by(request, key.id))
        except ValidationError as error:
            return wrong(error)

    async def all_used(request: Request) -> Any:
        return await _used_by(request, None)

    async def _used_by(request: Request, key: int | None) -> Any:
        count = Days.model_validate(dict(request.query_params)).days
        rows = await asyncio.to_thread(used.days, count, key)
        return {"days": [{"day": at.day.isoformat(), "key": at.key, **asdict(of)} for at, of in rows]}

    async def listed(_: Request) -> Any:
        return {"keys": [_shown(key) for key in await asyncio.to_thread(store.list)]}

    async def created(request: Request) -> Any:
        wish = NewKey.model_validate(await read_json_object(request))
        key, secret = await asyncio.to_thread(
            store.create,
            wish.name,
            wish.scopes,
            tenant=wish.tenant,
            gallery=wish.gallery,
            credits=wish.credits,
        )
        return {**_shown(key), "key": secret}

    async def revoked(request: Request) -> Any:
        number = request.path_params["id"]
        await asyncio.to_thread(store.revoke, number)
        return {"id": number}

    async def topped_up(request: Request) -> Any:
        amount = TopUp.model_validate(await read_json_object(request)).credits
        number = request.path_params["id"]
        return {"id": number, "credits": await asyncio.to_thread(store.top_up, number, amount)}

    return [
        Route("/admin/key", itself),
        Route("/admin/key/usage", itself_used),
        Route("/admin/usage", guarded(all_used)),
        Route("/admin/keys", guarded(listed)),
        Route("/admin/keys", guarded(created, 201), methods=["POST"]),
        Route("/admin/keys/{id:int}/revoke", guarded(revoked), methods=["POST"]),
        Route("/admin/keys/{id:int}/credits", guarded(topped_up), methods=["POST"]),
    ]


def _shown(key: Key) -> dict[str, Any]:
    """Without what is secret. prefix: of the key, to know it by."""
    return {
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "tenant": key.tenant,
        "gallery": key.gallery,
        "scopes": sorted(key.scopes),
        "credits": key.credits,
        "created": key.created.isoformat(),
        "revoked": key.revoked and key.revoked.isoformat(),
    }
