"""What tests of CheckFace look for in its answers."""

import asyncio
import time
from collections.abc import Coroutine, Iterable
from typing import Any

import httpx
import pytest


def error_of(answer: httpx.Response, status: int) -> str:
    """The message of a refusal in CheckFace's own form."""
    assert answer.status_code == status, answer.text
    document = answer.json()
    assert set(document) == {"error"}
    message: str = document["error"]
    return message


def settled(api: httpx.Client, seconds: float = 15) -> bool:
    """Whether nothing is being computed any more, in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if api.get("/api/queue/").json()["queue"] == 0:
            return True
        time.sleep(0.2)
    return False


async def leave(asking: asyncio.Task[httpx.Response]) -> None:
    """Close the connection of a request that waits for its answer."""
    assert asking.cancel(), "it was answered already"
    with pytest.raises(asyncio.CancelledError):
        await asking


async def refusals(asking: Iterable[Coroutine[Any, Any, httpx.Response]], least: int) -> list[httpx.Response]:
    """The first so many answers, all of them 503; whoever still waits then hangs up."""
    tasks = [asyncio.create_task(one) for one in asking]
    refused: list[httpx.Response] = []
    try:
        for answered in asyncio.as_completed(tasks, timeout=60):
            refused.append(await answered)
            assert refused[-1].status_code == 503, "it takes far longer to be served"
            if len(refused) == least:
                break
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return refused
