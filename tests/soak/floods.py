"""Floods with one key, and what somebody else notices of them."""

import asyncio
import math
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx

from tests.benchmarks.serving import Server
from tests.conformance.aifaceswap_client import BASE
from tests.conformance.client import new_key

CONNECTIONS = 200
ASKED = 100
_PATIENCE_SECONDS = 300.0
_KEYLESS = 4


@dataclass(frozen=True)
class Flooded:
    """answers: of the other key, (status, seconds). alone: median seconds of the same without a flood. refusals:
    seconds of each request that the flood was refused. keyless: seconds of requests on connections like the flood's, at
    the same time, that are refused for want of a key: what this machine takes to answer anything to so many. crowd:
    connections of the flood."""

    what: str
    crowd: int
    answers: list[tuple[int, float]]
    alone: float
    flood: int
    refusals: list[float]
    keyless: list[float]

    @property
    def median(self) -> float:
        return statistics.median(seconds for _, seconds in self.answers)

    @property
    def nearly_all(self) -> float:
        """Seconds within which 99 of 100 answers came; of fewer answers, all."""
        return sorted(seconds for _, seconds in self.answers)[math.ceil(0.99 * len(self.answers)) - 1]

    @property
    def refused_in(self) -> float:
        """Median seconds of a refusal, where there is one."""
        return statistics.median(self.refusals)

    @property
    def least(self) -> float:
        """Median seconds of `keyless`."""
        return statistics.median(self.keyless)


Ask = Callable[[httpx.AsyncClient, dict[str, str], int], Awaitable[httpx.Response]]
"""One request, or all that belong together, with these headers: the last answer."""


async def detect(client: httpx.AsyncClient, headers: dict[str, str], _: int) -> httpx.Response:
    files = {"file": ("face.jpg", client.picture)}  # type: ignore[attr-defined]
    return await client.post("/api/v1/detection/detect", files=files, headers=headers)


async def generate(client: httpx.AsyncClient, headers: dict[str, str], number: int) -> httpx.Response:
    query = {"value": f"{headers['x-soak']}-{number}", "dim": 64}
    return await client.get("/api/face/", params=query, headers=headers)


async def swap(client: httpx.AsyncClient, headers: dict[str, str], _: int) -> httpx.Response:
    """Until the task has ended; of a flood, until it is accepted."""
    picture = client.picture  # type: ignore[attr-defined]
    files = {"source_image": picture, "face_image": picture}
    answer = await client.post(f"{BASE}/faceswap", files=files, headers=headers)
    if answer.status_code != 200 or "x-flood" in headers:
        return answer
    task = answer.json()["data"]["task_id"]
    while True:
        answer = await client.get(f"{BASE}/task/{task}", headers=headers)
        if answer.json()["data"]["success"] is not None:
            return answer
        await asyncio.sleep(0.05)


async def search(client: httpx.AsyncClient, headers: dict[str, str], _: int) -> httpx.Response:
    """Until the search is done; of a flood, until it is begun."""
    files = {"images": ("face.jpg", client.picture)}  # type: ignore[attr-defined]
    answer = await client.post("/api/upload_pic", files=files, headers=headers)
    while answer.status_code == 200:
        asked = {"id_search": answer.json()["id_search"], "with_progress": True}
        answer = await client.post("/api/search", json=asked, headers=headers)
        found: dict[str, Any] = answer.json()
        if "x-flood" in headers or found["output"] or found["error"]:
            break
        await asyncio.sleep(0.05)
    return answer


def flood(server: Server, picture: bytes, seconds: float = 10) -> list[Flooded]:
    """Every place where work waits, with a flood and somebody else before it. seconds: of each flood."""
    flooding, other = (
        new_key(server, "detection", "aifaceswap", "facecheck", tenant=name) for name in ("flood", "other")
    )
    asking: dict[str, tuple[Ask, Callable[[str], dict[str, str]], int]] = {
        "detections": (detect, lambda key: {"x-api-key": key}, CONNECTIONS),
        # Open: the flood comes from another address.
        "generated faces": (generate, lambda key: {"x-soak": key}, CONNECTIONS),
        "searches": (search, lambda key: {"Authorization": key}, 32),
        "swaps": (swap, lambda key: {"Authorization": f"Bearer {key}"}, 8),
    }
    return [
        asyncio.run(_flooded(server, what, ask, headers(flooding), headers(other), picture, crowd, seconds))
        for what, (ask, headers, crowd) in asking.items()
    ]


async def _flooded(
    server: Server,
    what: str,
    ask: Ask,
    flooding: dict[str, str],
    other: dict[str, str],
    picture: bytes,
    crowd: int,
    seconds: float,
) -> Flooded:
    refusals: list[float] = []
    keyless: list[float] = []
    made = 0
    until = time.monotonic() + seconds

    async def one_of_many(client: httpx.AsyncClient, number: int) -> None:
        nonlocal made
        while time.monotonic() < until:
            with suppress(httpx.TransportError):
                answer = await ask(client, {**flooding, "x-flood": "1"}, made)
                made += 1
                if answer.status_code in (429, 503):
                    refusals.append(answer.elapsed.total_seconds())
                    await asyncio.sleep(0.05)

    async def one_without_a_key(client: httpx.AsyncClient) -> None:
        while time.monotonic() < until:
            with suppress(httpx.TransportError):
                keyless.append((await detect(client, {}, 0)).elapsed.total_seconds())
            await asyncio.sleep(0.05)

    async def timed(client: httpx.AsyncClient, number: int) -> tuple[int, float]:
        began = time.perf_counter()
        answer = await asyncio.wait_for(ask(client, other, number), _PATIENCE_SECONDS)
        return answer.status_code, time.perf_counter() - began

    many = httpx.Limits(max_connections=crowd + _KEYLESS)
    here, elsewhere = "127.0.0.1", "127.0.0.2"
    async with (
        _client(server, picture, elsewhere, many) as crowded,
        _client(server, picture, here, many) as own,
    ):
        alone = [(await timed(own, -1 - turn))[1] for turn in range(3)]
        until = time.monotonic() + seconds
        floods = [asyncio.create_task(one_of_many(crowded, number)) for number in range(crowd)]
        floods += [asyncio.create_task(one_without_a_key(crowded)) for _ in range(_KEYLESS)]
        await asyncio.sleep(min(2.0, seconds / 4))
        answers = []
        while len(answers) < ASKED and (time.monotonic() < until or not answers):
            answers.append(await timed(own, len(answers)))
        await asyncio.gather(*floods)
    return Flooded(what, crowd, answers, statistics.median(alone), made, refusals, keyless)


def _client(server: Server, picture: bytes, address: str, limits: httpx.Limits) -> httpx.AsyncClient:
    transport = httpx.AsyncHTTPTransport(local_address=address, limits=limits)
    client = httpx.AsyncClient(transport=transport, base_url=server.url, timeout=_PATIENCE_SECONDS)
    client.picture = picture  # type: ignore[attr-defined]
    return client
