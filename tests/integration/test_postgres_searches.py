"""Searches on a real PostgreSQL: what the unit tests promise of credits and claims."""

from collections.abc import Callable
from pathlib import Path

import pytest

from prosopon.deployments.state.blobs import BlobStore
from prosopon.deployments.state.database import Records
from tests.integration.test_postgres import server, url
from tests.unit import test_searches as on_sqlite
from tests.unit.test_searches import State

__all__ = ["server", "url"]  # fixtures


@pytest.fixture
def state(url: str, tmp_path: Path) -> State:
    records = Records(url)
    return State(records, BlobStore(records, f"file://{tmp_path / 'blobs'}"))


@pytest.mark.parametrize(
    "promise",
    [
        on_sqlite.test_a_search_from_upload_to_output,
        on_sqlite.test_a_failed_search_is_not_charged_says_why_once_and_can_be_started_again,
        on_sqlite.test_an_interrupted_search_is_taken_up_by_one_and_charged_once,
        on_sqlite.test_a_search_that_is_interrupted_again_and_again_is_given_up_and_not_charged,
        on_sqlite.test_a_search_belongs_to_the_tenant,
        on_sqlite.test_a_deleted_picture_is_gone_and_cannot_be_deleted_twice,
        on_sqlite.test_what_has_expired_is_not_found_and_leaves_nothing_behind,
    ],
)
def test_as_on_sqlite(promise: Callable[[State], None], state: State) -> None:
    promise(state)


@pytest.mark.parametrize("same", [False, True], ids=["of a hundred searches", "of one search"])
def test_concurrent_starts_charge_each_search_once(state: State, same: bool) -> None:
    on_sqlite.test_concurrent_starts_charge_each_search_once(state, same)
