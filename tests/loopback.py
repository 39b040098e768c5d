"""The network outside, on loopback: a server of pictures, good and bad, that also receives webhooks."""

import contextlib
import io
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

from prosopon.deployments.web.webhooks import signature


@dataclass(frozen=True)
class Call:
    """A webhook call. at: seconds of the monotonic clock. received: of the wall clock."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float
    received: float = field(default_factory=time.time)

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    def is_signed_with(self, secret: bytes) -> bool:
        """As a receiver verifies it, the timestamp included."""
        name, moment = self.headers["webhook-id"], int(self.headers["webhook-timestamp"])
        made = signature(secret, name, moment, self.body)
        return made == self.headers["webhook-signature"] and abs(self.received - moment) < 300


@dataclass
class Loopback:
    """pictures: path -> what is there. replies: path of a webhook -> the statuses of its answers, in order, the last
    for all that follow; 0 hangs; 200 where nothing is said."""

    url: str
    pictures: dict[str, bytes] = field(default_factory=dict)
    replies: dict[str, list[int]] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def add(self, path: str, data: bytes) -> str:
        """The URL of a new picture."""
        self.pictures[path] = data
        return self.url + path

    def calls_to(self, path: str) -> list[Call]:
        return [call for call in self.calls if call.path == path]

    def wait_for(self, path: str, count: int = 1, seconds: float = 60) -> list[Call]:
        """The calls of a webhook, once there are so many."""
        deadline = time.monotonic() + seconds
        while len(self.calls_to(path)) < count:
            assert time.monotonic() < deadline, f"{path} was called {len(self.calls_to(path))} times"
            time.sleep(0.02)
        return self.calls_to(path)

    def by_task(self) -> dict[str, list[Call]]:
        found: dict[str, list[Call]] = defaultdict(list)
        for call in self.calls:
            found[call.document["task_id"]].append(call)
        return found


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    loopback: Loopback

    def do_GET(self) -> None:
        bad: dict[str, Callable[[], None]] = {
            "/to-private": lambda: self._redirect("http://10.0.0.1/a.png"),
            "/to-loopback": lambda: self._redirect("http://127.0.0.2/a.png"),
            "/to-file": lambda: self._redirect("file:///etc/passwd"),
            "/circle": lambda: self._redirect("/circle"),
            "/endless": self._endless,
            "/gigabyte": self._gigabyte,
            "/html": lambda: self._send(b"<html></html>", "text/html"),
            "/text-as-png": lambda: self._send(b"this is no picture", "image/png"),
            "/bomb": lambda: self._send(picture_bomb(), "image/png"),
        }
        if self.path in bad:
            bad[self.path]()
        elif self.path in self.loopback.pictures:
            self._send(self.loopback.pictures[self.path], "image/jpeg")
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:  # Who called was killed in the middle: this is no call.
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.loopback.calls.append(Call(self.path, headers, body, time.monotonic()))
        planned = self.loopback.replies.get(self.path, [])
        status = planned.pop(0) if len(planned) > 1 else planned[0] if planned else 200
        if not status:
            self.loopback.closing.wait(60)
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass

    def _redirect(self, location: str) -> None:
        self.send_response(302)
        self.send_header("Location", location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, data: bytes, media_type: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _endless(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        with contextlib.suppress(OSError):
            while not self.loopback.closing.wait(0.1):
                self.wfile.write(b"x")
        self.close_connection = True

    def _gigabyte(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(1000):
                self.wfile.write(b"f4240\r\n" + bytes(1_000_000) + b"\r\n")
        self.close_connection = True


@cache
def picture_bomb() -> bytes:
    """A small file of very many pixels."""
    stream = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(stream, "PNG")
    return stream.getvalue()


@contextlib.contextmanager
def loopback() -> Iterator[Loopback]:
    web = Loopback("")
    handler = type("Handler", (_Handler,), {"loopback": web})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    web.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield web
    finally:
        web.closing.set()
        server.shutdown()
        server.server_close()
