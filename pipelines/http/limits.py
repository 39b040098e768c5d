"""How many requests a second a key may make, or an address where no key is asked for."""

import math
import time
from collections.abc import Callable

from cachetools import LRUCache
from fastapi import Request

from prosopon.deployments.serving import fair_queue
from prosopon.deployments.serving.calls import TooManyRequests

LIMIT = "prosopon.limit"
"""The request's scope has the `RateLimit` under it: one for all APIs, since a key may be for several."""
_REMEMBERED = 65_536


class RateLimit:
    """So many requests a second of each caller, and a burst of them after a pause.

    A token bucket, written as ITU-T I.371's virtual scheduling algorithm: of each caller there is one number, when its
    bucket would be full again. Of one event loop; the callers that are longest away are forgotten, with full buckets.
    """

    def __init__(
        self, per_second: float | None, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """per_second: None is without limit."""
        self._interval = 1 / per_second if per_second else 0.0
        self._slack = (burst - 1) * self._interval
        self._clock = clock
        self._full_at: LRUCache[str, float] = LRUCache(_REMEMBERED)

    def charge(self, whose: str) -> None:
        """One request. Raises `TooManyRequests`, which says when the next may be made; a refused one costs nothing."""
        if not self._interval:
            return
        now = self._clock()
        full_at = max(now, self._full_at.get(whose, now))
        late = full_at - now - self._slack
        if late > 1e-9:
            error = TooManyRequests(f"more than {1 / self._interval:g} requests a second")
            error.retry_after = math.ceil(late)
            raise error
        self._full_at[whose] = full_at + self._interval


def charge(request: Request, whose: str | None = None) -> None:
    """A request of a key, or of its address. Raises `TooManyRequests`."""
    limit: RateLimit | None = request.scope.get(LIMIT)
    if limit is not None:
        limit.charge(whose or fair_queue.caller.get())
