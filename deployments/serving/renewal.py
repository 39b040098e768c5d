"""Leases that are kept while the work goes on (`state.jobs.lease`)."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

logger = logging.getLogger("ray.serve")


@asynccontextmanager
async def renewed(
    renew: Callable[[], Awaitable[bool]], length: float, lost: Callable[[], object] = lambda: None
) -> AsyncIterator[asyncio.Task[None]]:
    """While the block runs, `renew` is called three times within each lease of `length` seconds.

    Once it says False another has the work: `lost` is called, and the task that is given is done. A renewal that fails
    is logged; the next may succeed.
    """

    async def keep() -> None:
        while True:
            await asyncio.sleep(length / 3)
            try:
                if not await renew():
                    break
            except Exception:
                logger.exception("a lease could not be renewed")
        lost()

    keeping = asyncio.create_task(keep())
    try:
        yield keeping
    finally:
        keeping.cancel()
