"""A server of its own for a benchmark or an integration test: `prosopon serve` in a child process."""

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import yaml

from prosopon.configs.settings import Deployments
from prosopon.pipelines.commands.serve import is_free, is_ready


def free_port() -> int:
    """Not one of those that the system gives to whoever connects to others: it is listened at only seconds later."""
    while True:
        port = random.randrange(10_000, 20_000)
        if is_free("127.0.0.1", port):
            return port


_PARTS = (
    *(name.title().replace("_", "") for name in Deployments.model_fields),
    "ServeController",
    "HAProxyManager",
    "ProxyActor",
    "haproxy",
    "lite_worker",
)
"""What the command lines of a server's processes name."""


@dataclass
class Server:
    """A running server. key: its development key; home: its state; process: of `prosopon serve`.

    One that has only been launched has neither a key yet nor the seconds that its start took.
    """

    process: subprocess.Popen[bytes]
    address: str
    key: str
    home: Path
    log: Path
    started_seconds: float

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def connect(self) -> httpx.Client:
        """A client whose paths begin at the server's root."""
        return httpx.Client(base_url=self.url, timeout=60)

    def pids(self) -> list[int]:
        """The session: everything that this server started."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(int(process.name)) == self.process.pid:
                    found.append(int(process.name))
        return found

    def processor_seconds(self) -> dict[str, float]:
        """What each process has used so far: replicas by their deployment, the others by what they are."""
        used: dict[str, float] = {}
        for pid in self.pids():
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            except OSError:
                continue
            name = next((name for name in _PARTS if name in command), "the rest of Ray")
            ticks = int(fields[11]) + int(fields[12])
            used[name] = used.get(name, 0) + ticks / os.sysconf("SC_CLK_TCK")
        return used

    def kill(self) -> None:
        """End every process at once, as a power cut would."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


PROGRAM = (sys.executable, "-m", "prosopon.pipelines.cli")


def launch(
    home: Path,
    args: dict[str, Any] | None = None,
    program: Sequence[str] = PROGRAM,
    folder: Path | None = None,
    dashboard: bool = False,
) -> Server:
    """Begin to start a server over the state in `home`; `args` are settings of the application. program: the command,
    started in `folder`. dashboard: whether Ray's is there, too."""
    home.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = home / "serve_config.yaml"
    state = {"home": str(home)}
    application = {
        "name": "prosopon",
        "route_prefix": "/",
        "import_path": "prosopon.pipelines.app:build",
        "args": {"state": state, **(args or {})},
    }
    config.write_text(
        yaml.safe_dump({"http_options": {"host": "127.0.0.1", "port": port}, "applications": [application]})
    )
    log = home / "serve.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*program, "serve", str(config), "--dashboard" if dashboard else "--no-dashboard"],
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Server(process, f"127.0.0.1:{port}", "", home, log, float("nan"))


def start(
    home: Path, args: dict[str, Any] | None = None, timeout: float = 180, dashboard: bool = False
) -> Server:
    """A server over the state in `home`, once it is ready."""
    return wait_for(launch(home, args, dashboard=dashboard), timeout)


def wait_for(server: Server, timeout: float = 180) -> Server:
    """The server once it is ready, with its development key. Raises RuntimeError with the end of its log."""
    began = time.monotonic()
    while not is_ready(server.url):
        if server.process.poll() is not None or time.monotonic() - began > timeout:
            server.process.kill()
            raise RuntimeError(f"the server did not become ready:\n{server.log.read_text()[-4000:]}")
        time.sleep(0.1)
    found = re.findall(r"x-api-key:\s+([0-9a-f-]{36})", server.log.read_text())
    return replace(server, key=found[0] if found else "", started_seconds=time.monotonic() - began)


def stop(server: Server) -> None:
    """End it as an operator does, which takes it some ten seconds."""
    server.process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.process.wait(timeout=20)
    server.kill()


@contextlib.contextmanager
def serving(args: dict[str, Any] | None = None) -> Iterator[Server]:
    """A server over an empty state, gone with the block."""
    with tempfile.TemporaryDirectory() as folder, serving_at(Path(folder), args) as server:
        yield server


@contextlib.contextmanager
def serving_at(home: Path, args: dict[str, Any] | None = None, dashboard: bool = False) -> Iterator[Server]:
    """A server over the state in `home`, killed with the block: what was acknowledged is kept all the same."""
    server = start(home, args, dashboard=dashboard)
    try:
        yield server
    finally:
        server.kill()
