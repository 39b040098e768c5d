"""As many replicas as there is work, and fewer again: of what outlives requests or takes long, and of the ingress.

`test_elasticity` has those that answer in milliseconds, `test_milvus_server` the FaceIndex.
"""

import asyncio
import contextlib
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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


def check(observer: Observer, names: set[str], work: Callable[[threading.Event], None], clients: int) -> None:
    """Two replicas of each while clients have work for them until the event is set, one before and afterwards."""
    stop, grown = threading.Event(), set[str]()

    def all_grown(now: object) -> bool:
        grown.update(name for name in names if observer.running()[name] == 2)
        return grown == names or any(client.done() for client in under_way)

    def all_shrunk(now: object) -> bool:
        return all(observer.running()[name] == 1 for name in names)

    assert all_shrunk(None)
    with ThreadPoolExecutor(clients) as threads:
        under_way = [threads.submit(work, stop) for _ in range(clients)]
        try:
            asyncio.run(elasticity.reached(observer, all_grown, 120))
        finally:
            stop.set()
        for client in under_way:
            client.result()
    assert grown == names
    asyncio.run(elasticity.reached(observer, all_shrunk, 120))
    assert all_shrunk(None)


def test_swap_workers_follow_open_tasks_and_couriers_the_calls_that_are_due(
    server: Server, observer: Observer, london: list[Path]
) -> None:
    with loopback() as web:
        web.replies["/hangs"] = [0]  # The calls pile up.

        def work(stop: threading.Event) -> None:
            swapper = new_swapper(server)
            files = {"source_image": part(london[8]), "face_image": part(london[12])}
            while not stop.is_set():
                data = {"webhook": f"{web.url}/hangs"}
                tasks = [swapper.accepted("faceswap", data=data, files=files) for _ in range(6)]
                assert all(swapper.wait(task)["success"] == 1 for task in tasks)

        check(observer, {"SwapWorker", "Courier"}, work, 1)


def test_inverters_follow_the_photographs_that_wait(
    server: Server, observer: Observer, london: list[Path]
) -> None:
    if "Inverter" not in observer.running():
        pytest.skip("the weights of the inverter are not here")

    def work(stop: threading.Event) -> None:
        headers = {"content-type": "image/jpeg"}
        while not stop.is_set():
            # The same face in a file that has not been inverted yet; who hangs up ends the search.
            picture = london[0].read_bytes() + uuid.uuid4().bytes
            with contextlib.suppress(httpx.ReadTimeout):
                url = f"{server.url}/api/recoverlatent/"
                answer = httpx.post(url, content=picture, headers=headers, timeout=5)
                assert answer.status_code == 200

    check(observer, {"Inverter"}, work, 2)


def test_identifiers_follow_those_who_ask(server: Server, observer: Observer, london: list[Path]) -> None:
    trueface = new_trueface_client(server)
    collection = trueface.collection(*(trueface.enroll(picture) for picture in london[:2]))
    trueface.wait_for_classifier(collection)

    def work(stop: threading.Event) -> None:
        asking = new_trueface_client(server)
        while not stop.is_set():
            assert asking.identify(london[0], collection).status_code == 200

    check(observer, {"Identifier"}, work, 4)


def test_liveness_detectors_follow_the_pictures_to_check(
    server: Server, observer: Observer, london: list[Path]
) -> None:
    def work(stop: threading.Event) -> None:
        asking = new_trueface_client(server)
        while not stop.is_set():
            assert asking.post_picture("/spdetect", london[0]).status_code == 200

    check(observer, {"liveness"}, work, 4)


def test_ingresses_follow_the_open_connections(server: Server, observer: Observer) -> None:
    def work(stop: threading.Event) -> None:
        with httpx.Client(base_url=server.url, timeout=60) as http:
            while not stop.is_set():
                answer = http.get("/api/face/", params={"value": str(uuid.uuid4()), "dim": 64})
                assert answer.status_code == 200

    check(observer, {"Ingress"}, work, 16)
