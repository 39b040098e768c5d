"""The guarded web client against servers on loopback, which each test allows explicitly, and a made-up resolver."""

import asyncio
import datetime
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from httpcore import AnyIOBackend

from prosopon.configs.settings import FetchSettings
from prosopon.deployments.web.client import (
    MAX_URL,
    BadAnswer,
    Fetched,
    Resolver,
    TooLarge,
    Unreachable,
    UrlRefused,
    WebClient,
)
from tests.web import Handler, Request, answer, send, web_server

LIMIT = 1000


def names(**addresses: str) -> Resolver:
    """A resolver that knows these names, with `_` for dots; nothing else exists."""

    async def resolve(host: str, port: int) -> list[str]:
        if host[0].isdigit() or ":" in host:
            return [host]
        try:
            return addresses[host.replace(".", "_")].split()
        except KeyError:
            raise OSError("no such name") from None

    return resolve


async def fetch(
    handler: Handler,
    path: str = "/",
    host: str = "127.0.0.1",
    allow: tuple[str, ...] = ("127.0.0.1",),
    resolver: Resolver | None = None,
    seconds: float = 5,
) -> Fetched:
    async with (
        web_server(handler) as web,
        WebClient(FetchSettings(allow=allow, seconds=seconds), resolver) as client,
    ):
        return await client.get_picture(web.url(path, host), LIMIT)


def refused(url: str, resolver: Resolver | None = None) -> str:
    async def attempt() -> None:
        async with WebClient(FetchSettings(), resolver) as client:
            await client.get_picture(url, LIMIT)

    with pytest.raises(UrlRefused) as error:
        asyncio.run(attempt())
    return str(error.value)


def test_a_picture_is_fetched_by_name_from_the_address_it_resolves_to() -> None:
    seen: list[Request] = []

    async def handler(request: Request, writer: asyncio.StreamWriter) -> None:
        seen.append(request)
        await send(writer, b"pixels", content_type="Image/PNG; charset=x")

    fetched = asyncio.run(
        fetch(handler, "/a.png?b=c#d", "cdn.example", resolver=names(cdn_example="127.0.0.1"))
    )
    assert fetched.data == b"pixels"
    assert fetched.media_type == "image/png"
    assert seen[0].path == "/a.png?b=c"
    assert seen[0].headers["host"].startswith("cdn.example:")


@pytest.mark.parametrize(
    "url",
    [
        "", "picture.png", "/etc/passwd", "file:///etc/passwd", "ftp://example.com/a.png", "gopher://x/",
        "http://", "https:///a.png", "http://user:secret@example.com/a.png", "http://exa mple.com/", "http://[::1",
        "http://example.com:99999/", "http://example.com:0/", "data:image/png;base64,AAAA", "//example.com/a.png",
        "http://example.com/" + "a" * MAX_URL, "http://example.com/\na", "http://\x00/",
        "http://../", "http://a..example/", "http://-/", "http://a-.example/", "http://" + "a" * 64 + ".example/",
        "http://0177.0.0.1/", "http://①②⑦.0.0.1/", "http://[fe80::1%25eth0]/",
    ],
)  # fmt: skip
def test_what_is_no_complete_web_url_is_refused(url: str) -> None:
    refused(url, names(example_com="93.184.216.34"))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://127.1/", "http://2130706433/", "http://0x7f000001/",
        "http://0/", "http://localhost/", "https://[::1]/", "http://[::ffff:127.0.0.1]/", "http://169.254.169.254/",
        "http://10.0.0.8:8080/", "http://[fe80::1]/", "http://[64:ff9b::7f00:1]/",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public_are_refused_however_written(url: str) -> None:
    assert "not on the public internet" in refused(url)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.3.2.1", "169.254.169.254", "::1", "fd00::7", "192.168.0.9 ::1"]
)
def test_names_that_resolve_to_addresses_that_are_not_public_are_refused(address: str) -> None:
    message = refused("http://internal.example/", names(internal_example=address))
    assert "internal.example" in message
    assert address not in message, "the client learns nothing about the network inside"


def test_of_several_addresses_only_the_permitted_are_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    both, connect, connected = (
        names(both_example="10.255.255.1 127.0.0.1"),
        AnyIOBackend.connect_tcp,
        list[str](),
    )

    async def connect_tcp(self: AnyIOBackend, host: str, *args: Any) -> Any:
        connected.append(host)
        return await connect(self, host, *args)

    monkeypatch.setattr(AnyIOBackend, "connect_tcp", connect_tcp)
    assert asyncio.run(fetch(answer(b"x"), host="both.example", resolver=both)).data == b"x"
    assert connected == ["127.0.0.1"]


def test_a_name_that_resolves_differently_the_next_moment_is_connected_to_where_it_was_judged() -> None:
    asked = []

    async def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    async def run() -> None:
        settings = FetchSettings(allow=("127.0.0.1",))
        async with (
            web_server(answer(b"x", Connection="close")) as web,
            WebClient(settings, rebinding) as client,
        ):
            url = web.url(host="rebind.example")
            assert (await client.get_picture(url, LIMIT)).data == b"x"
            assert len(asked) == 1, "resolved once for a connection"
            with pytest.raises(UrlRefused):
                await client.get_picture(url, LIMIT)

    asyncio.run(run())


@pytest.mark.parametrize(
    "location", ["http://10.0.0.1/", "http://localhost/", "http://inside.example/", "file:///x"]
)
def test_redirects_are_judged_like_the_url(location: str) -> None:
    inside = names(inside_example="192.168.1.1", localhost="127.0.0.2")
    with pytest.raises(UrlRefused):
        asyncio.run(fetch(answer(b"", 302, Location=location), resolver=inside))


def test_redirects_are_followed_and_counted() -> None:
    async def countdown(request: Request, writer: asyncio.StreamWriter) -> None:
        left = int(request.path[1:])
        if left:
            await send(writer, status=302, Location=f"/{left - 1}")
        else:
            await send(writer, b"there")

    fetched = asyncio.run(fetch(countdown, "/5"))
    assert fetched.data == b"there"
    assert fetched.url.endswith("/0")
    with pytest.raises(BadAnswer, match="redirects"):
        asyncio.run(fetch(countdown, "/6"))


def test_a_redirect_in_a_circle_ends() -> None:
    with pytest.raises(BadAnswer, match="redirects"):
        asyncio.run(fetch(answer(status=301, Location="/")))


async def dribble(request: Request, writer: asyncio.StreamWriter) -> None:
    """A body that comes a byte at a time and never ends."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 900\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def dribble_headers(request: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-A: b\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


async def silence(request: Request, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("handler", [dribble, dribble_headers, silence])
def test_what_never_ends_is_given_up_in_time(handler: Callable[..., Awaitable[None]]) -> None:
    with pytest.raises(Unreachable, match=r"within 0\.5 s"):
        asyncio.run(fetch(handler, seconds=0.5))


def test_a_resolver_that_hangs_is_given_up_in_time() -> None:
    async def hang(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    with pytest.raises(Unreachable):
        asyncio.run(fetch(answer(b"x"), host="slow.example", resolver=hang, seconds=0.3))


def test_a_body_declared_too_long_is_refused_unread() -> None:
    sent = 0

    async def gigabyte(request: Request, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 1000000000\r\n\r\n")
        while sent < 1_000_000_000:
            writer.write(bytes(65536))
            await writer.drain()
            sent += 65536

    with pytest.raises(TooLarge, match="1,000 bytes"):
        asyncio.run(fetch(gigabyte))
    assert sent < 20_000_000


def test_a_body_that_turns_out_too_long_is_cut_off() -> None:
    sent = 0

    async def endless(request: Request, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + bytes(65536) + b"\r\n")
            await writer.drain()
            sent += 65536

    with pytest.raises(TooLarge):
        asyncio.run(fetch(endless))
    assert sent < 20_000_000


def test_a_body_of_exactly_the_limit_is_taken() -> None:
    assert len(asyncio.run(fetch(answer(bytes(LIMIT)))).data) == LIMIT
    with pytest.raises(TooLarge):
        asyncio.run(fetch(answer(bytes(LIMIT + 1))))


@pytest.mark.parametrize("kind", ["text/html", "application/json", "video/mp4", "text/plain; x=image/png"])
def test_what_is_declared_as_something_else_is_refused(kind: str) -> None:
    with pytest.raises(BadAnswer, match="not an image"):
        asyncio.run(fetch(answer(b"x", content_type=kind)))


@pytest.mark.parametrize("kind", ["image/webp", "application/octet-stream", "binary/octet-stream", ""])
def test_types_that_may_be_pictures_are_taken(kind: str) -> None:
    assert asyncio.run(fetch(answer(b"x", content_type=kind))).data == b"x"


def test_compressed_answers_are_refused() -> None:
    with pytest.raises(BadAnswer, match="compressed"):
        asyncio.run(fetch(answer(b"x", Content_Encoding="gzip")))


@pytest.mark.parametrize("status", [204, 206, 304, 400, 403, 404, 500, 503])
def test_other_answers_are_told(status: int) -> None:
    with pytest.raises(BadAnswer, match=str(status)):
        asyncio.run(fetch(answer(b"", status)))


def test_a_truncated_body_and_what_is_no_http_are_told() -> None:
    async def truncated(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 900\r\n\r\nhalf")
        writer.close()

    async def nonsense(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n")
        writer.close()

    for handler in (truncated, nonsense):
        with pytest.raises(Unreachable):
            asyncio.run(fetch(handler))


def test_what_is_not_there_is_unreachable() -> None:
    async def attempt(url: str) -> None:
        async with WebClient(FetchSettings(allow=("127.0.0.1",)), names()) as client:
            await client.get_picture(url, LIMIT)

    for url in ("http://127.0.0.1:1/", "http://nowhere.example/"):
        with pytest.raises(Unreachable):
            asyncio.run(attempt(url))


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert asyncio.run(fetch(answer(b"x"))).data == b"x"


def test_a_webhook_gets_the_body_and_headers_and_its_status_is_told() -> None:
    async def run() -> None:
        replies = iter([(204, {}), (500, {}), (302, {"Location": "/other"}), (429, {"Retry_After": "7"})])

        async def handler(request: Request, writer: asyncio.StreamWriter) -> None:
            status, headers = next(replies)
            await send(writer, b"", status, **headers)

        settings = FetchSettings(allow=("127.0.0.1",))
        async with web_server(handler) as web, WebClient(settings) as client:
            found = [await client.post(web.url("/hook"), b'{"a":1}', {"X-Test": "yes"}) for _ in range(4)]
        assert [(reply.status, reply.accepted, reply.retry_after) for reply in found] == [
            (204, True, None), (500, False, None), (302, False, None), (429, False, 7.0),
        ]  # fmt: skip
        assert {request.path for request in web.requests} == {"/hook"}, "redirects are not followed"
        assert all(request.body == b'{"a":1}' and request.method == "POST" for request in web.requests)
        assert all(request.headers["x-test"] == "yes" for request in web.requests)
        assert web.connections == 1, "one connection serves a webhook that is called often"

    asyncio.run(run())


def test_a_webhook_that_hangs_or_is_forbidden_is_told() -> None:
    async def attempt(allow: tuple[str, ...]) -> None:
        async with web_server(silence) as web, WebClient(FetchSettings(allow=allow, seconds=0.3)) as client:
            await client.post(web.url(), b"{}", {})

    with pytest.raises(Unreachable):
        asyncio.run(attempt(("127.0.0.1",)))
    with pytest.raises(UrlRefused):
        asyncio.run(attempt(()))


def test_an_address_is_refused_before_any_connection() -> None:
    async def run() -> None:
        async with WebClient(FetchSettings(allow=("10.0.0.0/8",))) as client:
            assert client.check(" https://example.com/a.png ") == "https://example.com/a.png"
            assert client.check("http:xxxx.xx/callback") == "http://xxxx.xx/callback", "as browsers read it"
            assert client.check("http://10.1.1.1/") == "http://10.1.1.1/"
            for url in ("http://127.0.0.1/", "http://[::1]/", "ftp://example.com/", "x"):
                with pytest.raises(UrlRefused):
                    client.check(url)

    asyncio.run(run())


def certificate(name: str, folder: Path) -> ssl.SSLContext:
    """A server's TLS with a certificate of its own for a name; `folder`/ca.pem is what a client trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    today = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = signed.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "ca.pem").write_bytes(pem)
    (folder / "server.pem").write_bytes(private + pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context


def test_tls_verifies_the_name_though_the_connection_goes_to_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = certificate("cdn.example", tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    resolver = names(cdn_example="127.0.0.1", other_example="127.0.0.1")

    async def get(host: str) -> Fetched:
        settings = FetchSettings(allow=("127.0.0.1",))
        async with web_server(answer(b"x"), tls=tls) as web, WebClient(settings, resolver) as client:
            return await client.get_picture(web.url("/", host, "https"), LIMIT)

    assert asyncio.run(get("cdn.example")).data == b"x"
    with pytest.raises(Unreachable, match=r"other\.example"):
        asyncio.run(get("other.example"))
