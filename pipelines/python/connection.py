"""One application, many callers: work that runs on a loop of its own and is awaited, or waited for, from anywhere."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future
from contextlib import ExitStack
from typing import Any, Generic, TypeVar

from anyio.from_thread import start_blocking_portal
from tenacity import AsyncRetrying, retry_if_exception_type, stop_before_delay, wait_exponential

from prosopon.deployments.serving.calls import Overloaded

Result = TypeVar("Result")

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0


class Closed(RuntimeError):
    """The connection was closed: what it is asked for now would never be answered."""


class Answer(Generic[Result]):
    """What a call will give: ``answer.result()``, or ``await answer`` in any event loop."""

    def __init__(self, future: Future[Result]) -> None:
        self._future = future

    def __repr__(self) -> str:
        if not self._future.done():
            return "<Answer, under way: await it, or ask for its result()>"
        if self._future.cancelled():
            return "<Answer, cancelled>"
        error = self._future.exception()
        return f"<Answer, failed: {error!r}>" if error else f"<Answer: {self._future.result()!r}>"

    def __await__(self) -> Generator[Any, None, Result]:
        return asyncio.wrap_future(self._future).__await__()

    def result(self, timeout: float | None = None) -> Result:
        """Wait for it. timeout: seconds. Raises TimeoutError, and what the call raises."""
        return self._future.result(timeout)

    def done(self) -> bool:
        return self._future.done()

    def cancel(self) -> bool:
        """Let it go: what was asked for is not made, unless somebody else waits for it too."""
        return self._future.cancel()


class Loop:
    """An event loop in a thread, and a bound on what is under way in it.

    max_in_flight: calls at once; the others wait their turn. patience: seconds that a call tries again for while the
    application refuses it for being overloaded.
    """

    def __init__(self, max_in_flight: int, patience: float) -> None:
        self.max_in_flight = max_in_flight
        self._turns = asyncio.Semaphore(max_in_flight)
        self._patiently = AsyncRetrying(
            retry=retry_if_exception_type(Overloaded),
            stop=stop_before_delay(patience),
            wait=wait_exponential(_FIRST_PAUSE, max=_LONGEST_PAUSE),
            reraise=True,
        )
        self.closed = False
        self._closing = threading.Lock()
        self._running = ExitStack()
        self._loop = self._running.enter_context(start_blocking_portal(name="prosopon"))

    def submit(self, make: Callable[[], Coroutine[Any, Any, Result]]) -> Answer[Result]:
        """Run a coroutine, in its turn; `make` is called again where the application was overloaded. Raises
        `Closed`."""
        with self._closing:
            if self.closed:
                raise Closed("this connection is closed: connect again")
            return Answer(self._loop.start_task_soon(self._in_turn, make))

    def close(self) -> None:
        """End what is under way."""
        with self._closing:
            closed, self.closed = self.closed, True
        if not closed:
            self._loop.call(self._loop.stop, True)
            self._running.close()

    async def _in_turn(self, make: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        async def once() -> Result:  # tenacity awaits what is declared like this alone.
            return await make()

        async with self._turns:
            # A copy: one is of one call.
            return await self._patiently.copy()(once)
