"""Doing a job that was taken: kept while the work goes on, tried again where that may help, failed where it does not.

What a job is stands in the records (`state.jobs.jobs`). What is done with it is a function, and what its errors mean is
another.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, TypeVar

from prosopon.deployments.serving.renewal import renewed

logger = logging.getLogger("ray.serve")

_PAUSE = timedelta(seconds=2)
_JITTER = 0.2

Job_contra = TypeVar("Job_contra", contravariant=True)
Job = TypeVar("Job", bound="Attempt")


class Attempt(Protocol):
    """attempt: how often the job was taken, this time included."""

    @property
    def attempt(self) -> int: ...


class Ledger(Protocol[Job_contra]):
    """Where jobs are on record: `Jobs`, or what stands on it. Everything waits for the records."""

    def renew(self, job: Job_contra) -> bool: ...

    def postpone(self, job: Job_contra, pause: timedelta, *, message: str) -> object: ...

    def fail(self, job: Job_contra, *, message: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Failure:
    """What an error means. message: fit for who gave the job; attempts: how many a job that fails like this has."""

    message: str
    attempts: int = 1


async def see_through(
    job: Job,
    ledger: Ledger[Job],
    work: Callable[[Job], Awaitable[bool]],
    failure: Callable[[Exception], Failure],
    lease_seconds: float,
) -> bool:
    """Whether the job has ended. `work` ends it, and says whether it did.

    An error of the work postpones the job, for longer each time, or fails it. Where another has taken the job over the
    work is cancelled; where this is cancelled, whoever cancelled it sees to the job.
    """

    async def attempt() -> bool:
        try:
            return await work(job)
        except Exception as error:
            meant = failure(error)
            if job.attempt >= meant.attempts:
                return await asyncio.to_thread(ledger.fail, job, message=meant.message)
            pause = _PAUSE * 2 ** (job.attempt - 1) * random.uniform(1 - _JITTER, 1 + _JITTER)
            await asyncio.to_thread(ledger.postpone, job, pause, message=meant.message)
            return False

    working = asyncio.create_task(attempt())
    try:
        async with renewed(
            lambda: asyncio.to_thread(ledger.renew, job), lease_seconds, working.cancel
        ) as renewal:
            return await working
    except asyncio.CancelledError:
        if not renewal.done():
            working.cancel()
            raise
        logger.warning("a job was taken over by another worker: %s", job)
        return False
