"""The one client for URLs that clients of the server name: pictures to fetch, webhooks to call.

A name is resolved once for each connection, its addresses are judged, and the connection goes to an address that was
judged: a name that resolves differently the next moment changes nothing. TLS still verifies the name. The same holds
for every redirect. Proxies are never used, whatever the environment says: a proxy would resolve names itself.
"""

import asyncio
import contextlib
import ipaddress
import re
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import TypeVar

import httpcore
import httpx

from prosopon.configs.settings import FetchSettings, FilmLimits, ImageLimits
from prosopon.deployments.web.addresses import AddressPolicy

MAX_URL = 2048
"""Characters."""

_LABEL = rb"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rb"(?=.{1,254}$)(?:%b\.)*%b\.?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*" % (_LABEL, _LABEL))
"""A name, after IDNA (RFC 1123, section 2.1, and underscores, which some have), or an address."""
_NO_SLASHES = re.compile(r"^(https?):(?!/)", re.IGNORECASE)
"""What URLs of the web are taken for without them (URL standard, "special authority slashes state")."""
_USER_AGENT = "Prosopon"
_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_ADDRESSES = 4
"""Addresses of one name that are tried."""
_MAX_REPLY = 64 * 1024
"""Bytes of a webhook's reply that are read, so that its connection can be used again."""
_RESOLVERS = 32
_UNTYPED = ("", "application/octet-stream", "binary/octet-stream")

Answer = TypeVar("Answer")
Resolver = Callable[[str, int], Awaitable[list[str]]]
"""A host's name and a port to addresses as text. Raises OSError."""


class WebError(Exception):
    """A request that did not bring what was asked for. The message is fit for the client that named the URL."""


class UrlRefused(WebError):
    """The URL is malformed, or it or a redirect leads where the server does not go."""


class Unreachable(WebError):
    """No connection, no answer, or none in time: another attempt may succeed."""


class BadAnswer(WebError):
    """The server answered something else: an error, another type, too many redirects."""


class TooLarge(WebError):
    """The answer is longer than was allowed."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """data: the body; media_type: as the server declared it, lower case without parameters; url: after redirects."""

    data: bytes
    media_type: str
    url: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What a webhook's server answered. retry_after: seconds, where it said so."""

    status: int
    retry_after: float | None = None

    @property
    def accepted(self) -> bool:
        return 200 <= self.status < 300


class WebClient:
    """Of one event loop; use as an asynchronous context manager, or `close` it.

    resolver: how names are resolved; None is the system's way.
    """

    def __init__(self, settings: FetchSettings, resolver: Resolver | None = None) -> None:
        self._settings = settings
        self._policy = AddressPolicy(settings.allow)
        # Of its own: a name server that does not answer holds a thread, and may hold no thread that others need.
        self._threads = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="resolve")
        backend = _JudgedConnections(self._policy, resolver or self._resolve)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=None,
            max_keepalive_connections=32,
            keepalive_expiry=5,
            network_backend=backend,
        )

    def check(self, url: str) -> str:
        """The URL in its usual form, where nothing can be said against it without a connection.

        Raises `UrlRefused`.
        """
        parsed = _parse(url)
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(parsed.host)
            if not self._policy.allows(parsed.host, parsed.host):
                raise _forbidden(parsed.host)
        return str(parsed)

    async def get_picture(self, url: str, max_bytes: int) -> Fetched:
        """The body that a GET brings, of a type that may be a picture. It is not decoded.

        Raises the subclasses of `WebError`.
        """
        target = _parse(url)
        return await self._in_time(target.host, self._get(target, max_bytes))

    async def get_film(self, url: str, limits: ImageLimits, films: FilmLimits) -> Fetched:
        """`get_picture` of what may also be a film."""
        most = max(limits.max_bytes, films.max_bytes)
        target = _parse(url)
        return await self._in_time(target.host, self._get(target, most, ("image/", "video/")))

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Send a body and read the status of the reply. Redirects are not followed.

        Raises the subclasses of `WebError`.
        """
        target = _parse(url)
        return await self._in_time(target.host, self._post(target, body, headers))

    async def close(self) -> None:
        await self._pool.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def __aenter__(self) -> "WebClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.close()

    async def _in_time(self, host: str, request: Awaitable[Answer]) -> Answer:
        """Await the request within the time that one may take, with its errors told in this module's terms."""
        try:
            async with asyncio.timeout(self._settings.seconds):
                return await request
        except TimeoutError:
            raise Unreachable(
                f"{host} did not answer completely within {self._settings.seconds:g} s"
            ) from None
        except httpcore.TimeoutException:
            raise Unreachable(f"{host} did not answer in time") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            raise Unreachable(f"{host} cannot be reached: {error or type(error).__name__}") from None

    async def _get(self, target: httpx.URL, max_bytes: int, kinds: tuple[str, ...] = ("image/",)) -> Fetched:
        for _ in range(self._settings.max_redirects + 1):
            request = self._request("GET", target, {"Accept": ",".join(f"{kind}*" for kind in kinds)})
            answer = await self._pool.handle_async_request(request)
            try:
                if answer.status not in _REDIRECTS:
                    return await _read(answer, target, max_bytes, kinds)
                target = _redirected(answer, target)
            finally:
                await answer.aclose()
        raise BadAnswer(f"{target.host}: more than {self._settings.max_redirects} redirects")

    async def _post(self, target: httpx.URL, body: bytes, headers: Mapping[str, str]) -> Reply:
        answer = await self._pool.handle_async_request(self._request("POST", target, headers, body))
        try:
            received = 0
            async for chunk in answer.aiter_stream():
                received += len(chunk)
                if received > _MAX_REPLY:
                    break
        finally:
            await answer.aclose()
        after = _headers(answer).get("retry-after", "")
        return Reply(answer.status, float(after) if after.isdecimal() and len(after) < 7 else None)

    def _request(
        self, method: str, target: httpx.URL, headers: Mapping[str, str], body: bytes = b""
    ) -> httpcore.Request:
        # No compression: what is small on the wire would be of any size in memory.
        common = {"Host": target.netloc.decode(), "User-Agent": _USER_AGENT, "Accept-Encoding": "identity"}
        if method == "POST":
            common["Content-Length"] = str(len(body))
        seconds = self._settings.seconds
        timeout = {"connect": self._settings.connect_seconds, "read": seconds, "write": seconds}
        return httpcore.Request(
            method,
            httpcore.URL(
                scheme=target.raw_scheme, host=target.raw_host, port=target.port, target=target.raw_path
            ),
            headers=list({**common, **headers}.items()),
            content=body,
            extensions={"timeout": timeout},
        )

    async def _resolve(self, host: str, port: int) -> list[str]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return [str(address[0]) for *_, address in found]


class _JudgedConnections(httpcore.AsyncNetworkBackend):
    """Connects to addresses that the policy permits, and to no name."""

    def __init__(self, policy: AddressPolicy, resolver: Resolver) -> None:
        self._policy, self._resolver = policy, resolver
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # as the base class has it
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        deadline = time.monotonic() + timeout if timeout else None
        addresses = await self._addresses(host, port)
        failure: Exception = httpcore.ConnectError("the name has no address")
        for address in addresses[:_MAX_ADDRESSES]:
            left = max(0.05, deadline - time.monotonic()) if deadline else None
            try:
                return await self._backend.connect_tcp(address, port, left, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        # Which of its addresses is up, and what is on it, is no business of whoever named the URL.
        kind = "no answer in time" if isinstance(failure, httpcore.ConnectTimeout) else "no connection"
        raise Unreachable(f"{host} cannot be reached: {kind}")

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109  # as the base class has it
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise UrlRefused("sockets of this machine are not connected to")

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)

    async def _addresses(self, host: str, port: int) -> list[str]:
        try:
            found = list(dict.fromkeys(await self._resolver(host, port)))
        except (OSError, UnicodeError):
            raise Unreachable(f"{host} cannot be resolved") from None
        permitted = self._policy.permitted(host, found)
        if found and not permitted:
            raise _forbidden(host)
        return permitted


def _forbidden(host: str) -> UrlRefused:
    return UrlRefused(f"{host} is not on the public internet, and this server's settings do not allow it")


def _parse(url: str) -> httpx.URL:
    """Raises `UrlRefused` where the URL is none that is fetched."""
    if len(url) > MAX_URL:
        raise UrlRefused(f"the URL is longer than {MAX_URL} characters")
    try:
        parsed = httpx.URL(_NO_SLASHES.sub(r"\1://", url.strip()))
        port = parsed.port
    except (httpx.InvalidURL, ValueError, TypeError):
        raise UrlRefused(f"{url[:100]!r} is not a URL") from None
    if parsed.scheme not in ("http", "https") or not _HOST.fullmatch(parsed.raw_host):
        raise UrlRefused(f"{url[:100]!r} is not a complete http or https URL")
    if parsed.userinfo:
        raise UrlRefused("a URL with a user name in it is not fetched")
    if port is not None and not 0 < port < 65536:
        raise UrlRefused(f"{url[:100]!r} names no valid port")
    return parsed


def _headers(answer: httpcore.Response) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1").strip() for name, value in answer.headers}


def _redirected(answer: httpcore.Response, target: httpx.URL) -> httpx.URL:
    location = _headers(answer).get("location")
    if not location:
        raise BadAnswer(f"{target.host} redirects to nowhere")
    try:
        return _parse(str(target.join(location)))
    except (httpx.InvalidURL, ValueError):
        raise BadAnswer(f"{target.host} redirects to something that is not a URL") from None


async def _read(
    answer: httpcore.Response, target: httpx.URL, max_bytes: int, kinds: tuple[str, ...]
) -> Fetched:
    """The body of a successful answer, at most so many bytes of it in memory."""
    headers = _headers(answer)
    if answer.status != 200:
        raise BadAnswer(f"{target.host} answered {answer.status}")
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if not media_type.startswith(kinds) and media_type not in _UNTYPED:
        wanted = "not an image" if len(kinds) == 1 else "not an image or a film"
        raise BadAnswer(f"{target.host} sent {media_type[:64]}, which is {wanted}")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise BadAnswer(f"{target.host} sent a compressed answer, which was not asked for")
    too_large = TooLarge(f"the picture from {target.host} has more than {max_bytes:,} bytes")
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:18]) > max_bytes:
        raise too_large
    chunks, received = [], 0
    async for chunk in answer.aiter_stream():
        received += len(chunk)
        if received > max_bytes:
            raise too_large
        chunks.append(chunk)
    return Fetched(b"".join(chunks), media_type, str(target))
