"""Telling another deployment that there is something to do, without waiting for it or minding whether it hears."""

import asyncio
import contextlib

from prosopon.deployments.services import Pokeable
from prosopon.deployments.serving.contexts import context_apart

_AT_ONCE = 8
"""Pokes under way: enough to wake several replicas. Those that are not made, or not heard, cost the others' next look
at the records."""


class Poker:
    """Calls a deployment's `poke`. Of one event loop."""

    def __init__(self, service: Pokeable) -> None:
        self._service = service
        self._under_way: set[asyncio.Task[None]] = set()

    def __call__(self) -> None:
        if len(self._under_way) >= _AT_ONCE:
            return
        task = asyncio.get_running_loop().create_task(self._poke(), context=context_apart())
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _poke(self) -> None:
        with contextlib.suppress(Exception):
            await self._service.poke()


class Wakeable:
    """What a loop waits for: a poke, or the time of its next look.

    `listen` before looking, `wait` after having found nothing: a poke in between is not lost.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds, self._event = seconds, asyncio.Event()

    def wake(self) -> None:
        self._event.set()

    def listen(self) -> None:
        self._event.clear()

    async def wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), self._seconds)
