"""Who calls: a key is asked for before anything else of a request is read."""

import asyncio
import logging
import math
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any

from cachetools import TTLCache
from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPBearer
from fastapi.security.base import SecurityBase

from prosopon.deployments.serving import fair_queue
from prosopon.deployments.serving.contexts import looked_at
from prosopon.deployments.state.errors import StorageBusy, StorageFault
from prosopon.deployments.state.keys import Key, KeyStore, Scope
from prosopon.deployments.state.usage import DayOfKey, UsageStore, Used, today
from prosopon.pipelines.http import limits

_REMEMBERED_SECONDS = 2.0
_REMEMBERED_KEYS = 4096
_GRACE_SECONDS = 60.0
_PATIENCE_SECONDS = 0.5
"""How long the database is waited for where its last answer would do."""
_THREADS = 4
_COUNTED_SECONDS = 5.0
"""What keys have used is written down so often: a process that is killed forgets no more."""

logger = logging.getLogger("ray.serve")


class KeyRefused(Exception):
    """The request has no key that may do this. The message never holds the key."""


class NoKey(KeyRefused):
    """No key is given where one is looked for."""


class UnknownKey(KeyRefused):
    """The key is unknown or revoked."""


class MalformedKey(UnknownKey):
    """What is given has not a key's form: no UUID."""


class WrongScope(KeyRefused):
    """The key is known and not for this. scope: what it would need."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(f"the API key does not have the scope '{scope}'")
        self.scope = scope


def bearer_token(header: str | None) -> str | None:
    """What an Authorization header of the scheme Bearer holds (RFC 6750, section 2.1); None for any other."""
    scheme, _, token = (header or "").strip().partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def bare_token(header: str | None) -> str | None:
    """A token with or without the scheme Bearer before it."""
    scheme, _, token = (header or "").strip().rpartition(" ")
    return token or None if scheme.strip().lower() in ("", "bearer") else None


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """Where a key is written. documented: the security scheme of the OpenAPI document."""

    read: Callable[[Request], str | None]
    documented: SecurityBase | None = None


X_API_KEY = KeyPlace(
    lambda request: request.headers.get("x-api-key"), APIKeyHeader(name="x-api-key", auto_error=False)
)
BEARER = KeyPlace(
    lambda request: bearer_token(request.headers.get("authorization")), HTTPBearer(auto_error=False)
)
TOKEN = KeyPlace(
    lambda request: bare_token(request.headers.get("authorization")),
    APIKeyHeader(name="Authorization", scheme_name="Bearer", auto_error=False),
)
IN_PATH = KeyPlace(lambda request: request.path_params["api_key"])


def caller(scope: Scope, place: KeyPlace = X_API_KEY) -> Any:
    """The parameter of a route that needs a key: ``Annotated[Key, caller("trueface")]``.

    In an `ApiRoute` it is asked for before the body and before any other parameter. Raises `NoKey`, `MalformedKey`,
    `UnknownKey`, `WrongScope`, and `TooManyRequests` where the key has made more than it may.
    """

    async def check(request: Request) -> Key:
        text = place.read(request)
        if not text or not text.strip():
            raise NoKey("the API key is missing")
        try:
            uuid.UUID(text.strip())
        except ValueError:
            raise MalformedKey("the API key is not a UUID") from None
        keys: Authenticator = request.app.state.services.keys
        key = await keys.find(text)
        if key is None:
            raise UnknownKey("the API key is unknown or revoked")
        if not key.allows(scope):
            raise WrongScope(scope)
        limits.charge(request, f"key {key.id}")
        request.state.key = key
        keys.use(key, Used(requests=1))
        looked_at.set(lambda: keys.use(key, Used(pictures=1)))
        fair_queue.caller.set(f"tenant {key.tenant}")
        return key

    async def checked(request: Request) -> Key:
        return getattr(request.state, "key", None) or await check(request)

    if place.documented is None:
        checked.check = check  # type: ignore[attr-defined]
        return Depends(checked)

    async def documented(request: Request, _: Annotated[object, Depends(place.documented)]) -> Key:
        return await checked(request)

    documented.check = check  # type: ignore[attr-defined]
    return Depends(documented)


class Authenticator:
    """Keys by their text. A revoked key stops working within two seconds, a new one works at once.

    While the database cannot be asked, a key that was known within the last minute goes on working. Keys have threads
    of their own: those that write may all wait for a lock, and detection needs no more of the database than its key.

    What keys have used is counted, and written where usage is given.
    """

    def __init__(self, keys: KeyStore, usage: UsageStore | None = None) -> None:
        self._keys, self._usage = keys, usage
        self._uses: dict[DayOfKey, Used] = {}
        # When each was last seen, and what it was; the oldest make room.
        self._known: TTLCache[str, tuple[float, Key]] = TTLCache(_REMEMBERED_KEYS, _GRACE_SECONDS)
        self._threads = ThreadPoolExecutor(_THREADS, "keys")

    async def find(self, text: str) -> Key | None:
        """The key, or None where it is unknown or revoked. Raises `StorageFault` where that cannot be told."""
        now = time.monotonic()
        seen, remembered = self._known.get(text, (-math.inf, None))
        if now - seen < _REMEMBERED_SECONDS:
            return remembered
        asked = asyncio.get_running_loop().run_in_executor(self._threads, self._keys.find, text)
        try:
            key = await (asyncio.wait_for(asked, _PATIENCE_SECONDS) if remembered else asked)
        except (StorageBusy, TimeoutError):
            if remembered:
                return remembered
            raise
        self._known.pop(text, None)
        if key is not None:
            self._known[text] = (now, key)
        return key

    def use(self, key: Key, used: Used) -> None:
        """Count what the key has used."""
        if self._usage is None:
            return
        if not self._uses:
            asyncio.get_running_loop().call_later(_COUNTED_SECONDS, self._write)
        at = DayOfKey(today(), key.id)
        self._uses[at] = self._uses.get(at, Used()) + used

    def _write(self) -> None:
        uses, self._uses = self._uses, {}
        self._threads.submit(self._written, uses)

    def _written(self, uses: dict[DayOfKey, Used]) -> None:
        assert self._usage is not None
        try:
            self._usage.add(uses)
        except StorageFault as error:  # Nobody waits for it, and requests are answered all the same.
            logger.warning(f"what {len(uses)} keys have used is not counted: {error}")
