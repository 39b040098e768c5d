"""The last requests of a server: HAProxy takes no more, and those that are under way get their answers.

Ray Serve stops its proxy and its replicas at the same time, which would cut off whoever waits for an answer.
"""

import csv
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

_FRONTEND = "http_frontend"
"""As Ray Serve's template names it."""
_POLL_SECONDS = 0.1


def drain(admin: Path, seconds: float) -> None:
    """Close the front door and wait until nobody is inside, for so many seconds at most.

    admin: HAProxy's administration socket; where there is none, there is nothing to wait for.
    """
    if not admin.is_socket():
        return
    try:
        _ask(admin, f"disable frontend {_FRONTEND}")
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and (any(_under_way(admin)) or _older(admin)):
            time.sleep(_POLL_SECONDS)
    except OSError:
        return  # HAProxy has ended already.


def _under_way(admin: Path) -> Iterator[int]:
    """Requests that are being answered or wait, of each backend."""
    for row in csv.DictReader(_ask(admin, "show stat").removeprefix("# ").splitlines()):
        if row["svname"] == "BACKEND":
            yield int(row["scur"] or 0) + int(row["qcur"] or 0)


def _older(admin: Path) -> bool:
    """Whether an earlier HAProxy, which this one has taken over from, still answers somebody: it ends when it has.

    Ray Serve starts another whenever a replica of the ingress comes or goes; all read one file in the socket's folder.
    """
    config = str(admin.parent / "haproxy.cfg")
    processes = psutil.process_iter(["cmdline"])
    return sum(config in (process.info["cmdline"] or ()) for process in processes) > 1


def _ask(admin: Path, command: str) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(admin))
        connection.sendall(f"{command}\n".encode())
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer.decode()
