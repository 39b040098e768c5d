"""Connections that do not send their headers, to the server that Ray Serve starts where there is no HAProxy."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
import uvicorn.config
from starlette.types import Receive, Scope, Send

from prosopon.pipelines.http.front_door import LIMITS, middlewares

SECONDS = 0.5


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """As Ray Serve configures uvicorn, after it has asked for the middlewares."""
    monkeypatch.setitem(uvicorn.config.HTTP_PROTOCOLS, "auto", uvicorn.config.HTTP_PROTOCOLS["auto"])
    monkeypatch.setenv(LIMITS, f'{{"header_seconds": {SECONDS}}}')
    middlewares()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(2 * SECONDS)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(lambda: app, factory=True, lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join()


def answer(port: int, *pieces: bytes) -> tuple[bytes, float]:
    """What comes until the connection is closed, and when it was."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=20 * SECONDS) as connection:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(SECONDS / 10)
        received = b""
        while piece := connection.recv(4096):
            received += piece
        return received, time.monotonic() - began


@pytest.mark.parametrize("sent", [(), (b"GET / HTTP/1.1\r\nHost: a\r\n",), (b"G", b"E", b"T")])
def test_headers_that_do_not_come_are_not_waited_for(port: int, sent: tuple[bytes, ...]) -> None:
    received, seconds = answer(port, *sent)
    assert received.startswith(b"HTTP/1.1 408 ") and b'{"message"' in received
    assert seconds < 6 * SECONDS


def test_who_sends_a_request_gets_the_answer_however_long_it_takes(port: int) -> None:
    received, _ = answer(port, b"GET / HTTP/1.1\r\nHost: a\r\n", b"Connection: close\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 200 ") and received.endswith(b"ok")


def test_the_next_request_of_a_connection_has_its_time_too(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20 * SECONDS) as connection:
        for _ in range(2):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            while b"ok" not in connection.recv(4096):
                pass
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 408 ")
