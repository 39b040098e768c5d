"""Work on several pictures side by side."""

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

Result = TypeVar("Result")


async def all_of(work: Iterable[Awaitable[Result]]) -> list[Result]:
    """What all of them bring, in their order.

    Raises, when all have ended, the error of the first in their order that failed: the same one every time.
    """
    results: list[Result] = []
    for done in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(done, BaseException):
            raise done
        results.append(done)
    return results
