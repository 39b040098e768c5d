"""One application, many callers: work that runs on a loop of its own and is awaited, or waited for, from anywhere."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

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
        self.max_in_flight, self._patience = max_in_flight, patience
        self._turns = asyncio.Semaphore(max_in_flight)
        self.closed = False
        self._closing = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="prosopon", daemon=True)
        self._thread.start()

    def submit(self, make: Callable[[], Coroutine[Any, Any, Result]]) -> Answer[Result]:
        """Run a coroutine, in its turn; `make` is called again where the application was overloaded. Raises
        `Closed`."""
        with self._closing:
            if self.closed:
                raise Closed("this connection is closed: connect again")
            return Answer(asyncio.run_coroutine_threadsafe(self._in_turn(make), self._loop))

    def close(self) -> None:
        """End what is under way."""
        with self._closing:
            closed, self.closed = self.closed, True
        if not closed:
            asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop).result(10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)

    async def _in_turn(self, make: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        async with self._turns:
            deadline, pause = self._loop.time() + self._patience, _FIRST_PAUSE
            while True:
                try:
                    return await make()
                except Overloaded:
                    if self._loop.time() + pause > deadline:
                        raise
                await asyncio.sleep(pause)
                pause = min(_LONGEST_PAUSE, 2 * pause)


async def _cancel_all() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
