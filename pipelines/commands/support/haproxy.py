"""HAProxy as Ray Serve configures and starts it, but made for strangers. Run in its place, with its arguments; needs
the standard library alone, since it runs at every reload.

What differs: nothing is open to other machines but the server's address; headers, bodies and idle connections have
their time; one address cannot take all connections; the ingress learns who asks; whatever HAProxy answers to a request
is JSON (to bytes that are none, and to headers that do not fit or come in time, version 2.8 has answers of its own);
while a start goes on that is 503; `/healthz` is answered here, so that it is answered when all else is full; URLs may
hold UTF-8 as it is; neither URLs nor keys are logged. It ends with the process that started it, or it would keep the
port. It does not splice requests: once a body is spliced, HAProxy 2.8 no longer notices, despite abortonclose, that
the client has left.
"""

import ctypes
import json
import os
import re
import resource
import signal
import sys
from http import HTTPStatus
from pathlib import Path
from typing import Any

_MARK = "# made for strangers\n"
_PR_SET_PDEATHSIG = 1
_OTHER_FILES = 5000
"""Beside two for each connection HAProxy wants to be able to open so many files, or it does not start."""
_MESSAGES = {
    400: "the request is malformed",
    401: "not authorized",
    403: "forbidden",
    404: "not found",
    405: "the method is not allowed",
    407: "proxy authentication is required",
    408: "the request did not come in time",
    410: "gone",
    413: "the request is too long",
    425: "too early",
    429: "too many requests: try again",
    500: "internal error",
    502: "the server did not answer: try again",
    503: "the server has no room for this request: try again",
    504: "the server did not answer in time: try again",
}
_RETRY_AFTER = {429: 2, 502: 2, 503: 2, 504: 5}
# Neither the URL (%HU, %HP) nor any header.
_LOG_FORMAT = "%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %tsc %ac/%fc/%bc/%sc/%rc %sq/%bq %HM"
_LUA = r"""-- Bytes above 0x7F in a URL are escaped, as RFC 3986 wants them and as browsers do it.
local function escaped(text)
    return (text:gsub("[\128-\255]", function(byte) return string.format("%%%02X", byte:byte()) end))
end
core.register_action("ascii_url", {"http-req"}, function(txn)
    local path, query = txn.sf:path(), txn.sf:query()
    if path then txn.http:req_set_path(escaped(path)) end
    if query and query ~= "" then txn.http:req_set_query(escaped(query)) end
end)
"""


def for_strangers(config: str, folder: Path, host: str, limits: dict[str, Any]) -> str:
    """The configuration that Ray Serve made, changed; twice is as once.

    folder: has the files of `write_files`. host: where the server listens. limits: of `HttpSettings`.
    """
    if config.startswith(_MARK):
        return config
    replicas = host if host not in ("0.0.0.0", "::") else "127.0.0.1"
    lines: list[str] = []
    for line in config.splitlines():
        words = line.split()
        match words[:2]:
            case ["maxconn", _]:
                lines += [
                    f"    maxconn {limits['connections']:.0f}",
                    f"    lua-load {folder / 'ascii_url.lua'}",
                ]
            case ["timeout", "client"]:
                # Ray Serve has an hour for the first, and nothing for the second.
                lines += [
                    f"    timeout client {limits['idle_seconds']:g}s",
                    f"    timeout http-request {limits['header_seconds']:g}s",
                ]
            case ["timeout", "http-request"] | ["errorfile", _] | ["option", "splice-request"]:
                pass
            case ["option", "httplog"]:
                lines.append(f'    log-format "{_LOG_FORMAT}"')
                lines += [f"    errorfile {status} {folder / f'{status}.http'}" for status in _MESSAGES]
            case ["bind", address]:
                # Ray's template binds the statistics and the metrics to every interface.
                lines.append(line.replace(address, re.sub(r"^\*?:(?=\d+$)", "127.0.0.1:", address)))
                if lines[-2:-1] == ["frontend http_frontend"]:
                    lines += _front(config, limits)
            case ["server", _]:
                lines.append(line.replace(" 127.0.0.1:", f" {replicas}:", 1))
            case ["http-request", "return"] if words[2:4] == ["status", "404"]:
                lines.append(f"    {_return(503, 'the server is starting: try again')}")
            case _:
                lines.append(line)
    return _MARK + "\n".join(lines) + "\n"


def _front(config: str, limits: dict[str, Any]) -> list[str]:
    """What precedes every rule of Ray Serve's for requests. A spare server is Ray Serve's own proxy, which is there
    before the application is."""
    per_source = limits["connections_per_source"]
    backend, up = "", []
    for line in config.splitlines():
        words = line.split()
        if words[:1] == ["backend"]:
            backend = words[1]
        elif words[:1] == ["server"] and words[-1] != "backup":
            up.append(f"acl ingress_is_up srv_is_up({backend}/{words[1]})")
    healthy = (
        "http-request return status 200 content-type application/json hdr X-Request-ID %[uuid] "
        f"{_text({'status': 'ok'})} if asks_health ingress_is_up"
    )
    starting = _return(503, "the server is starting: try again")
    full_of_one = _return(503, "too many connections from one address: try again")
    full, too_long = _return(503, "too many connections: try again"), _return(413, "the request is too long")
    rules = [
        "option accept-invalid-http-request",
        "stick-table type ipv6 size 100k expire 60s store conn_cur",
        "tcp-request connection track-sc0 src",
        f"tcp-request connection reject if {{ sc0_conn_cur gt {2 * per_source:.0f} }}",
        *up,
        "acl asks_health path /healthz",
        *([healthy] if up else []),
        f"{starting} if asks_health",
        *_who_asks(limits["trusted_proxies"]),
        f"{full_of_one} if {{ sc0_conn_cur gt {per_source:.0f} }}",
        f"{full} if {{ fe_conn gt {limits['connections'] * 0.9:.0f} }}",
        # The option above takes any name of a header; the ingress must not be the first to read it otherwise.
        rf"{_return(400, _MESSAGES[400])} if {{ req.hdr_names(|) -m reg '[^|A-Za-z0-9!#$%&\x27*+.^_`~-]' }}",
        f"{too_long} if {{ req.hdr_val(content-length) gt {limits['body_bytes']:.0f} }}",
        r"http-request lua.ascii_url if { url -m reg '[\x80-\xff]' }",
        # Who announces a body waits here for it, or for what of it fits into the buffer, and not in the ingress.
        f"http-request wait-for-body time {limits['header_seconds']:g}s",
    ]
    return [f"    {rule}" for rule in rules]


def _who_asks(proxies: list[str]) -> list[str]:
    """The ingress learns the client's address, and not from the client."""
    rule = "http-request set-header X-Forwarded-For %[src]"
    return [f"acl from_proxy src {' '.join(proxies)}", f"{rule} if !from_proxy"] if proxies else [rule]


def _return(status: int, message: str) -> str:
    retry = f" hdr Retry-After {_RETRY_AFTER[status]}" if status in _RETRY_AFTER else ""
    return (
        f"http-request return status {status} content-type application/json hdr Access-Control-Allow-Origin *{retry} "
        f"{_text({'message': message})}"
    )


def _text(document: dict[str, str]) -> str:
    text = json.dumps(document).replace('"', '\\"')
    return f'string "{text}"'


def write_files(folder: Path) -> None:
    """Files that the configuration names: an answer for each error, and how URLs are escaped."""
    (folder / "ascii_url.lua").write_text(_LUA)
    for status, message in _MESSAGES.items():
        body = json.dumps({"message": message})
        headers = {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Access-Control-Allow-Origin": "*",
            "Connection": "close",
            **({"Retry-After": str(_RETRY_AFTER[status])} if status in _RETRY_AFTER else {}),
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        text = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{head}\r\n{body}"
        (folder / f"{status}.http").write_text(text, newline="")


def main() -> None:
    """Change the file that ``-f`` names and become HAProxy."""
    arguments = sys.argv[1:]
    if "-f" in arguments:
        path = Path(arguments[arguments.index("-f") + 1])
        limits = json.loads(os.environ["PROSOPON_HTTP"])
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if files != resource.RLIM_INFINITY:
            limits["connections"] = min(limits["connections"], max(256, (files - _OTHER_FILES) // 2))
        write_files(path.parent)
        host = os.environ.get("PROSOPON_HTTP_HOST", "127.0.0.1")
        changed = path.with_suffix(".changed")
        changed.write_text(for_strangers(path.read_text(), path.parent, host, limits))
        changed.replace(path)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    binary = os.environ["PROSOPON_HAPROXY"]
    os.execv(binary, [binary, *arguments])


if __name__ == "__main__":
    main()
