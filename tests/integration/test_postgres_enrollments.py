"""Enrollments and collections on a real PostgreSQL: what the unit tests promise, and several trainers at once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from prosopon.deployments.state.galleries.collections import TrainingSet
from prosopon.deployments.state.galleries.store import GalleryStore
from tests.integration.test_postgres import server, store, url
from tests.unit import test_enrollments as on_sqlite
from tests.unit.test_enrollments import MODEL, State, embedding, tenant

__all__ = ["server", "store", "url"]  # fixtures


@pytest.fixture
def state(store: GalleryStore) -> State:
    return tenant(store, "acme")


@pytest.mark.parametrize(
    "promise",
    [
        on_sqlite.test_embeddings_come_back_in_the_order_of_enrollment,
        on_sqlite.test_one_picture_that_cannot_be_enrolled_keeps_all_of_them_out,
        on_sqlite.test_a_repeated_call_enrolls_nobody_twice,
        on_sqlite.test_deleting_an_enrollment_takes_pictures_vectors_and_every_membership,
        on_sqlite.test_training_is_due_after_every_change_and_only_then,
        on_sqlite.test_strangers_that_are_new_make_only_collections_with_unknowns_due,
        on_sqlite.test_a_classifier_of_an_older_revision_never_replaces_a_newer_one,
        on_sqlite.test_classifiers_are_swapped_whole_and_go_with_their_collection,
        on_sqlite.test_a_collection_that_lost_its_last_member_loses_its_classifier,
    ],
    ids=lambda promise: promise.__name__.removeprefix("test_"),
)
def test_it_holds_what_sqlite_does(promise, state: State) -> None:  # type: ignore[no-untyped-def]
    promise(state)


def test_trainers_share_the_collections(state: State) -> None:
    enrolled = state.enroll(embedding(0))
    made = {state.collection(enrolled) for _ in range(20)}

    def train(_: int) -> list[TrainingSet]:
        mine = []
        while due := state.collections.claim(MODEL, None):
            assert state.collections.publish(due, b"classifier", MODEL, None)
            mine.append(due)
        return mine

    with ThreadPoolExecutor(4) as pool:
        trained = [due.collection for part in pool.map(train, range(4)) for due in part]
    assert sorted(trained) == sorted(made), "every collection once"
