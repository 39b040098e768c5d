"""Copies of galleries: as new as what was acknowledged, and given up where that cannot be known.

That they answer as the store does after any change is part of `test_galleries.py`.
"""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch
from uuid import UUID, uuid4

import numpy as np
import pytest

from prosopon.configs.settings import StateSettings
from prosopon.deployments.state.errors import InvalidEmbedding
from prosopon.deployments.state.galleries import copies
from prosopon.deployments.state.galleries.faces import FaceRecord, NewFace, Query
from prosopon.deployments.state.galleries.store import GalleryStore
from prosopon.deployments.state.keys import KeyStore
from prosopon.models.faces.detections import Float32
from tests.support.copied_galleries import Copied

DIM = 16


@pytest.fixture
def store(tmp_path: Path) -> Iterator[GalleryStore]:
    store = GalleryStore(StateSettings(home=tmp_path), "model-1", DIM)
    yield store
    store.close()


@pytest.fixture
def gallery(store: GalleryStore) -> int:
    return KeyStore(store.records).create("test", ["recognition"])[0].gallery


def enrol(store: GalleryStore, gallery: int, embedding: Float32, name: str = "Ann") -> UUID:
    image_id = uuid4()
    (record,) = store.add_faces([NewFace(gallery, name, image_id, embedding)])
    assert isinstance(record, FaceRecord)
    return image_id


def found(answer: object) -> list[UUID]:
    """Of the one query."""
    assert isinstance(answer, list) and isinstance(answer[0], list)
    return [match.image_id for match in answer[0]]


def test_whoever_was_told_of_an_enrolment_finds_it(store: GalleryStore, gallery: int, tmp_path: Path) -> None:
    """While others enrol and delete all the time: nothing acknowledged is missing, nothing deleted is found."""
    copied = Copied(StateSettings(home=tmp_path).versions, lambda: store)
    enrolled: list[tuple[UUID, Float32]] = []
    deleted: list[tuple[UUID, Float32]] = []
    done = threading.Event()

    def write() -> None:
        rng = np.random.default_rng(0)
        for number in range(40):
            stays, goes = rng.standard_normal((2, DIM)).astype(np.float32)
            enrolled.append((enrol(store, gallery, stays, f"stays {number}"), stays))
            gone = enrol(store, gallery, goes, f"goes {number}")
            time.sleep(0.03)
            store.delete_faces(gallery, [gone])
            deleted.append((gone, goes))
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    here = asked = 0
    with patch.object(copies, "_QUIET_SECONDS", 0):
        while not done.is_set():
            for known, there in ((enrolled[-1:], True), (deleted[-1:], False)):
                for image_id, embedding in known:
                    answer = copied.search([Query(gallery, embedding, 1, "face")])
                    here, asked = here + (answer is not None), asked + (answer is None)
                    assert answer is None or (image_id in found(answer)) == there
    writer.join()
    assert here > 40 and asked > 40


def test_copies_are_given_up_with_their_writer(tmp_path: Path) -> None:
    settings = StateSettings(home=tmp_path)
    stores = [GalleryStore(settings, "model-1", DIM)]
    gallery = KeyStore(stores[0].records).create("test", ["recognition"])[0].gallery
    copied, probe = Copied(settings.versions, lambda: stores[-1]), np.ones(DIM, np.float32)
    first = enrol(stores[0], gallery, probe)
    queries = [Query(gallery, probe, 5, "face")]
    assert found(copied.renewed(queries)) == [first]
    stores[0].close()
    stores.append(GalleryStore(settings, "model-1", DIM))
    assert copied.search(queries) is None
    assert found(copied.renewed(queries)) == [first]
    # Another writer after the state was removed, and put back from a copy, under readers that go on.
    settings.versions.unlink()
    assert copied.search(queries) is None
    stores[1].close()
    stores.append(GalleryStore(settings, "model-1", DIM))
    second = enrol(stores[2], gallery, 2 * probe)
    assert sorted(found(copied.renewed(queries))) == sorted([first, second])
    # A machine that was started again, or another machine that the folder is mounted in.
    with settings.versions.open("r+b") as file:
        file.write(b"\1" * 8)
    assert copied.search(queries) is None and copied.renewed(queries) is None
    stores[2].close()


def test_large_galleries_are_not_copied(store: GalleryStore, gallery: int, tmp_path: Path) -> None:
    copied = Copied(StateSettings(home=tmp_path).versions, lambda: store, most_faces=2)
    embeddings = np.eye(3, DIM, dtype=np.float32)
    ids = [enrol(store, gallery, embedding) for embedding in embeddings[:2]]
    queries = [Query(gallery, embeddings[1], 1)]
    assert found(copied.renewed(queries)) == [ids[1]]
    enrol(store, gallery, embeddings[2])
    assert copied.renewed(queries) is None
    store.delete_faces(gallery, ids[:1])
    assert found(copied.renewed(queries)) == [ids[1]]


def test_galleries_are_not_taken_for_one_another(store: GalleryStore, gallery: int, tmp_path: Path) -> None:
    copied = Copied(StateSettings(home=tmp_path).versions, lambda: store)
    other = KeyStore(store.records).create("other", ["recognition"])[0].gallery
    probe = np.ones(DIM, np.float32)
    here, there = enrol(store, gallery, probe), enrol(store, other, probe)
    assert found(copied.renewed([Query(gallery, probe, 1)])) == [here]
    assert found(copied.renewed([Query(other, probe, 1)])) == [there]
    assert copied.search([Query(gallery, probe, 1), Query(other, probe, 1)]) is None


def test_what_cannot_be_searched_is_said_as_the_store_says_it(
    store: GalleryStore, gallery: int, tmp_path: Path
) -> None:
    copied = Copied(StateSettings(home=tmp_path).versions, lambda: store)
    assert copied.renewed([Query(12345, np.ones(DIM, np.float32), 1)]) is None, "there is no such gallery"
    queries = [
        Query(gallery, np.full(DIM, np.nan, np.float32), 1),
        Query(gallery, np.ones(DIM, np.float32), 1),
    ]
    answer = copied.renewed(queries)
    assert answer is not None
    assert isinstance(answer[0], InvalidEmbedding) and answer[1] == []
