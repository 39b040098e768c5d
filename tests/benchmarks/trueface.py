"""facedetect and spdetect against the bare models: python -m tests.benchmarks.trueface

The limits are decode + detect, and decode + detect + liveness, in two processes of one thread each, both cores busy, in
the same run. Pictures of 640 px with one face each, as raw bodies. `--retrain` also prints how long after a change a
collection's new classifier serves.
"""

import argparse
import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import httpx
import numpy as np

from prosopon.configs.settings import DetectionSettings, ImageLimits
from prosopon.models.faces.attributes.liveness import LIVENESS
from prosopon.models.load import load_detector, load_face_network
from prosopon.models.pictures.crops import cut
from prosopon.models.pictures.decoding import decode
from prosopon.models.runtime.session import Compute
from tests.benchmarks.bare import pictures
from tests.benchmarks.limits import limit
from tests.benchmarks.loadgen import closed_loop, post
from tests.benchmarks.serving import Server, serving
from tests.conformance.trueface_client import TruefaceClient
from tests.paths import DATA
from tests.weights import model_settings, weights

Route = Literal["facedetect", "spdetect"]
SECONDS = 8.0
CLIENTS = (4, 16)


def in_process(route: Route) -> Callable[[bytes], object]:
    """The same work as the server's, without the server."""
    compute, models = Compute("cpu", 1), model_settings()
    compute.limit_libraries()
    detector = load_detector(models, DetectionSettings(), compute)
    if route == "facedetect":
        return lambda data: detector.detect([decode(data, ImageLimits())], 0.5)
    liveness = load_face_network(models, LIVENESS.role, compute)

    def check(data: bytes) -> object:
        picture = decode(data, ImageLimits())
        face = detector.detect([picture], 0.5)[0].largest_first()
        crops = [
            cut(picture, face.boxes[0], face.landmarks[0], crop).pixels[np.newaxis] for crop in liveness.crops
        ]
        return liveness.score(crops)

    return check


def throughput(server: Server, route: Route, bound: float) -> None:
    headers = {"x-api-key": server.key}
    requests = [post(f"{server.url}/v1/{route}", data, "image/jpeg", headers) for data in pictures()]
    asyncio.run(closed_loop(requests, server.address, 4, 2))
    for clients in CLIENTS:
        load = asyncio.run(closed_loop(requests, server.address, clients, SECONDS))
        print(
            f"{route:>12}{bound:>10.1f}{clients:>9}{load.throughput:>8.1f}{load.throughput / bound:>10.2f}"
            f"{load.percentile(50):>9.1f}{load.percentile(99):>9.1f}  {dict(load.statuses)}"
        )


def retraining(server: Server, changes: int = 5) -> None:
    """From the answer to a change until the collection's new classifier serves."""
    with httpx.Client(base_url=server.url, timeout=60) as http:
        client = TruefaceClient(http, server.key)
        shots = sorted((DATA / "london").glob("*_neutral.jpg"))
        collection, serving_now, took = client.collection(), "", []
        for shot in shots[:changes]:
            client.enroll(shot, collection_id=collection)
            started = time.perf_counter()
            serving_now = client.wait_for_classifier(collection, other_than=serving_now)
            took.append(time.perf_counter() - started)
    print(f"retrained after {np.median(took):.1f} s (median of {changes}), at most {max(took):.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--retrain", action="store_true")
    arguments = parser.parse_args()
    weights("minifasnet")
    routes: tuple[Route, ...] = get_args(Route)
    bounds = {route: limit(partial(in_process, route), pictures(), SECONDS) for route in routes}
    with serving({"models": {"mirror": str(model_settings().mirror)}}) as server:
        print(
            f"{'':>12}{'limit/s':>10}{'clients':>9}{'per s':>8}{'of limit':>10}{'p50 ms':>9}{'p99 ms':>9}  answers"
        )
        for route in routes:
            throughput(server, route, bounds[route])
        if arguments.retrain:
            retraining(server)


if __name__ == "__main__":
    main()
