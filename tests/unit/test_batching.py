"""What need not wait is not put into a queue."""

import asyncio
import threading
from collections.abc import Callable, Sequence

import pytest

from prosopon.configs.settings import DeploymentSettings
from prosopon.deployments.serving.batching import Batched
from prosopon.models.runtime.occupancy import Occupancy


@pytest.mark.parametrize(
    "settings",
    [
        DeploymentSettings(max_batch_size=4, concurrent_batches=2),  # A thread for each of the two.
        DeploymentSettings(max_batch_size=1),
    ],
)
def test_nothing_is_gathered_that_need_not_wait(settings: DeploymentSettings) -> None:
    both = threading.Barrier(settings.concurrent_batches)

    def sizes(items: list[int]) -> list[int]:
        both.wait(timeout=10)
        return [len(items)] * len(items)

    async def ask() -> list[int]:
        batched = Batched("test", sizes, settings)
        return list(await asyncio.gather(batched(1), batched(2)))

    assert asyncio.run(ask()) == [1, 1]


def test_a_batch_knows_whether_it_is_alone() -> None:
    both, occupancy = threading.Barrier(2), Occupancy()

    def beside_another(items: list[bool]) -> list[bool]:
        if not items[0]:
            return [occupancy.alone]
        both.wait(timeout=10)
        found = occupancy.alone
        both.wait(timeout=10)
        return [found]

    async def ask() -> list[bool]:
        settings = DeploymentSettings(max_batch_size=1, concurrent_batches=2)
        batched = Batched("test", beside_another, settings, occupancy=occupancy)
        together = await asyncio.gather(batched(True), batched(True))
        return [await batched(False), *together]

    assert asyncio.run(ask()) == [True, False, False]


class Slow:
    """Notes each batch, of which the first does not end before it is told to."""

    def __init__(self) -> None:
        self.began, self.end = threading.Event(), threading.Event()
        self.batches: list[list[int]] = []

    def __call__(self, items: list[int]) -> list[int]:
        self.batches.append(items)
        self.began.set()
        assert self.end.wait(timeout=10)
        return [10 * item for item in items]


async def asked_while_busy(
    slow: Slow,
    settings: DeploymentSettings,
    items: Sequence[int],
    size: Callable[[int], int] = lambda item: 1,
) -> list["asyncio.Task[int]"]:
    """Tasks of the items, the first of which has a thread and keeps it."""
    batched = Batched("test", slow, settings, size)

    async def ask(item: int) -> int:
        return await batched(item)

    first = asyncio.create_task(ask(items[0]))
    await asyncio.to_thread(slow.began.wait, 10)
    others = [asyncio.create_task(ask(item)) for item in items[1:]]
    await asyncio.sleep(0.05)
    return [first, *others]


@pytest.mark.parametrize(
    ("most", "batches"),
    [(64, [[1], [2, 3, 4, 5, 6]]), (2, [[1], [2, 3], [4, 5], [6]]), (1, [[i] for i in range(1, 7)])],
)
def test_what_waits_for_a_thread_is_its_next_batch(most: int, batches: list[list[int]]) -> None:
    async def ask() -> list[int]:
        tasks = await asked_while_busy(slow, DeploymentSettings(max_batch_size=most), range(1, 7))
        slow.end.set()
        return list(await asyncio.gather(*tasks))

    slow = Slow()
    assert asyncio.run(ask()) == [10, 20, 30, 40, 50, 60]
    assert slow.batches == batches


def test_an_item_larger_than_a_batch_is_one_alone() -> None:
    async def ask() -> None:
        settings = DeploymentSettings(max_batch_size=10)
        tasks = await asked_while_busy(slow, settings, [1, 3, 4, 50, 2, 8], lambda item: item)
        slow.end.set()
        await asyncio.gather(*tasks)

    slow = Slow()
    asyncio.run(ask())
    assert slow.batches == [[1], [3, 4], [50], [2, 8]]


def test_what_nobody_waits_for_any_more_is_left_out() -> None:
    async def ask() -> list[int]:
        tasks = await asked_while_busy(slow, DeploymentSettings(max_batch_size=8), range(1, 5))
        tasks[2].cancel()
        await asyncio.sleep(0)
        slow.end.set()
        return [await task for task in tasks if task is not tasks[2]]

    slow = Slow()
    assert asyncio.run(ask()) == [10, 20, 40]
    assert slow.batches == [[1], [2, 4]]


def test_a_batch_that_may_wait_is_filled() -> None:
    sizes = []

    def note(items: list[int]) -> list[int]:
        sizes.append(len(items))
        return items

    async def ask() -> None:
        batched = Batched("test", note, DeploymentSettings(max_batch_size=3, batch_wait_ms=200))
        await asyncio.gather(*map(batched, range(5)))

    asyncio.run(ask())
    assert sizes == [3, 2]


def test_a_failure_does_not_cost_a_thread() -> None:
    def fail_first(items: list[int]) -> list[int]:
        if items == [0]:
            raise ValueError("the first")
        return items

    async def ask() -> list[int]:
        batched = Batched("test", fail_first, DeploymentSettings(max_batch_size=4))
        with pytest.raises(ValueError, match="the first"):
            await batched(0)
        return [await batched(number) for number in range(1, 4)]

    assert asyncio.run(ask()) == [1, 2, 3]
