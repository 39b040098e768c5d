"""A lease is renewed while the work goes on, and no longer."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import pytest

from prosopon.deployments.serving.renewal import renewed


def renewals(outcomes: list[bool | Exception]) -> tuple[list[int], Callable[[], Awaitable[bool]]]:
    """Which renewals there were, and what makes them: each with its outcome, the last for ever."""
    made: list[int] = []

    async def renew() -> bool:
        made.append(len(made))
        outcome = outcomes[min(len(made), len(outcomes)) - 1]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return made, renew


def test_it_is_renewed_three_times_in_a_lease_until_the_work_ends() -> None:
    made, renew = renewals([True])

    async def work() -> tuple[float, int]:
        began, enough = time.monotonic(), asyncio.Event()

        async def counted() -> bool:
            if len(made) == 5:
                enough.set()
            return await renew()

        async with renewed(counted, 0.3):
            await enough.wait()
        took, ended = time.monotonic() - began, len(made)
        await asyncio.sleep(0.3)
        return took, ended

    took, ended = asyncio.run(asyncio.wait_for(work(), 60))
    assert took > 0.55, "six times in two leases, and no more often"
    assert len(made) == ended


def test_a_renewal_that_fails_is_logged_and_the_next_may_succeed(caplog: pytest.LogCaptureFixture) -> None:
    made, renew = renewals([OSError("the database is away"), True, True, False])

    async def work() -> None:
        async with renewed(renew, 0.06) as keeping:
            await keeping

    with caplog.at_level(logging.ERROR, "ray.serve"):
        asyncio.run(work())
    assert len(made) == 4 and caplog.text.count("the database is away") == 1


def test_who_loses_the_lease_is_told_once() -> None:
    made, renew = renewals([True, False])
    told: list[int] = []

    async def work() -> bool:
        async with renewed(renew, 0.06, lambda: told.append(len(made))) as keeping:
            await keeping
            await asyncio.sleep(0.1)
            return keeping.done()

    assert asyncio.run(work())
    assert told == [2] and made == [0, 1]
