"""How much may be under way or wait, and whose turn it is: one caller's flood is that caller's own."""

import asyncio
import math
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

from prosopon.configs.settings import DeploymentSettings
from prosopon.deployments.serving.calls import Overloaded

caller: ContextVar[str] = ContextVar("caller", default="")
"""Whom a request is for: a tenant, or on open routes an address. The ingress sets it; who shares one shares turns."""


def refused(message: str, retry_after: int) -> Overloaded:
    error = Overloaded(message)
    error.retry_after = retry_after
    return error


class Bound:
    """At most so many at once: ``with bound:`` raises `Overloaded` where one is too many. Of one event loop."""

    def __init__(self, most: float, what: str, retry_after: int = Overloaded.retry_after) -> None:
        """what: after their number, why one more is refused. retry_after: seconds after which there may be room."""
        self._most, self._what, self._retry_after = most, what, retry_after
        self._count = 0

    def __enter__(self) -> None:
        if self._count >= self._most:
            raise refused(f"{self._count} {self._what}", self._retry_after)
        self._count += 1

    def __exit__(self, *_: object) -> None:
        self._count -= 1


class FairQueue:
    """At most `running` at once; who waits for a place gets it when it is its caller's turn. Of one event loop.

    Callers take turns (round robin, Nagle 1985, RFC 970): whoever asks for one thing waits for one of each other's,
    however many those are. Where `waiting` wait already, the newest of the caller who has most waiting makes room for a
    caller who has less; otherwise whoever comes is refused.
    """

    def __init__(
        self, running: float, waiting: float, what: str, retry_after: int = Overloaded.retry_after
    ) -> None:
        """what: after their number, why one more is refused. retry_after: seconds after which there may be room."""
        self._free, self._places, self._what, self._retry_after = running, waiting, what, retry_after
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._waiting = 0

    @classmethod
    def of(
        cls, resources: DeploymentSettings, what: str, retry_after: int = Overloaded.retry_after
    ) -> "FairQueue":
        """As many requests as a deployment takes, of which enough are sent on to keep its replicas busy and to let them
        be counted (`target_ongoing_requests`); the others wait here, where turns are kept."""
        busy = max(
            2 * resources.target_ongoing_requests, 2 * resources.max_batch_size * resources.concurrent_batches
        )
        running = resources.max_replicas * min(resources.max_ongoing_requests, max(_FEWEST, math.ceil(busy)))
        if resources.max_queued_requests < 0:
            return cls(running, math.inf, what, retry_after)
        most = resources.max_replicas * resources.max_ongoing_requests + resources.max_queued_requests
        return cls(running, most - running, what, retry_after)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """``async with queue.turn():`` has a place. Raises `Overloaded`."""
        if self._free > 0 and not self._waiting:
            self._free -= 1
        else:
            await self._wait(caller.get())
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, whose: str) -> None:
        if self._waiting >= self._places:
            self._make_room(whose)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(whose, deque()).append(place)
        self._waiting += 1
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled():  # Before its turn came: it may stand in the queue still.
                self._forget(whose, place)
            elif place.exception() is None:  # A place that nobody takes any more.
                self._pass_on()
            raise

    def check(self) -> None:
        """Raise the `Overloaded` that who asks now for a turn would get."""
        whose = caller.get()
        if self._waiting >= self._places and self._heaviest(whose) == whose:
            raise self._refusal()

    def _make_room(self, whose: str) -> None:
        heaviest = self._heaviest(whose)
        if heaviest == whose:
            raise self._refusal()
        newest = self._queues[heaviest][-1]
        self._forget(heaviest, newest)
        newest.set_exception(self._refusal())

    def _heaviest(self, whose: str) -> str:
        """Who has most waiting, were one more of `whose` among them."""
        heaviest, most = whose, len(self._queues.get(whose, ())) + 1
        for other, queue in self._queues.items():
            if len(queue) > most:
                heaviest, most = other, len(queue)
        return heaviest

    def _refusal(self) -> Overloaded:
        return refused(f"{self._waiting} {self._what}", self._retry_after)

    def _pass_on(self) -> None:
        """The place goes to the caller whose turn it is, who then is the last in turn."""
        while self._queues:
            whose, queue = next(iter(self._queues.items()))
            place = queue[0]
            self._forget(whose, place)
            if whose in self._queues:
                self._queues.move_to_end(whose)
            if not place.done():
                place.set_result(None)
                return
        self._free += 1

    def _forget(self, whose: str, place: "asyncio.Future[None]") -> None:
        queue = self._queues.get(whose)
        if queue is None or place not in queue:
            return
        queue.remove(place)
        self._waiting -= 1
        if not queue:
            del self._queues[whose]


_FEWEST = 16
"""So many on their way to a replica at least: what waits in it is decoded while models run."""
