"""Turns: one caller's flood is that caller's own."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from prosopon.configs.settings import DeploymentSettings
from prosopon.deployments.serving.calls import Overloaded
from prosopon.deployments.serving.fair_queue import FairQueue, caller


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 10))


class Crowd:
    """Callers at one queue; every work takes one turn of the loop unless it is held."""

    def __init__(self, queue: FairQueue) -> None:
        self.queue, self.served, self.refused = queue, [], []  # type: ignore[var-annotated]
        self.gate = asyncio.Event()

    async def one(self, whose: str) -> None:
        caller.set(whose)
        try:
            async with self.queue.turn():
                await self.gate.wait()
                self.served.append(whose)
        except Overloaded as error:
            assert error.retry_after == 7
            self.refused.append(whose)

    def come(self, *callers: str) -> "list[asyncio.Task[None]]":
        return [asyncio.create_task(self.one(whose)) for whose in callers]


def test_callers_take_turns() -> None:
    async def work() -> None:
        crowd = Crowd(FairQueue(1, 100, "wait", 7))
        tasks = crowd.come(*"aaaaa", *"b", *"cc")
        await asyncio.sleep(0)
        crowd.gate.set()
        await asyncio.gather(*tasks)
        assert "".join(crowd.served) == "aabcaca" + "a"

    run(work())


def test_a_full_queue_makes_room_for_who_has_less() -> None:
    async def work() -> None:
        crowd = Crowd(FairQueue(1, 4, "wait", 7))
        tasks = crowd.come(*"aaaaa")  # one has the place, four wait
        await asyncio.sleep(0)
        tasks += crowd.come(*"ab")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert crowd.refused == ["a", "a"]  # the one that came, and the newest that waited, for b
        crowd.gate.set()
        await asyncio.gather(*tasks)
        assert "".join(crowd.served) == "aabaa"

    run(work())


def test_who_goes_away_leaves_no_gap() -> None:
    async def work() -> None:
        crowd = Crowd(FairQueue(1, 10, "wait", 7))
        first, second, third = crowd.come(*"abc")
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0)
        first.cancel()  # while it has the place
        await asyncio.sleep(0)
        crowd.gate.set()
        await third
        assert crowd.served == ["c"]
        # A place that was given and not taken goes on.
        crowd.gate.clear()
        holder, taken, last = crowd.come(*"abc")
        await asyncio.sleep(0)
        crowd.gate.set()
        await holder
        taken.cancel()
        await last
        assert crowd.served == ["c", "a", "c"] or crowd.served == ["c", "a", "b", "c"]
        async with crowd.queue.turn():
            pass

    run(work())


@pytest.mark.parametrize("running", [1, 3, 16])
def test_never_more_than_the_places_run_and_all_are_served(running: int) -> None:
    async def work() -> None:
        queue = FairQueue(running, 1000, "wait")
        now = most = done = 0

        async def one(number: int) -> None:
            nonlocal now, most, done
            caller.set(str(number % 7))
            async with queue.turn():
                now += 1
                most = max(most, now)
                await asyncio.sleep(0.001 * (number % 3))
                now -= 1
                done += 1

        await asyncio.gather(*(one(number) for number in range(200)))
        assert (most, done, now) == (running, 200, 0)

    run(work())


def test_a_deployments_queue_has_room_for_as_many_as_the_deployment_takes() -> None:
    async def work() -> None:
        resources = DeploymentSettings(max_ongoing_requests=80, max_queued_requests=64)
        crowd = Crowd(FairQueue.of(resources, "wait", 7))
        tasks = crowd.come(*("a" * 150))
        await asyncio.sleep(0)
        crowd.gate.set()
        await asyncio.gather(*tasks)
        assert (len(crowd.served), len(crowd.refused)) == (144, 6)

    run(work())


def test_a_deployment_for_which_any_number_may_wait_refuses_none() -> None:
    async def work() -> None:
        resources = DeploymentSettings(max_ongoing_requests=1, max_queued_requests=-1)
        crowd = Crowd(FairQueue.of(resources, "wait", 7))
        tasks = crowd.come(*("a" * 500))
        await asyncio.sleep(0)
        crowd.gate.set()
        await asyncio.gather(*tasks)
        assert (len(crowd.served), crowd.refused) == (500, [])

    run(work())
