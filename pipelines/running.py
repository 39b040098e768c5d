"""Joining a running application from another process: where it is, and with which settings of Ray one talks to it."""

import contextlib
import fcntl
import logging
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from prosopon.configs.settings import StateSettings

if TYPE_CHECKING:
    from ray.job_config import JobConfig

_ADDRESS_FILE = "ray-address"
_TOKEN_FILE = "ray-token"
_LOCK_FILE = "server.lock"
_SESSIONS_FILE = "ray-sessions"
LOOPBACK = "127.0.0.1"
MAX_MESSAGE_BYTES = 256 << 20

HANDLE_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # What a thread still has to say after this process has left would start a Ray of its own, and wait for Serve there.
    "RAY_ENABLE_AUTO_CONNECT": "0",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # That also leaves every node but the head without a proxy, where HAProxy does not do their work.
    "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",
    # And it holds back a thousand lines of each log, which a killed process would take with it.
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(MAX_MESSAGE_BYTES),
}
"""What both ends of a call must agree on. Ray Serve reads it when `ray.serve` is first imported."""
PROCESS_ENVIRONMENT = {
    # glibc would give the memory of every picture back, to be faulted in and zeroed for the next.
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    # NumPy's BLAS would share the smallest product among the cores, and its threads spin for some 20 ms after each:
    # half of a Detector's processor time, taken from the other replicas. Ours share their work themselves.
    "OPENBLAS_NUM_THREADS": "1",
}
"""How a process that works computes. Its libraries read it when it starts, so a node's environment must have it."""


class NotRunning(ConnectionError):
    """No application of Prosopon is running where it was looked for."""


class AlreadyServed(Exception):
    """Another process serves with this home."""


def occupy(home: Path) -> IO[str]:
    """Keep others from serving with this home as long as the file that is returned is open: they would announce
    themselves in our place. Raises `AlreadyServed`, which says who does."""
    home.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(PermissionError):  # Somebody else's folder, such as a mounted volume.
        home.chmod(0o700)  # Earlier versions made it for everybody to read.
    lock = (home / _LOCK_FILE).open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        holder = lock.read().strip()
        lock.close()
        raise AlreadyServed(f"process {holder} serves with {home} already") from error
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def token_file(home: Path) -> Path:
    """Where the token is that Ray asks everybody for who joins the server of this home, or opens its dashboard."""
    return home / _TOKEN_FILE


def guard(home: Path) -> None:
    """Let Ray ask everybody who joins for a token, which whoever may read the home has. Before Ray is started."""
    home.mkdir(parents=True, exist_ok=True)
    token = token_file(home)
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN_PATH", str(token))


def stay_on_loopback(stay: bool = True) -> None:
    """Let Ray take a loopback address at its word. Before `ray.init`.

    Ray (2.60, `services.resolve_ip_for_localhost`) puts the machine's own address in its place, and listens there or
    everywhere, unless it is told that there is no cluster: which it believes of Windows and macOS.
    """
    from ray._private import ray_constants

    if stay:
        os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
    else:
        os.environ.pop(ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, None)
    ray_constants.ENABLE_RAY_CLUSTER = not stay


@contextlib.contextmanager
def lean(dashboard: bool = False) -> Iterator[None]:
    """Let Ray start no more processes beside a node than are used here. Around `ray.init`.

    Ray (2.60, `node.py`) always has one that sends drivers what workers print, which no driver here asks for, one that
    asks for more machines, and one for its dashboard, if only to report what it is used for. dashboard: whether there
    is one, which shows what the second knows.
    """
    from ray._private.node import Node

    unused = ("start_log_monitor", *(() if dashboard else ("start_monitor", "start_api_server")))
    usual = {name: getattr(Node, name) for name in unused}
    for name in unused:
        setattr(Node, name, lambda node, **_: None)
    try:
        yield
    finally:
        for name, start in usual.items():
            setattr(Node, name, start)


def announce(home: Path) -> None:
    """Write down where the Ray instance of this process is, for those who share its home."""
    import ray

    partial = home / f"{_ADDRESS_FILE}.{os.getpid()}"
    partial.write_text(ray.get_runtime_context().gcs_address)
    partial.replace(home / _ADDRESS_FILE)


def keep_last_logs(home: Path, session: Path) -> None:
    """Remove what Ray, which leaves a folder of logs and sockets for each start, has left of starts before the last.

    session: the folder of this start.
    """
    file = home / _SESSIONS_FILE
    known = [Path(line) for line in file.read_text().splitlines()] if file.exists() else []
    for folder in known[:-1]:
        if folder.parent == session.parent and folder.name.startswith("session_"):
            shutil.rmtree(folder, ignore_errors=True)
    file.write_text("".join(f"{folder}\n" for folder in (*known[-1:], session)))


def announced(home: Path) -> str | None:
    """The address of whoever served with this home last."""
    file = home / _ADDRESS_FILE
    return file.read_text() if file.exists() else None


def job() -> "JobConfig":
    """For `ray.init`: the processes that Ray starts import what is installed, and nothing of the folder that this one
    was started in, which Ray (2.60, `worker.connect`) puts before all else on their path."""
    from ray.job_config import JobConfig

    class Nowhere(list[str]):
        def extend(self, folders: Iterable[str]) -> None:
            pass

    config = JobConfig()
    config._py_driver_sys_path = Nowhere()
    return config


def join(address: str | None = None, home: Path | None = None) -> None:
    """Join the Ray instance that serves, unless this process has joined one already.

    address: of its GCS, ``host:port``; otherwise `RAY_ADDRESS`, and otherwise what `prosopon serve` announced in the
    home (None: the configured one). Raises `NotRunning`.
    """
    import ray
    import ray.serve  # Sets the level of its log, which is not to be that of a server.
    from ray._raylet import Config  # type: ignore[attr-defined]

    asked = address or home
    home = home or StateSettings().home
    address = address or os.environ.get("RAY_ADDRESS") or announced(home)
    if ray.is_initialized():
        joined = ray.get_runtime_context().gcs_address
        if asked and joined != address:
            raise NotRunning(f"this process is part of the Ray instance at {joined} and cannot join another")
        return
    if address is None:
        raise NotRunning(f"no server is running with {home}: start `prosopon serve`, or name an address")
    if token_file(home).exists():
        guard(home)
        Config.initialize("")  # Ray has read its environment when it was imported.
    stay_on_loopback(address.startswith("127."))
    try:
        ray.init(
            address=address,
            namespace="serve",
            job_config=job(),
            log_to_driver=False,
            logging_level="warning",
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise NotRunning(f"no application answers at {address}: {error}") from error
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
