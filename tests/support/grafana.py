"""A double of Grafana and Prometheus: what Ray's dashboard asks of them, and panels that say which they are."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        address = urlsplit(self.path)
        if address.path == "/api/health":  # Grafana's, which no sign-in guards.
            self._send("application/json", json.dumps({"database": "ok", "version": "12.0.0"}))
        elif address.path == "/api/v1/query":  # Prometheus'.
            self._send("application/json", json.dumps({"status": "success", "data": {"result": []}}))
        elif address.path.startswith("/d-solo/"):
            uid, panel = address.path.split("/")[2], parse_qs(address.query)["panelId"][0]
            self._send("text/html", f"<!DOCTYPE html><title>panel</title><p>panel {panel} of {uid}</p>")
        else:
            self.send_error(404)

    def _send(self, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def grafana() -> Iterator[str]:
    """Its URL; gone with the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
