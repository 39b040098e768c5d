"""What the plans that are chosen on this machine gain through the whole server, against ONNX Runtime in full precision.

Two servers side by side, asked in turns, so that other work on the machine meets both: recognition of 640 px pictures
at 16 clients and at one, and faces of 1024 px that nobody has made yet.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from prosopon.models.runtime.plans import DEFAULT
from tests.benchmarks.bare import pictures
from tests.benchmarks.loadgen import closed_loop, multipart, post
from tests.benchmarks.server import resident
from tests.benchmarks.serving import Server, serving

TURNS, SECONDS = 4, 6.0
VARIANTS = {"chosen": {}, DEFAULT: {"models": {"plans": {"detector": DEFAULT, "generator": DEFAULT}}}}


def recognitions(server: Server) -> list[bytes]:
    url, headers = f"{server.url}/api/v1/recognition/recognize", {"x-api-key": server.key}
    return [post(url, *multipart("file", "face.jpg", data), headers) for data in pictures()]


def new_faces(server: Server, first: int, count: int) -> list[bytes]:
    host = server.address
    paths = (f"/api/face/?seed={number}&dim=1024&format=jpg" for number in range(first, first + count))
    return [f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode() for path in paths]


def told(name: str, unit: str, found: Sequence[float], base: Sequence[float], more: bool) -> None:
    ratios = np.array(found) / np.array(base) if more else np.array(base) / np.array(found)
    print(
        f"{name}: {np.median(found):.1f} {unit}, {DEFAULT} {np.median(base):.1f}; "
        f"{np.median(ratios):.2f} times as fast, {ratios.min():.2f} to {ratios.max():.2f}"
    )


def main() -> None:
    settings = {"apis": ["compreface", "checkface"]}
    many: dict[str, list[float]] = defaultdict(list)
    one: dict[str, list[float]] = defaultdict(list)
    faces: dict[str, list[float]] = defaultdict(list)
    with serving(settings) as chosen, serving(settings | VARIANTS[DEFAULT]) as default:
        servers = {"chosen": chosen, DEFAULT: default}
        for name, server in servers.items():
            print(
                f"{name}: ready after {server.started_seconds:.1f} s, {resident(server.pids()) / 2**30:.2f} GiB before"
            )
            asyncio.run(closed_loop(recognitions(server), server.address, 4, 3))
        for turn in range(TURNS):
            for name, server in servers.items():
                requests = recognitions(server)
                many[name].append(asyncio.run(closed_loop(requests, server.address, 16, SECONDS)).throughput)
                one[name].append(
                    asyncio.run(closed_loop(requests, server.address, 1, SECONDS)).percentile(50)
                )
                made = new_faces(server, 1000 * (turn + 1), 400)
                faces[name].append(asyncio.run(closed_loop(made, server.address, 4, SECONDS)).throughput)
        for name, server in servers.items():
            print(f"{name}: {resident(server.pids()) / 2**30:.2f} GiB after")
    told("recognition at 16 clients", "a second", many["chosen"], many[DEFAULT], True)
    told("recognition at 1 client, p50", "ms", one["chosen"], one[DEFAULT], False)
    told("faces of 1024 px, 4 clients", "a second", faces["chosen"], faces[DEFAULT], True)


if __name__ == "__main__":
    main()
