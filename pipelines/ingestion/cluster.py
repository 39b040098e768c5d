"""The Ray cluster that a bulk ingestion runs on: the running server's, where there is one, or one of its own."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from prosopon.configs.settings import IngestionSettings, Settings
from prosopon.pipelines.running import (
    HANDLE_ENVIRONMENT,
    LOOPBACK,
    PROCESS_ENVIRONMENT,
    announced,
    guard,
    job,
    join,
    lean,
    stay_on_loopback,
)

_OBJECT_STORE_BYTES = 512 << 20
_SECONDS = 2.0
_STARTS = 3
"""Times that a cluster is started, since on a busy machine it may not come up in time."""
_SPARE = 0.05
"""Of a CPU, left where workers have to share what a server leaves: Ray Data's own actors ask for some."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """workers: that look at pictures, with `cpus_each` of Ray's CPUs; index: handle of the running FaceIndex."""

    workers: int
    cpus_each: float
    index: Any
    close: Callable[[], None]


def prepare(settings: Settings, address: str | None) -> None:
    """Set what Ray reads from the environment when it is first imported; each can be overridden from outside."""
    environment = {
        **HANDLE_ENVIRONMENT,
        **PROCESS_ENVIRONMENT,
        # Ray gives its workers the lowest priority: two of them would not get their cores beside anything else.
        "RAY_worker_niceness": "0",
        # As an error it would say that actors' arguments lie in the object store, which is where Ray Data puts them.
        "RAY_BACKEND_LOG_LEVEL": "fatal",
    }
    for name, value in environment.items():
        os.environ.setdefault(name, value)
    if address is None:
        guard(settings.state.home)
    import prosopon.deployments.serving.preload  # noqa: F401  # Other modules here import Ray Serve.


def join_running(settings: Settings, address: str | None) -> Cluster | None:
    """The cluster at the address, or of the server that serves this home; None where none does.

    Raises `pipelines.running.NotRunning` where an address was given and nobody answers there.
    """
    if address is None:
        address = announced(settings.state.home)
        if address is None or not _answers(address):
            return None
    with _unsaid():
        join(address, settings.state.home)
    import ray

    left = float(ray.available_resources().get("CPU", 0.0)) - _SPARE
    return _shared(settings.ingestion, left, _face_index(), ray.shutdown)


@contextmanager
def _unsaid() -> Iterator[None]:
    """Without what Ray's compiled code writes to the terminal when it starts: that it obeys `RAY_BACKEND_LOG_LEVEL`."""
    terminal, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nowhere)


def start(settings: Settings) -> Cluster:
    """A cluster of one machine, gone with this process."""
    import ray

    stay_on_loopback()
    for left in reversed(range(_STARTS)):
        try:
            with lean(), _unsaid():
                ray.init(
                    address="local",
                    _node_ip_address=LOOPBACK,
                    job_config=job(),
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level="error",
                    object_store_memory=_OBJECT_STORE_BYTES,
                )
            break
        except Exception as error:  # Ray waits 30 seconds and has no class of its own for that.
            ray.shutdown()
            if "timed out" not in str(error) or not left:
                raise
    ingestion = settings.ingestion
    whole = max(1, int(float(ray.available_resources().get("CPU", 1.0)) // ingestion.num_cpus))
    each = min(ingestion.num_cpus, float(ray.available_resources().get("CPU", 1.0)) / whole) - _SPARE
    return Cluster(ingestion.workers or whole, max(0.01, each), None, ray.shutdown)


def _shared(ingestion: IngestionSettings, left: float, index: Any, close: Callable[[], None]) -> Cluster:
    """As many workers as there is room for, one at the least: with what is left, if that is less than it asks for."""
    fitting = max(1, int(left // ingestion.num_cpus))
    workers = min(ingestion.workers or fitting, fitting)
    return Cluster(workers, max(0.01, min(ingestion.num_cpus, left / workers)), index, close)


def _face_index() -> Any:
    """The handle of the FaceIndex of whichever application has one; None where none has."""
    from ray import serve

    for name, application in serve.status().applications.items():
        if "FaceIndex" in application.deployments:
            return serve.get_deployment_handle("FaceIndex", name)
    return None


def _answers(address: str) -> bool:
    """Whether somebody listens there: an address outlives a server that was killed."""
    host, _, port = address.strip().rpartition(":")
    try:
        with socket.create_connection((host, int(port)), _SECONDS):
            return True
    except (OSError, ValueError):
        return False
