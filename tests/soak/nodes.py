"""Two nodes of a Ray cluster on this machine, over PostgreSQL, a Milvus server and S3; one is killed under load.

What is applied is `configs/cluster.yaml`, with smaller shares of cores, to nodes that are started as its head
says, both on 127.0.0.1. milvus-lite's gRPC server stands for Milvus, moto's for S3.
"""

import asyncio
import contextlib
import json
import logging
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import boto3
import httpx
import yaml
from moto.server import ThreadedMotoServer
from ray._private import ray_constants

from prosopon.configs.settings import StateSettings
from prosopon.deployments.state.blobs import BlobStore
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.keys import KeyStore
from prosopon.pipelines.commands.serve import is_ready
from prosopon.pipelines.running import HANDLE_ENVIRONMENT
from tests.benchmarks.elasticity import Asked, Crowd
from tests.benchmarks.loadgen import multipart, post
from tests.benchmarks.serving import Server, free_port
from tests.integration.processes import milvus, postgresql
from tests.loopback import loopback
from tests.paths import ROOT
from tests.soak.writers import Context, Enrols, SearchesFaces, Swaps, Writer, check_pictures

# Ray (2.60) puts the machine's own address in the place of 127.0.0.1, and listens there, unless it is told that there
# is no cluster; and then it starts no second node.
_RAY = """
from ray._private import ray_constants, services
ray_constants.ENABLE_RAY_CLUSTER = True
services.resolve_ip_for_localhost = lambda host: host
from ray.scripts.scripts import main
main()
"""
RAY = (sys.executable, "-c", _RAY)
SERVE = (sys.executable, "-c", "from ray.serve.scripts import cli; cli()")
APIS = ("compreface", "facecheck", "aifaceswap")
WRITERS: tuple[type[Writer], ...] = (Enrols, SearchesFaces, Swaps)
CLIENTS = 2
START_SECONDS = 300
BACK_SECONDS = 180
"""Within which all replicas run again, on the node that is left."""
NODE_CPUS = 4
SHARE = 0.1
"""Of the cores that the configuration gives a replica."""


@dataclass
class Balanced(Context):
    """As behind a load balancer: each request goes to the next of the nodes that are healthy."""

    urls: list[str] = field(default_factory=list)
    turn: int = 0

    def where(self) -> str:
        self.turn += 1
        return self.urls[self.turn % len(self.urls)]


@dataclass(frozen=True)
class Outlived:
    """started, back: seconds until the application ran on both nodes, and again on the one that is left.

    spread: deployment -> node -> replicas and the calls that they answered, before the kill. acknowledged: writer ->
    writes. asked: of clients that recognise, who may repeat. pause: the longest that nothing was acknowledged.
    """

    started: float
    back: float
    spread: dict[str, dict[str, tuple[int, int]]]
    acknowledged: dict[str, int]
    answers: Counter[str]
    asked: Sequence[Asked]
    pause: float


def scaled_down(head_port: int) -> dict[str, Any]:
    """`configs/cluster.yaml` for two nodes that share this machine."""
    document: dict[str, Any] = yaml.safe_load((ROOT / "configs/cluster.yaml").read_text())
    document["http_options"] = {"host": "127.0.0.1", "port": head_port}
    args = document["applications"][0]["args"]
    args |= {
        "apis": list(APIS),
        "fetch": {"allow": ["127.0.0.1"]},
        "swap": {"lease_seconds": 8, "method": "warp"},
        "webhooks": {"first_pause_seconds": 1},
        "facecheck": {"max_waiting_per_tenant": 10_000, "max_waiting": 10_000},
    }
    for entry in args["deployments"].values():
        entry["num_cpus"] = round(entry["num_cpus"] * SHARE, 3)
        entry["max_replicas"] = entry["min_replicas"]
        entry["log_calls"] = True
    args["deployments"]["swap_worker"] |= {"min_replicas": 2, "max_replicas": 2}
    return document


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[dict[str, str]]:
    """What every node has in its environment: where PostgreSQL, Milvus and S3 are."""
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(postgresql())
        vectors = stack.enter_context(milvus(folder))
        bucket = ThreadedMotoServer("127.0.0.1", 0)
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # It tells of every request.
        bucket.start()
        stack.callback(bucket.stop)
        host, port = bucket.get_host_and_port()
        environment = {
            "PROSOPON_DATABASE_URL": f"{database}/postgres",
            "PROSOPON_VECTORS_URI": vectors,
            "PROSOPON_BLOBS_URL": "s3://faces/prosopon",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        stack.enter_context(patch.dict(os.environ, environment))
        boto3.client("s3").create_bucket(Bucket="faces")
        yield environment


class Cluster:
    """Two nodes, started and stopped by their own processes. Its dashboard takes configurations and tells what runs."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        token = secrets.token_hex(32)
        (folder / "token").write_text(token)
        self.ports = free_port(), free_port()
        self._environment = {
            **os.environ,
            **environment,
            **HANDLE_ENVIRONMENT,
            "PROSOPON_HOME": str(folder / "home"),
            ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0",
            # Ray gives its workers the lowest priority, and this machine is not theirs alone.
            "RAY_worker_niceness": "0",
            # Of the second node's proxy: on a machine of its own it would have the same port as the head's.
            "RAY_SERVE_WORKER_PROXY_HTTP_PORT": str(self.ports[1]),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        }
        # Ray's sockets lie there, whose paths may have no more than 107 bytes.
        self._session = tempfile.mkdtemp(prefix="ray-")
        self._dashboard = httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=30)
        self.nodes: list[Server] = []
        self.address = ""

    def start(self) -> None:
        """Both nodes, the head first."""
        head, dashboard = free_port(), free_port()
        self.address = f"http://127.0.0.1:{dashboard}"
        self.nodes.append(
            self._start(
                "head", "--head", f"--port={head}", "--include-dashboard=true", "--dashboard-host=127.0.0.1",
                f"--dashboard-port={dashboard}", f"--ray-client-server-port={free_port()}",
                f"--temp-dir={self._session}",
            )
        )  # fmt: skip
        _until(lambda: self._asked("/api/version") is not None, START_SECONDS, self.log)
        self.nodes.append(self._start("other", f"--address=127.0.0.1:{head}"))

    def _start(self, name: str, *options: str) -> Server:
        log = self._folder / f"{name}.log"
        port = self.ports[len(self.nodes)]
        command = [
            *RAY, "start", "--block", "--disable-usage-stats", "--node-ip-address=127.0.0.1",
            f"--num-cpus={NODE_CPUS}", "--min-worker-port=0", "--max-worker-port=0",
            f"--dashboard-agent-listen-port={free_port()}", f"--object-store-memory={256 << 20}", *options,
        ]  # fmt: skip
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=self._environment,
            )
        return Server(process, f"127.0.0.1:{port}", "", self._folder / "home", log, float("nan"))

    def deploy(self, document: Mapping[str, Any]) -> None:
        """As the head of `configs/cluster.yaml` says."""
        file = self._folder / "cluster.yaml"
        file.write_text(yaml.safe_dump(document))
        command = [*SERVE, "deploy", file, "-a", self.address]
        subprocess.run(command, check=True, env=self._environment, stdout=subprocess.DEVNULL)

    def deployments(self) -> dict[str, Any]:
        """Name -> what Ray's dashboard says of it; empty before there is an application."""
        document = self._asked("/api/serve/applications/") or {}
        application = document.get("applications", {}).get("prosopon", {})
        return dict(application.get("deployments", {}))

    def is_whole(self, nodes: int) -> bool:
        """Whether every deployment is healthy and has all of its replicas, on so many nodes in all."""
        deployments = self.deployments()
        on = {replica.get("node_id") for one in deployments.values() for replica in one["replicas"]}
        return len(on) == nodes and all(
            one["status"] == "HEALTHY"
            and [replica["state"] for replica in one["replicas"]] == ["RUNNING"] * one["target_num_replicas"]
            for one in deployments.values()
        )

    def spread(self) -> dict[str, dict[str, tuple[int, int]]]:
        """Deployment -> node -> replicas, and calls that they have answered."""
        document = self._asked("/api/serve/applications/") or {}
        head = document["controller_info"]["node_id"]  # Serve's controller is there.
        found: dict[str, dict[str, tuple[int, int]]] = {}
        for name, one in self.deployments().items():
            nodes = found.setdefault(name, {"head": (0, 0), "other": (0, 0)})
            for replica in one["replicas"]:
                node = "head" if replica["node_id"] == head else "other"
                count, calls = nodes[node]
                log = Path(self._session, "session_latest", "logs", replica["log_file_path"].lstrip("/"))
                nodes[node] = count + 1, calls + _calls(log)
        return found

    def log(self) -> str:
        """What is known where something did not happen."""
        replicas = {
            name: [one["status"], *(replica["state"] for replica in one["replicas"])]
            for name, one in self.deployments().items()
        }
        logs = [node.log.read_text(errors="replace")[-1000:] for node in self.nodes]
        return "\n".join([f"{replicas}", *logs])

    def stop(self) -> None:
        for node in reversed(self.nodes):
            node.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                node.process.wait(timeout=20)
            node.kill()
        self._dashboard.close()
        shutil.rmtree(self._session, ignore_errors=True)

    def _asked(self, path: str) -> dict[str, Any] | None:
        try:
            answer = self._dashboard.get(self.address + path)
        except httpx.TransportError:
            return None
        return dict(answer.json()) if answer.is_success else None


def outlive(folder: Path, pictures: Sequence[bytes], seconds: float) -> Outlived:
    """Load for so many seconds on two nodes, then on the one that is left when the other is killed: until all runs
    again, and for as long again.

    Raises AssertionError for what is lost or doubled, and for a request that got no answer though it was repeated.
    """
    with servers(folder) as environment, loopback() as web:
        cluster = Cluster(folder, environment)
        try:
            return _outlive(cluster, folder, pictures, seconds, web)
        finally:
            cluster.stop()


def _outlive(cluster: Cluster, folder: Path, pictures: Sequence[bytes], seconds: float, web: Any) -> Outlived:
    began = time.monotonic()
    cluster.start()
    cluster.deploy(scaled_down(cluster.ports[0]))
    lost = cluster.nodes[1]
    urls = [node.url for node in cluster.nodes]
    _until(lambda: cluster.is_whole(2) and all(map(is_ready, urls)), START_SECONDS, cluster.log)
    started = time.monotonic() - began
    home = folder / "home"
    context = Balanced("", home, pictures, web, urls)
    writers = [kind(context) for kind in WRITERS]
    client = _key(home)
    requests = [
        post(
            f"{urls[0]}/api/v1/recognition/recognize",
            *multipart("file", "face.jpg", picture),
            {"x-api-key": client},
        )
        for picture in pictures
    ]
    moments: list[float] = []

    async def load() -> tuple[dict[str, dict[str, tuple[int, int]]], float, list[Asked]]:
        people = Crowd(urls[0].removeprefix("http://"), requests)
        await people.resize(CLIENTS)
        watching = asyncio.create_task(_watch(writers, moments))
        await asyncio.sleep(seconds)
        spread = await asyncio.to_thread(cluster.spread)
        lost.kill()
        killed = time.monotonic()
        # A balancer that asks /-/healthz knows within seconds; until then its clients are cut off.
        await asyncio.sleep(2)
        context.urls = urls[:1]
        await asyncio.to_thread(_until, lambda: cluster.is_whole(1), BACK_SECONDS, cluster.log)
        back = time.monotonic() - killed
        await asyncio.sleep(seconds)
        await people.resize(0)
        watching.cancel()
        return spread, back, people.asked

    for writer in writers:
        writer.start()
    try:
        spread, back, asked = asyncio.run(load())
    finally:
        for writer in writers:
            writer.stopping.set()
    for writer in writers:
        writer.join(120)
        assert not writer.is_alive(), f"{type(writer).__name__} hangs"
    for writer in writers:
        assert writer.acknowledged, f"{type(writer).__name__}: nothing was acknowledged"
        writer.check()
    records = Records(StateSettings(home=home).database)
    blobs = BlobStore(records, StateSettings(home=home).blobs)
    try:
        check_pictures(home, blobs.files())
    finally:
        blobs.close()
        records.close()
    return Outlived(
        started,
        back,
        spread,
        {type(writer).__name__: len(writer.acknowledged) for writer in writers},
        sum((writer.answers for writer in writers), Counter()),
        asked,
        max(after - before for before, after in pairwise(moments)),
    )


async def _watch(writers: Sequence[Writer], moments: list[float]) -> None:
    """Notes when something is acknowledged."""
    known = -1
    while True:
        count = sum(len(writer.acknowledged) for writer in writers)
        if count != known:
            known = count
            moments.append(time.monotonic())
        await asyncio.sleep(0.05)


def _key(home: Path) -> str:
    """Of a client that recognises."""
    records = Records(StateSettings(home=home).database)
    try:
        return KeyStore(records).create("two nodes", ["recognition"])[1]
    finally:
        records.close()


def _calls(log: Path) -> int:
    """Calls that a replica has logged: Serve's own line of each or, in the ingress, the application's."""
    called = re.compile(r"^(CALL \S+ OK|(GET|POST|DELETE) /\S* \d{3}) ")
    lines = log.read_text(errors="replace").splitlines()
    return sum(
        bool(called.match(json.loads(line).get("message", ""))) for line in lines if line.startswith("{")
    )


def _until(ready: Callable[[], bool], seconds: float, log: Callable[[], str]) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"not after {seconds} s:\n{log()}"
        time.sleep(0.5)
