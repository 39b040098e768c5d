"""Servers that tests start on loopback and stop again."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg

from tests.benchmarks.serving import free_port

_MILVUS = (
    "import sys; from milvus_lite.adapter.grpc.server import run_server; "
    "run_server(sys.argv[1], '127.0.0.1', int(sys.argv[2]))"
)


class NotInstalled(Exception):
    """What a server needs is not on this machine."""


def wait_until(
    ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, seconds: float = 60
) -> None:
    """Raises RuntimeError with the end of the log when the process ends or takes too long."""
    deadline = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args} did not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.1)


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def program(name: str) -> str:
    """Of PostgreSQL. Raises NotInstalled."""
    found = shutil.which(name)
    if found is None:
        installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
        if not installed:
            raise NotInstalled("PostgreSQL is not installed (Debian's package `postgresql`)")
        found = str(installed[-1])
    return found


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """URL of a fresh PostgreSQL, without a database's name. Raises NotInstalled."""
    initdb, postgres, user = program("initdb"), program("postgres"), _unprivileged()
    identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        if user:
            os.chown(folder, user.pw_uid, user.pw_gid)
        data, port, log = Path(folder, "data"), free_port(), Path(folder, "log")
        subprocess.run(
            [initdb, "-D", data, "-U", "prosopon", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N"],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=folder,
            **identity,
        )
        with log.open("wb") as output:
            process = subprocess.Popen(
                [postgres, "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder],
                stdout=output,
                stderr=output,
                cwd=folder,
                **identity,
            )
        url = f"postgresql://prosopon@127.0.0.1:{port}"
        try:
            wait_until(lambda: _answers(url), process, log)
            yield url
        finally:
            process.send_signal(signal.SIGINT)  # fast: does not wait for connections to close
            process.wait(30)


@contextlib.contextmanager
def milvus(folder: Path) -> Iterator[str]:
    """URI of milvus-lite's gRPC server, which stands for Milvus, with its data and its log in the folder."""
    port, log = free_port(), folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", _MILVUS, str(folder / "data"), str(port)], stdout=output, stderr=output
        )
    try:
        wait_until(lambda: accepts(port), process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    """It accepts connections while it is starting, only to refuse them."""
    try:
        psycopg.connect(f"{url}/postgres").close()
    except psycopg.OperationalError:
        return False
    return True


def _unprivileged() -> pwd.struct_passwd | None:
    """PostgreSQL does not run as root: whom to run it as."""
    if os.geteuid():
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise NotInstalled("there is no unprivileged user to run PostgreSQL as")
