"""More clients than the server can serve: the rest is refused at once, in the API's form."""

import asyncio
import io
import time
from pathlib import Path

import httpx
from PIL import Image

from tests.benchmarks.serving import Server
from tests.conformance.client import new_key

CLIENTS = 250


def test_overload_is_refused_quickly(server: Server, london: list[Path]) -> None:
    key = new_key(server, "detection")
    image = london[0].read_bytes()

    async def detect(client: httpx.AsyncClient) -> tuple[httpx.Response, float]:
        started = time.perf_counter()
        answer = await client.post(
            f"{server.url}/api/v1/detection/detect",
            files={"file": ("face.jpg", image)},
            headers={"x-api-key": key},
        )
        return answer, time.perf_counter() - started

    async def crowd() -> list[tuple[httpx.Response, float]]:
        limits = httpx.Limits(max_connections=CLIENTS)
        async with httpx.AsyncClient(timeout=120, limits=limits) as client:
            return await asyncio.gather(*(detect(client) for _ in range(CLIENTS)))

    answers = asyncio.run(crowd())
    served = [took for answer, took in answers if answer.status_code == 200]
    refused = [(answer, took) for answer, took in answers if answer.status_code == 503]
    assert len(served) + len(refused) == CLIENTS
    assert len(served) >= 64, "what fits into the queue is served"
    assert refused
    for answer, _ in refused:
        assert set(answer.json()) == {"message", "code"}
        assert int(answer.headers["retry-after"]) >= 1
    # Refusals do not wait behind the work of those that are served.
    assert sorted(took for _, took in refused)[len(refused) // 2] < max(served)


def test_a_flood_with_one_key_refuses_nobody_elses(server: Server, london: list[Path]) -> None:
    flooding, other = (new_key(server, "detection", tenant=name) for name in ("flooding", "other"))
    image = io.BytesIO()
    with Image.open(london[0]) as portrait:  # How long each takes makes no difference to who is served.
        portrait.reduce(4).save(image, "JPEG")

    async def detect(client: httpx.AsyncClient, key: str) -> tuple[int, float]:
        started = time.perf_counter()
        answer = await client.post(
            f"{server.url}/api/v1/detection/detect",
            files={"file": ("face.jpg", image.getvalue())},
            headers={"x-api-key": key},
        )
        return answer.status_code, time.perf_counter() - started

    async def flood(client: httpx.AsyncClient, until: asyncio.Event) -> int:
        refused = 0
        while not until.is_set():
            status, _ = await detect(client, flooding)
            refused += status == 503
            await asyncio.sleep(0.05 if status == 503 else 0)
        return refused

    async def both() -> tuple[list[tuple[int, float]], int]:
        limits = httpx.Limits(max_connections=CLIENTS)
        async with (
            httpx.AsyncClient(timeout=120, limits=limits) as crowd,
            httpx.AsyncClient(timeout=120) as one,
        ):
            until = asyncio.Event()
            floods = [asyncio.create_task(flood(crowd, until)) for _ in range(200)]
            await asyncio.sleep(2)
            answers = [await detect(one, other) for _ in range(12)]
            until.set()
            return answers, sum(await asyncio.gather(*floods))

    answers, refused = asyncio.run(both())
    print(
        f"another key under a flood: {[f'{status} {took:.1f} s' for status, took in answers]}; "
        f"{refused} of the flood refused"
    )
    assert [status for status, _ in answers] == [200] * 12
    assert refused
