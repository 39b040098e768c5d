"""Enrollments and collections: all or nothing, one tenant apart from another, and training that is due."""

import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import numpy as np
import pytest

from prosopon.configs.settings import StateSettings
from prosopon.deployments.state.blobs import Blob
from prosopon.deployments.state.errors import (
    BlobMissing,
    CollectionEmpty,
    CollectionNotFound,
    CollectionUntrained,
    EnrollmentNotFound,
    InvalidEmbedding,
)
from prosopon.deployments.state.galleries import collections as collection_store
from prosopon.deployments.state.galleries.collections import CollectionStore
from prosopon.deployments.state.galleries.enrollments import EnrolledPicture, EnrollmentStore, gallery_of
from prosopon.deployments.state.galleries.store import GalleryStore
from prosopon.deployments.state.spoof_checks import SpoofChecks
from prosopon.models.faces.detections import Float32
from tests.support.killed import KILLS, said_until_killed
from tests.unit.test_galleries import check_agreement, settle

DIM = 16
MODEL = "model-1"


@dataclass
class State:
    """One tenant's view of a store."""

    store: GalleryStore
    tenant: int

    def __post_init__(self) -> None:
        self.enrollments = EnrollmentStore(self.store)
        self.collections = CollectionStore(self.store.records, self.store.blobs)
        self.gallery = gallery_of(self.store.records, self.tenant)

    def enroll(self, *embeddings: Float32, name: str | None = None, collection: UUID | None = None) -> UUID:
        enrollment = uuid4()
        self.enrollments.enroll(self.tenant, enrollment, name, collection, pictures(*embeddings))
        return enrollment

    def collection(self, *members: UUID, unknowns: bool = False) -> UUID:
        made = uuid4()
        self.collections.create(self.gallery, made, "Home", unknowns)
        for member in members:
            self.collections.add(self.gallery, made, member)
        return made


@pytest.fixture
def store(tmp_path: Path) -> Iterator[GalleryStore]:
    opened = GalleryStore(StateSettings(home=tmp_path), MODEL, DIM)
    yield opened
    opened.close()


def tenant(store: GalleryStore, name: str) -> State:
    with store.records.write() as db:
        made = store.records.ensure_tenant(db, name)
    return State(store, made)


@pytest.fixture
def state(store: GalleryStore) -> State:
    return tenant(store, "acme")


def embedding(seed: int) -> Float32:
    vector = np.random.default_rng(seed).standard_normal(DIM)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def pictures(*embeddings: Float32) -> list[EnrolledPicture]:
    return [EnrolledPicture(uuid4(), found, Blob(found.tobytes(), "image/jpeg")) for found in embeddings]


def test_embeddings_come_back_in_the_order_of_enrollment(state: State) -> None:
    enrolled = state.enroll(embedding(0), embedding(1))
    state.enrollments.add_pictures(state.tenant, enrolled, pictures(embedding(2)))
    found = state.enrollments.embeddings(state.tenant, enrolled)
    np.testing.assert_allclose(found, [embedding(0), embedding(1), embedding(2)], atol=1e-6)
    settle(state.store)
    check_agreement(state.store)


def test_one_picture_that_cannot_be_enrolled_keeps_all_of_them_out(state: State) -> None:
    collection, broken = state.collection(), np.full(DIM, np.nan, np.float32)
    with pytest.raises(InvalidEmbedding):
        state.enroll(embedding(0), broken, collection=collection)
    with pytest.raises(CollectionNotFound):
        state.enroll(embedding(0), collection=uuid4())
    assert state.store.subjects(state.gallery) == []
    assert state.collections.list(state.gallery)[0].members == ()
    settle(state.store)
    check_agreement(state.store)


def test_a_repeated_call_enrolls_nobody_twice(state: State) -> None:
    enrolled, shots, collection = uuid4(), pictures(embedding(0), embedding(1)), state.collection()
    for _ in range(2):
        state.enrollments.enroll(state.tenant, enrolled, "Ann", collection, shots)
    assert len(state.enrollments.embeddings(state.tenant, enrolled)) == 2
    assert state.collections.list(state.gallery)[0].members == (enrolled,)


def test_deleting_an_enrollment_takes_pictures_vectors_and_every_membership(state: State) -> None:
    gone, stays = state.enroll(embedding(0)), state.enroll(embedding(1))
    for _ in range(2):
        state.collection(gone, stays)
    state.enrollments.delete(state.tenant, gone)
    assert [found.members for found in state.collections.list(state.gallery)] == [(stays,), (stays,)]
    with pytest.raises(EnrollmentNotFound):
        state.enrollments.embeddings(state.tenant, gone)
    with pytest.raises(EnrollmentNotFound):
        state.enrollments.delete(state.tenant, gone)
    with pytest.raises(EnrollmentNotFound):
        state.enrollments.add_pictures(state.tenant, gone, pictures(embedding(2)))
    assert state.store.list_faces(state.gallery).total == 1
    settle(state.store)
    check_agreement(state.store)


def test_another_tenants_things_do_not_exist(store: GalleryStore, state: State) -> None:
    enrolled = state.enroll(embedding(0))
    collection = state.collection(enrolled)
    other = tenant(store, "other")
    own = other.enroll(embedding(1))
    for call in (
        lambda: other.enrollments.embeddings(other.tenant, enrolled),
        lambda: other.enrollments.delete(other.tenant, enrolled),
        lambda: other.collections.add(other.gallery, other.collection(), enrolled),
    ):
        with pytest.raises(EnrollmentNotFound):
            call()
    for call in (
        lambda: other.enroll(embedding(2), collection=collection),
        lambda: other.collections.add(other.gallery, collection, own),
        lambda: other.collections.delete(other.gallery, collection),
        lambda: other.collections.request_training(other.gallery, collection),
        lambda: other.collections.classifier(other.gallery, collection, MODEL),
    ):
        with pytest.raises(CollectionNotFound):
            call()
    assert [found.members for found in state.collections.list(state.gallery)] == [(enrolled,)]


def train(state: State, content: bytes = b"classifier", cohort: str | None = None) -> UUID:
    """What a trainer does; the collection it was due for."""
    due = state.collections.claim(MODEL, cohort)
    assert due is not None
    assert state.collections.publish(due, content, MODEL, cohort if due.unknowns else None)
    return due.collection


def test_training_is_due_after_every_change_and_only_then(state: State) -> None:
    enrolled = state.enroll(embedding(0), embedding(1))
    collection = state.collection()
    with pytest.raises(CollectionEmpty):
        state.collections.request_training(state.gallery, collection)
    assert state.collections.claim(MODEL, None) is None

    def add_member() -> None:
        state.collections.add(state.gallery, collection, enrolled)

    def enroll_into() -> None:
        state.enroll(embedding(2), collection=collection)

    def add_picture() -> None:
        state.enrollments.add_pictures(state.tenant, enrolled, pictures(embedding(3)))

    def delete_member() -> None:
        state.enrollments.delete(state.tenant, enrolled)

    def ask() -> None:
        state.collections.request_training(state.gallery, collection)

    for change in (add_member, enroll_into, add_picture, ask, delete_member):
        change()
        assert train(state) == collection
        assert state.collections.claim(MODEL, None) is None
    assert state.collections.claim("model-2", None) is None, "no face of the new embedder yet"


def test_a_training_set_has_every_embedding_of_every_member(state: State) -> None:
    first, second = state.enroll(embedding(0), embedding(1)), state.enroll(embedding(2))
    state.enroll(embedding(3))
    state.collection(second, first)
    due = state.collections.claim(MODEL, None)
    assert due is not None and due.labels == (second, first, first)
    np.testing.assert_allclose(due.embeddings, [embedding(2), embedding(0), embedding(1)], atol=1e-6)


def test_strangers_that_are_new_make_only_collections_with_unknowns_due(state: State) -> None:
    enrolled = state.enroll(embedding(0))
    state.collection(enrolled)
    with_unknowns = state.collection(enrolled, unknowns=True)
    train(state)
    train(state)
    assert state.collections.claim(MODEL, None) is None
    assert train(state, cohort="strangers-1") == with_unknowns
    assert state.collections.claim(MODEL, "strangers-1") is None
    assert train(state, cohort="strangers-2") == with_unknowns


def test_strangers_are_wanted_only_where_a_trained_collection_lacks_them(state: State) -> None:
    enrolled = state.enroll(embedding(0))
    state.collection(enrolled)
    train(state)
    assert not state.collections.lacks_strangers()
    state.collection(enrolled, unknowns=True)
    assert not state.collections.lacks_strangers(), "nothing was trained yet"
    train(state)
    assert state.collections.lacks_strangers()
    train(state, cohort="strangers")
    assert not state.collections.lacks_strangers()


def test_one_trainer_at_a_time_until_it_is_given_up(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection_store, "CLAIM_SECONDS", 0.3)
    state.collection(state.enroll(embedding(0)))
    first = state.collections.claim(MODEL, None)
    assert first is not None and state.collections.claim(MODEL, None) is None
    time.sleep(0.35)
    second = state.collections.claim(MODEL, None)
    assert second is not None
    assert state.collections.publish(second, b"second", MODEL, None)
    assert state.collections.publish(first, b"first", MODEL, None), "the same revision: either may serve"


def test_a_classifier_of_an_older_revision_never_replaces_a_newer_one(state: State) -> None:
    enrolled = state.enroll(embedding(0))
    collection = state.collection(enrolled)
    late = state.collections.claim(MODEL, None)
    assert late is not None
    state.enrollments.add_pictures(state.tenant, enrolled, pictures(embedding(1)))
    with state.store.records.write() as db:
        db.execute(collection_store._collections.update().values(claimed=collection_store.now()))
    train(state, b"newer")
    assert not state.collections.publish(late, b"older", MODEL, None)
    serving = state.collections.classifier(state.gallery, collection, MODEL)
    assert state.collections.read_classifier(serving) == b"newer"
    assert state.store.blobs.files() >= {serving} and Blob(b"older").sha256 not in state.store.blobs.files()


def test_classifiers_are_swapped_whole_and_go_with_their_collection(state: State) -> None:
    enrolled = state.enroll(embedding(0))
    collection = state.collection(enrolled)
    with pytest.raises(CollectionUntrained):
        state.collections.classifier(state.gallery, collection, MODEL)
    train(state, b"one")
    first = state.collections.classifier(state.gallery, collection, MODEL)
    state.collections.request_training(state.gallery, collection)
    assert state.collections.classifier(state.gallery, collection, MODEL) == first
    train(state, b"two")
    second = state.collections.classifier(state.gallery, collection, MODEL)
    assert state.collections.read_classifier(second) == b"two"
    with pytest.raises(BlobMissing):
        state.collections.read_classifier(first)
    with pytest.raises(CollectionUntrained):
        state.collections.classifier(state.gallery, collection, "another model")
    state.collections.delete(state.gallery, collection)
    with pytest.raises(CollectionNotFound):
        state.collections.classifier(state.gallery, collection, MODEL)
    assert second not in state.store.blobs.files()


def test_a_collection_that_lost_its_last_member_loses_its_classifier(state: State) -> None:
    enrolled = state.enroll(embedding(0))
    collection = state.collection(enrolled)
    train(state)
    state.enrollments.delete(state.tenant, enrolled)
    assert state.collections.claim(MODEL, None) is None
    with pytest.raises(CollectionUntrained):
        state.collections.classifier(state.gallery, collection, MODEL)
    settle(state.store)
    check_agreement(state.store)


def test_names_are_those_of_present_members(state: State) -> None:
    ann, ben = state.enroll(embedding(0), name="Ann"), state.enroll(embedding(1), name="Ben")
    nameless, outside = state.enroll(embedding(2)), state.enroll(embedding(3), name="Eve")
    collection = state.collection(ann, ben, nameless)
    state.enrollments.delete(state.tenant, ben)
    asked = [ann, ben, nameless, outside, uuid4()]
    assert state.collections.names(collection, asked) == {ann: "Ann", nameless: None}


def test_spoof_checks_are_their_tenants(store: GalleryStore) -> None:
    ours, theirs = tenant(store, "acme").tenant, tenant(store, "other").tenant
    checks, key = SpoofChecks(store.records), uuid4()
    checks.add(ours, key, 0.25, "minifasnet")
    assert checks.live(ours, key) == 0.25
    assert checks.live(theirs, key) is None and checks.live(ours, uuid4()) is None


_ENROLLING = """
import json, sys, uuid
import numpy as np
from prosopon.configs.settings import StateSettings
from prosopon.deployments.state.galleries.store import GalleryStore
from tests.unit.test_enrollments import MODEL, State, embedding
store = GalleryStore(StateSettings(home=sys.argv[1]), MODEL, 16)
state = State(store, int(sys.argv[2]))
collection = uuid.UUID(sys.argv[3])
print("ready", flush=True)
seed = int(sys.argv[4])
while True:
    seed += 3
    made = state.enroll(*(embedding(seed + i) for i in range(3)), name=str(seed), collection=collection)
    print(json.dumps({"id": str(made), "seed": seed}), flush=True)
"""


@pytest.mark.slow
def test_enrollments_survive_kill_9_whole(tmp_path: Path) -> None:
    home = StateSettings(home=tmp_path)
    store = GalleryStore(home, MODEL, DIM)
    state = tenant(store, "acme")
    collection = state.collection()
    store.close()
    acknowledged: dict[UUID, int] = {}
    pick = random.Random(3)
    for turn in range(KILLS):
        arguments = [str(tmp_path), str(state.tenant), str(collection), str(turn * 100_000)]
        for line in said_until_killed(_ENROLLING, arguments, 3, pick.uniform(0.1, 0.4)):
            told = json.loads(line)
            acknowledged[UUID(told["id"])] = told["seed"]
    store = GalleryStore(home, MODEL, DIM)
    try:
        state = State(store, state.tenant)
        settle(store)
        check_agreement(store)
        (found,) = state.collections.list(state.gallery)
        assert len(acknowledged) > 15 and set(acknowledged) <= set(found.members)
        assert sorted(store.subjects(state.gallery)) == sorted(str(member) for member in found.members)
        for member in found.members:
            kept = state.enrollments.embeddings(state.tenant, member)
            assert len(kept) == 3, "all pictures of an enrollment or none"
            if member in acknowledged:
                expected = [embedding(acknowledged[member] + i) for i in range(3)]
                np.testing.assert_allclose(kept, expected, atol=1e-6)
    finally:
        store.close()
