"""Connections that do not send their headers, and too many of them, to the server that Ray Serve starts where there is
no HAProxy."""

import asyncio
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
import uvicorn
import uvicorn.config
from starlette.types import Receive, Scope, Send

from prosopon.pipelines.http.front_door import LIMITS, middlewares

SECONDS = 0.5
PATIENT = 9.0
"""What is waited for before a test fails: less than a server waits that was not told how long."""
HELD = "/held"
"""Answered once the test lets go."""
started: list[str] = []
"""Paths that the application was asked for."""
bodies: list[bytes] = []
let_go = threading.Event()
PER_SOURCE = 4
CONNECTIONS = 20


@contextmanager
def listening(monkeypatch: pytest.MonkeyPatch, header_seconds: float, behind_haproxy: bool) -> Iterator[int]:
    """The port of a server as Ray Serve configures uvicorn, after it has asked for the middlewares."""
    monkeypatch.setitem(uvicorn.config.HTTP_PROTOCOLS, "auto", uvicorn.config.HTTP_PROTOCOLS["auto"])
    limits = {
        "header_seconds": header_seconds,
        "connections": CONNECTIONS,
        "connections_per_source": PER_SOURCE,
    }
    monkeypatch.setenv(LIMITS, json.dumps(limits))
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", str(int(behind_haproxy)))
    middlewares()
    started.clear()
    bodies.clear()
    let_go.clear()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        started.append(scope["path"])
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        bodies.append(body + message["body"])
        if scope["path"] == HELD:
            await asyncio.to_thread(let_go.wait)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(lambda: app, factory=True, lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        until(lambda: server.started)
        yield listener.getsockname()[1]
        let_go.set()
        server.should_exit = True
        thread.join()


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    with listening(monkeypatch, 10 * PATIENT, behind_haproxy=False) as port:
        yield port


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Waits for headers for `SECONDS`."""
    with listening(monkeypatch, SECONDS, behind_haproxy=False) as port:
        yield port


@pytest.fixture
def behind_haproxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    with listening(monkeypatch, 10 * PATIENT, behind_haproxy=True) as port:
        yield port


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENT
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def answer(port: int, *pieces: bytes) -> bytes:
    """What comes until the connection is closed."""
    with socket.create_connection(("127.0.0.1", port), PATIENT) as connection:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(0.02)
        received = b""
        while piece := connection.recv(4096):
            received += piece
        return received


@pytest.mark.parametrize("sent", [(), (b"GET / HTTP/1.1\r\nHost: a\r\n",), (b"G", b"E", b"T")])
def test_headers_that_do_not_come_are_not_waited_for(impatient: int, sent: tuple[bytes, ...]) -> None:
    received = answer(impatient, *sent)
    assert received.startswith(b"HTTP/1.1 408 ") and b'{"message"' in received


def test_who_sends_a_request_gets_the_answer_however_long_it_takes(impatient: int) -> None:
    later = threading.Timer(2 * SECONDS, let_go.set)
    later.start()
    received = answer(impatient, b"GET /held HTTP/1.1\r\nHost: a\r\n", b"Connection: close\r\n\r\n")
    assert let_go.is_set()
    assert received.startswith(b"HTTP/1.1 200 ") and received.endswith(b"ok")


def test_the_next_request_of_a_connection_has_its_time_too(impatient: int) -> None:
    with socket.create_connection(("127.0.0.1", impatient), PATIENT) as connection:
        for _ in range(2):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            while b"ok" not in connection.recv(4096):
                pass
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 408 ")


def ask(stack: ExitStack, port: int, address: str, path: str = "/") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), PATIENT, source_address=(address, 0))
    stack.enter_context(connection)
    connection.sendall(f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc".encode())
    return connection


def status(connection: socket.socket) -> int | None:
    """Of the answer; None where the connection is closed without one."""
    try:
        received = connection.recv(4096)
    except ConnectionResetError:
        return None
    return int(received.split(b" ")[1]) if received else None


def test_one_address_cannot_have_all_connections(port: int) -> None:
    with ExitStack() as stack:
        served = [ask(stack, port, "127.0.0.2", HELD) for _ in range(PER_SOURCE)]
        until(lambda: len(started) == PER_SOURCE)
        refused = ask(stack, port, "127.0.0.2")
        assert status(refused) == 503
        assert refused.recv(1) == b"", "the connection of a refusal is closed"
        healthy = ask(stack, port, "127.0.0.2", "/healthz")
        another = ask(stack, port, "127.0.0.3")
        let_go.set()
        assert [status(connection) for connection in (*served, healthy, another)] == [200] * (PER_SOURCE + 2)
    with ExitStack() as stack:  # Who has left has room again.
        until(lambda: status(ask(stack, port, "127.0.0.2")) == 200)


def test_beyond_twice_as_many_it_is_not_answered(port: int) -> None:
    with ExitStack() as stack:
        for _ in range(2 * PER_SOURCE):
            stack.enter_context(
                socket.create_connection(("127.0.0.1", port), PATIENT, source_address=("127.0.0.2", 0))
            )
        assert status(ask(stack, port, "127.0.0.2", "/healthz")) is None


def test_all_together_cannot_have_more_than_there_are(port: int) -> None:
    with ExitStack() as stack:
        for number in range(CONNECTIONS - 2):
            address = f"127.0.1.{1 + number // PER_SOURCE}"
            stack.enter_context(
                socket.create_connection(("127.0.0.1", port), PATIENT, source_address=(address, 0))
            )
        asking = ask(stack, port, "127.0.2.1"), ask(stack, port, "127.0.2.2", "/healthz")
        assert [status(connection) for connection in asking] == [503, 200]


def test_behind_haproxy_all_come_from_one_address(behind_haproxy: int) -> None:
    with ExitStack() as stack:
        asking = [ask(stack, behind_haproxy, "127.0.0.1") for _ in range(2 * PER_SOURCE + 1)]
        assert {status(connection) for connection in asking} == {200}


def test_who_only_announces_a_body_does_not_reach_the_application(impatient: int) -> None:
    for sent in (b"", b"a"):
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
        assert answer(impatient, head, sent).startswith(b"HTTP/1.1 408 ")
    assert started == []


@pytest.mark.parametrize("length", [0, 1, 40_000, 500_000])
@pytest.mark.parametrize("expects", [False, True])
def test_a_body_arrives_as_it_was_sent(port: int, length: int, expects: bool) -> None:
    sent = random.Random(length).randbytes(length)
    expect = "Expect: 100-continue\r\n" if expects else ""
    head = f"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{expect}Content-Length: {length}\r\n\r\n"
    received = answer(port, head.encode(), *(sent[at : at + 30_000] for at in range(0, length, 30_000)))
    assert received.endswith(b"ok") and bodies == [sent]
    assert received.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ") == expects


def test_requests_in_a_row_are_answered_one_after_the_other(port: int) -> None:
    one = b"POST /%d HTTP/1.1\r\nHost: a\r\n%sContent-Length: 3\r\n\r\nabc"
    received = answer(port, one % (1, b"") + one % (2, b"Connection: close\r\n"))
    assert received.count(b"HTTP/1.1 200 ") == 2
    assert (started, bodies) == (["/1", "/2"], [b"abc"] * 2)
