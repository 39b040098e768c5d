"""Our server, with the models that a peer has."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx

from tests.benchmarks.bare import pictures
from tests.benchmarks.loadgen import multipart, post
from tests.benchmarks.peers.in_turns import Contender
from tests.benchmarks.serving import serving
from tests.conformance.client import Client

_KNOWN = 32


@contextmanager
def with_overrides(overrides: Mapping[str, str]) -> Iterator[list[Contender]]:
    """CompreFace's detection with embeddings, and recognition among the people that are asked for.

    overrides: role -> artifact, as the setting `models.overrides` takes them.
    """
    settings = {"apis": ["compreface"], "models": {"overrides": dict(overrides)}}
    with serving(settings) as server:
        client = Client(httpx.Client(base_url=server.url, timeout=60), server.key)
        for number, data in enumerate(pictures()[:_KNOWN]):
            file = {"file": ("face.jpg", data)}
            client.post("/recognition/faces", params={"subject": f"{number}"}, files=file).raise_for_status()
        headers = {"x-api-key": server.key}
        yield [
            Contender(
                name, server.address, [post(f"{server.url}{path}", *body, headers) for body in _bodies()]
            )
            for name, path in (
                ("ours, detect with embedding", "/api/v1/detection/detect?face_plugins=calculator"),
                ("ours, recognise", "/api/v1/recognition/recognize"),
            )
        ]


def _bodies() -> list[tuple[bytes, str]]:
    return [multipart("file", "face.jpg", data) for data in pictures()]
