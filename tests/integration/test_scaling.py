"""As many replicas as there is work, and fewer again: of what outlives requests or takes long, and of the ingress.

`test_elasticity` has those that answer in milliseconds, `test_milvus_server` the FaceIndex.
"""

import asyncio
import contextlib
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.benchmarks import elasticity
from tests.benchmarks.elasticity import Observer
from tests.benchmarks.serving import Server, serving
from tests.conformance.aifaceswap_client import new_swapper
from tests.conformance.client import part
from tests.conformance.trueface_client import new_trueface_client
from tests.loopback import loopback

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

QUICK = {
    "num_cpus": 0.05, "min_replicas": 1, "max_replicas": 2, "max_batch_size": 1,
    "target_ongoing_requests": 1, "upscale_seconds": 1, "downscale_seconds": 4,
}  # fmt: skip
SETTINGS = {
    "apis": ["trueface", "checkface", "aifaceswap"],
    "detection": {"colocated": ["embedder", "landmarks", "age", "gender", "mask", "quality"]},
    "fetch": {"allow": ["127.0.0.1"]},
    "webhooks": {"seconds": 3, "max_attempts": 1},
    "swap": {"method": "warp"},
    "deployments": {
        # The second replicas need room on two cores.
        **{role: {"num_cpus": 0.05} for role in ("detector", "face_index", "generator", "video_encoder")},
        **dict.fromkeys(("swap_worker", "courier", "inverter"), QUICK),
        # Answers of a few milliseconds.
        **{role: {**QUICK, "target_ongoing_requests": 0.01} for role in ("identifier", "liveness")},
        # More than the clients of the others are.
        "ingress": {**QUICK, "target_ongoing_requests": 6},
    },
}


@pytest.fixture(scope="module")
def server(models_mirror: None) -> Iterator[Server]:
    with serving(SETTINGS) as server:
        yield server


@dataclass(frozen=True)
class Load:
    """clients of them do the work, again and again until the event is set, for these deployments."""

    names: frozenset[str]
    work: Callable[[threading.Event], None]
    clients: int


def test_each_follows_its_work_up_and_down(server: Server, observer: Observer, london: list[Path]) -> None:
    """Each has one replica, two while there is work for them, and one again."""
    with contextlib.ExitStack() as stack:
        loads = [
            load(server, london, stack)
            for load in (swaps, inversions, identifications, liveness_checks, connections)
            if load is not inversions or "Inverter" in observer.running()
        ]
        everybody = frozenset[str]().union(*(load.names for load in loads))
        at_rest(observer, everybody)  # What the clients have prepared is work too.
        grown = set[str]()
        stops = {load: threading.Event() for load in loads}
        threads = stack.enter_context(ThreadPoolExecutor(sum(load.clients for load in loads)))
        under_way = [threads.submit(load.work, stops[load]) for load in loads for _ in range(load.clients)]

        def all_grown(now: object) -> bool:
            grown.update(name for name in everybody if observer.running()[name] == 2)
            for load, stop in stops.items():  # Whoever has followed leaves the cores to the others.
                if load.names <= grown:
                    stop.set()
            return grown == everybody or any(client.done() and client.exception() for client in under_way)

        try:
            asyncio.run(elasticity.reached(observer, all_grown, 240))
        finally:
            for stop in stops.values():
                stop.set()
        for client in under_way:
            client.result()
        assert grown == everybody
    at_rest(observer, everybody)


def at_rest(observer: Observer, names: Iterable[str]) -> None:
    """Each has a single replica, within two minutes."""
    now, _ = asyncio.run(elasticity.reached(observer, lambda now: all(now[name] == 1 for name in names), 120))
    assert {name: now[name] for name in names} == dict.fromkeys(names, 1)


def answered(answer: httpx.Response, stop: threading.Event) -> bool:
    """Whether a load is answered, or told to come again later: who waits then asks again, as clients are to."""
    if answer.status_code == 503:
        stop.wait(float(answer.headers["Retry-After"]))
        return True
    return answer.status_code == 200


def swaps(server: Server, london: list[Path], stack: contextlib.ExitStack) -> Load:
    """Open tasks for swap workers; for couriers calls that are due, and pile up."""
    web = stack.enter_context(loopback())
    web.replies["/hangs"] = [0]

    def work(stop: threading.Event) -> None:
        swapper = new_swapper(server)
        files = {"source_image": part(london[8]), "face_image": part(london[12])}
        while not stop.is_set():
            data = {"webhook": f"{web.url}/hangs"}
            tasks = [swapper.accepted("faceswap", data=data, files=files) for _ in range(6)]
            assert all(swapper.wait(task)["success"] == 1 for task in tasks)

    return Load(frozenset({"SwapWorker", "Courier"}), work, 1)


def inversions(server: Server, london: list[Path], stack: contextlib.ExitStack) -> Load:
    """Photographs that wait."""

    def work(stop: threading.Event) -> None:
        headers = {"content-type": "image/jpeg"}
        while not stop.is_set():
            # The same face in a file that has not been inverted yet; who hangs up ends the search.
            picture = london[0].read_bytes() + uuid.uuid4().bytes
            with contextlib.suppress(httpx.ReadTimeout):
                url = f"{server.url}/api/recoverlatent/"
                answer = httpx.post(url, content=picture, headers=headers, timeout=5)
                assert answered(answer, stop)

    return Load(frozenset({"Inverter"}), work, 2)


def identifications(server: Server, london: list[Path], stack: contextlib.ExitStack) -> Load:
    trueface = new_trueface_client(server)
    collection = trueface.collection(*(trueface.enroll(picture) for picture in london[:2]))
    trueface.wait_for_classifier(collection)

    def work(stop: threading.Event) -> None:
        asking = new_trueface_client(server)
        while not stop.is_set():
            assert answered(asking.identify(london[0], collection), stop)

    return Load(frozenset({"Identifier"}), work, 4)


def liveness_checks(server: Server, london: list[Path], stack: contextlib.ExitStack) -> Load:
    def work(stop: threading.Event) -> None:
        asking = new_trueface_client(server)
        while not stop.is_set():
            assert answered(asking.post_picture("/spdetect", london[0]), stop)

    return Load(frozenset({"liveness"}), work, 4)


def connections(server: Server, london: list[Path], stack: contextlib.ExitStack) -> Load:
    """Open ones, for ingresses."""

    def work(stop: threading.Event) -> None:
        with httpx.Client(base_url=server.url, timeout=60) as http:
            while not stop.is_set():
                answer = http.get("/api/face/", params={"value": str(uuid.uuid4()), "dim": 64})
                assert answered(answer, stop)

    return Load(frozenset({"Ingress"}), work, 16)
