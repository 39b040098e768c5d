"""What Ray Serve itself costs: a picture's bytes through an ingress and three deployments that do nothing, for each of
the ways that Ray Serve offers to carry them. `pipelines.commands.serve.ray_environment` is what measured best.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.requests import Request

from prosopon.pipelines.commands.serve import ray_environment
from tests.benchmarks.loadgen import closed_loop, post
from tests.benchmarks.serving import Server, free_port

BODY = bytes(60_000)
SECONDS = 10.0
READY_SECONDS = 120
OWN_PROXY = {"RAY_SERVE_ENABLE_HA_PROXY": "0"}
ACTOR_CALLS = {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "0"}
VARIANTS: dict[str, dict[str, str]] = {
    "proxy of Ray Serve, calls of actors (its defaults)": OWN_PROXY | ACTOR_CALLS,
    "proxy of Ray Serve, gRPC on one event loop": OWN_PROXY,
    "HAProxy to the ingress, calls of actors": ACTOR_CALLS,
    "HAProxy to the ingress, gRPC on one event loop": {},
    "  the same, pickle for cloudpickle": {"HOPS_SERIALIZATION": "pickle"},
}


def serve_hops(port: int) -> None:
    """Serve until the process is killed."""
    import ray
    from ray import serve

    class Measure:
        async def measure(self, body: bytes) -> int:
            return len(body)

    class Ingress:
        def __init__(self, *handles: Any) -> None:
            how = os.environ.get("HOPS_SERIALIZATION", "cloudpickle")
            self._handles = [
                handle.options(method_name="measure", request_serialization=how, response_serialization=how)
                for handle in handles
            ]

        async def __call__(self, request: Request) -> int:
            body = await request.body()
            first, *others = self._handles
            size: int = await first.remote(body)
            return size + sum(await asyncio.gather(*(other.remote(body[:1000]) for other in others)))

    def deployment(made: type, name: str) -> Any:
        return serve.deployment(made).options(
            name=name, max_ongoing_requests=100, ray_actor_options={"num_cpus": 0.1}
        )

    ray.init(address="local", namespace="serve", include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    measures = [deployment(Measure, f"Measure{number}").bind() for number in range(3)]
    serve.run(deployment(Ingress, "Ingress").bind(*measures), name="hops")
    while True:
        time.sleep(60)


@contextmanager
def serving_hops(environment: dict[str, str]) -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as folder:
        port, log = free_port(), Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.benchmarks.hops", str(port)],
                env={**os.environ, **ray_environment(), **environment},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        started = time.monotonic()
        server = Server(process, f"127.0.0.1:{port}", "", Path(folder), log, 0.0)
        try:
            while not answers(server):
                if process.poll() is not None or time.monotonic() - started > READY_SECONDS:
                    raise RuntimeError(f"the hops are not served:\n{log.read_text()[-2000:]}")
                time.sleep(0.5)
            yield server
        finally:
            server.kill()


def request_to(server: Server) -> bytes:
    return post(f"{server.url}/", BODY, "application/octet-stream", {})


def answers(server: Server) -> bool:
    try:
        load = asyncio.run(closed_loop([request_to(server)], server.address, 1, 0.5))
    except OSError:
        return False
    return load.statuses[200] > 0


def main() -> None:
    print(f"{len(BODY)} bytes through an ingress and three deployments")
    print(f"{'p50 ms at 1':>12}{'per s at 16':>13}{'p99 ms':>9}")
    for name, environment in VARIANTS.items():
        with serving_hops(environment) as server:
            asyncio.run(closed_loop([request_to(server)], server.address, 16, 3))
            one = asyncio.run(closed_loop([request_to(server)], server.address, 1, SECONDS / 2))
            many = asyncio.run(closed_loop([request_to(server)], server.address, 16, SECONDS))
        others = {status: count for status, count in many.statuses.items() if status != 200}
        print(
            f"{one.percentile(50):>12.1f}{many.throughput:>13.1f}{many.percentile(99):>9.1f}  {name}"
            f"{f', not answered: {others}' if others else ''}",
            flush=True,
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        serve_hops(int(sys.argv[1]))
    else:
        main()
