"""Tasks and webhooks on a real PostgreSQL: what the unit tests promise, with several workers and couriers at once."""

from pathlib import Path

import pytest

from prosopon.deployments.state.database import Records
from tests.integration.test_postgres import server, url
from tests.unit import test_tasks as on_sqlite
from tests.unit.test_tasks import State, state_over

__all__ = ["server", "url"]  # fixtures


@pytest.fixture
def state(url: str, tmp_path: Path) -> State:
    return state_over(Records(url), tmp_path)


@pytest.mark.parametrize(
    "promise",
    [promise for name, promise in vars(on_sqlite).items() if name.startswith("test_")],
    ids=lambda promise: promise.__name__.removeprefix("test_"),
)
def test_it_holds_what_sqlite_does(promise, state: State) -> None:  # type: ignore[no-untyped-def]
    promise(state)
