"""One computation for many who ask for the same: within this process they share a task, across processes a claim."""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from ray.util.metrics import Counter

from prosopon.deployments.serving.contexts import context_apart
from prosopon.deployments.serving.fair_queue import FairQueue, caller
from prosopon.deployments.serving.renewal import renewed
from prosopon.deployments.state.blobs import Blob
from prosopon.deployments.state.results import CLAIM, ResultCache, Standing

logger = logging.getLogger("ray.serve")

_LOOK_AGAIN_SECONDS = 0.2
_TELL_SECONDS = 0.5
"""How often what is made of a result is put on record."""
_MOST_LOOKED_FOR = 4
"""Results that are looked for at once, beyond which who would be refused if there were none is refused unlooked."""


Tell = Callable[[int], Awaitable[None]]
"""Takes how much of a result is made."""
Make = Callable[[Tell], Awaitable[bytes]]
"""Makes a result, and may tell how far it is."""


@dataclass(slots=True)
class _Flight:
    task: asyncio.Task[Blob]
    waiters: int = 0


class Results:
    """Results by key, computed where they are not there. When the last who waits has gone, the work is cancelled."""

    def __init__(self, cache: ResultCache) -> None:
        self._cache = cache
        self._flights: dict[str, _Flight] = {}
        self._looked_for: set[str] = set()
        self._outcomes = Counter(
            "prosopon_results",
            "Pictures and films asked for: made, found in the cache, or shared with who asked a moment earlier.",
            tag_keys=("outcome",),
        )

    async def get(self, key: str, media_type: str, make: Make, queue: FairQueue) -> Blob:
        """The result. Raises what `make` raises, or `Overloaded` where it is not there and the queue is full.

        The queue is asked before anything is written: to be refused takes no transaction. Where many of its caller's
        are looked for already it is asked first of all: a flood is not to keep the threads that look.
        """
        flight = self._flights.get(key)
        if flight is not None:
            self._outcomes.inc(tags={"outcome": "shared"})
        else:
            if len(self._looked_for) >= _MOST_LOOKED_FOR:
                queue.check()
            self._looked_for.add(key)
            # This computation belongs to all who wait for it; it takes the turn of who asked first.
            context = context_apart()
            context.run(caller.set, caller.get())
            work = asyncio.get_running_loop().create_task(
                self._find_or_make(key, media_type, make, queue), context=context
            )
            flight = self._flights[key] = _Flight(work)
            work.add_done_callback(lambda _: self._land(key, flight))
        flight.waiters += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if not flight.waiters and not flight.task.done():
                self._land(key, flight)
                flight.task.cancel()

    async def standing(self, key: str) -> Standing | None:
        """How far it is, whichever process makes it; None where it is not there and nobody makes it."""
        return await asyncio.to_thread(self._cache.standing, key)

    async def computing(self) -> int:
        """How many results are being computed or waited for, in all processes."""
        return await asyncio.to_thread(self._cache.computing)

    def _land(self, key: str, flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
            self._looked_for.discard(key)

    async def _find_or_make(self, key: str, media_type: str, make: Make, queue: FairQueue) -> Blob:
        claimant = uuid.uuid4()
        while True:
            found = await asyncio.to_thread(self._cache.find, key)
            self._looked_for.discard(key)
            if found:
                self._outcomes.inc(tags={"outcome": "found"})
                return found
            async with queue.turn():
                if await self._claim(key, claimant):
                    return await self._make(key, claimant, media_type, make)
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    async def _make(self, key: str, claimant: uuid.UUID, media_type: str, make: Make) -> Blob:
        told = time.monotonic()

        async def tell(made: int) -> None:
            nonlocal told
            if time.monotonic() - told < _TELL_SECONDS:
                return
            told = time.monotonic()
            try:
                await asyncio.to_thread(self._cache.advance, key, claimant, made)
            except Exception:  # Who asks is told a little late; the work goes on.
                logger.exception("progress could not be recorded")

        renew = partial(asyncio.to_thread, self._cache.renew, key, claimant)
        try:
            async with renewed(renew, CLAIM.total_seconds()):  # A lost claim costs time only.
                blob = Blob(await make(tell), media_type)
                await asyncio.to_thread(self._cache.store, key, claimant, blob)
            self._outcomes.inc(tags={"outcome": "made"})
            return blob
        except BaseException:
            await asyncio.to_thread(self._cache.abandon, key, claimant)
            raise

    async def _claim(self, key: str, claimant: uuid.UUID) -> bool:
        """Cancelled, it gives back what the thread, which goes on, may get after all."""
        claiming = asyncio.ensure_future(asyncio.to_thread(self._cache.claim, key, claimant))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            await asyncio.wait([claiming])
            await asyncio.to_thread(self._cache.abandon, key, claimant)
            raise
