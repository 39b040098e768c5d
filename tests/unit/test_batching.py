"""What need not wait is not put into a queue."""

import asyncio
import threading

import pytest

from prosopon.configs.settings import DeploymentSettings
from prosopon.deployments.serving.batching import Batched


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
