"""What every request passes first: with bodies that stand still, never end or are too many, and headers that lie."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Message, Receive, Scope, Send

from prosopon.configs.settings import HttpSettings
from prosopon.pipelines.http.front_door import FrontDoor, without_confusion
from prosopon.pipelines.ingress import redact

KB = 1024


async def counted(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the number of bytes that came."""
    size = 0
    async for chunk in Request(scope, receive).stream():
        size += len(chunk)
    await Response(str(size))(scope, receive, send)


async def through(door: FrontDoor, pieces: AsyncIterator[bytes], headers: Any = ()) -> tuple[int, bytes]:
    """Status and body of a POST with these pieces as its body."""
    answer: list[Message] = []

    async def receive() -> Message:
        try:
            return {"type": "http.request", "body": await anext(pieces), "more_body": True}
        except StopAsyncIteration:
            return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        answer.append(message)

    await door({"type": "http", "method": "POST", "path": "/", "headers": list(headers)}, receive, send)
    return answer[0]["status"], b"".join(message.get("body", b"") for message in answer)


async def pieces(number: int, size: int, pause: float = 0) -> AsyncIterator[bytes]:
    for _ in range(number):
        await asyncio.sleep(pause)
        yield bytes(size)


def door(app: Any = counted, **limits: Any) -> FrontDoor:
    return FrontDoor(app, HttpSettings(**limits))


@pytest.mark.anyio
async def test_a_body_within_the_bounds_passes() -> None:
    assert await through(door(body_bytes=100 * KB), pieces(10, 10 * KB)) == (200, str(100 * KB).encode())


@pytest.mark.anyio
async def test_a_body_that_never_ends_is_refused() -> None:
    status, body = await through(door(body_bytes=100 * KB), pieces(10**9, KB))
    assert (status, json.loads(body)["message"]) == (413, f"the request is longer than {100 * KB} bytes")


@pytest.mark.anyio
async def test_a_body_that_stands_still_or_drips_is_refused() -> None:
    for limits, pause in (({"idle_seconds": 0.1}, 30), ({"body_seconds": 0.3, "idle_seconds": 10}, 0.05)):
        async with asyncio.timeout(5):
            status, _ = await through(door(**limits), pieces(10**6, 1, pause))
        assert status == 408


@pytest.mark.anyio
async def test_bodies_that_are_held_at_a_time_are_bounded_and_let_go() -> None:
    one = door(held_bytes=500 * KB)
    together = await asyncio.gather(*(through(one, pieces(10, 30 * KB, 0.01)) for _ in range(4)))
    assert {200, 503} == {status for status, _ in together}
    assert (await through(one, pieces(10, 30 * KB)))[0] == 200
    small = await asyncio.gather(*(through(one, pieces(2, 30 * KB, 0.01)) for _ in range(50)))
    assert {status for status, _ in small} == {200}


@pytest.mark.anyio
async def test_what_ray_serve_answers_itself_is_json() -> None:
    for status, expected in ((404, 503), (500, 500), (503, 503), (408, 408)):
        app = PlainTextResponse("Path '/' not found", status, {"retry-after": "7"} if status == 503 else {})
        got, body = await through(door(app), pieces(0, 0))
        assert (got, set(json.loads(body))) == (expected, {"message"})
    assert await through(door(PlainTextResponse("ok")), pieces(0, 0)) == (200, b"ok")


def test_headers_that_ray_serve_trips_over_or_obeys_do_not_reach_it() -> None:
    chance = random.Random(17)
    for _ in range(200):
        value = bytes(chance.randrange(256) for _ in range(chance.choice((1, 50))))
        kept = without_confusion([(b"x-request-id", value), (b"host", value)])
        assert (b"host", value) in kept
        assert len(kept) == 1 or (kept[0][1].isascii() and kept[0][1].decode().isprintable())
    assert (
        without_confusion([(b"X-Request-Id", b"a" * 30_000), (b"serve_multiplexed_model_id", b"\xff")]) == []
    )
    assert without_confusion([(b"x-request-id", b"order-66")]) == [(b"x-request-id", b"order-66")]


KEY = "0f8fad5b-d9cb-469f-a165-70867728950e"


@pytest.mark.parametrize(
    "path",
    [
        f"/api/v1/static/{KEY}/images/{KEY}",
        f"/API/V1/STATIC/{KEY.upper()}/images/a",
        f"/x/static/{KEY.replace('-', '')}",
        f"/api/{KEY}",
        f"/static/a/b/{KEY}",
    ],
)
def test_no_spelling_of_a_path_brings_a_key_into_the_log(path: str) -> None:
    logged = redact(path).lower().replace("-", "")
    assert KEY.replace("-", "")[8:] not in logged


def test_names_of_people_and_results_are_not_logged() -> None:
    assert redact("/api/v1/recognition/subjects/Zoë Smith") == "/api/v1/recognition/subjects/***"
    assert redact("/api/aifaceswap/v1/result/abc.png") == "/api/aifaceswap/v1/result/***"
    assert redact("/api/face/\n500 forged") == "/api/face/\\n500 forged"
