"""Work on several pictures side by side."""

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar, cast

Result = TypeVar("Result")


async def all_of(work: Iterable[Awaitable[Result]]) -> list[Result]:
    """What all of them bring, in their order.

    Raises, when all have ended, the error of the first in their order that failed: the same one every time.
    """
    done = await asyncio.gather(*work, return_exceptions=True)
    for result in done:
        if isinstance(result, BaseException):
            raise result
    return cast(list[Result], done)
