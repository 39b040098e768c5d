"""What integration tests share."""

from collections.abc import Iterator

import pytest

from tests.benchmarks.elasticity import Observer
from tests.benchmarks.serving import Server


@pytest.fixture(scope="module")
def observer(server: Server) -> Iterator[Observer]:
    """Of the module's server."""
    with Observer(server.home) as watching:
        yield watching
