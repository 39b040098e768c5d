"""Faces are found wherever they are stored, deleted with all that belongs to them, and do not come back."""

import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from prosopon.configs.settings import StateSettings
from prosopon.deployments.state.blobs import Blob
from prosopon.deployments.state.erasure import StoredFace, forget_sources, of_origin, of_person, others
from prosopon.deployments.state.galleries.face_archive import ArchivedFace, archive_gallery
from prosopon.deployments.state.galleries.faces import NewFace
from prosopon.deployments.state.galleries.source_ledger import (
    REMOVED,
    SourceFaces,
    SourceLedger,
    known_sources,
)
from prosopon.deployments.state.galleries.store import GalleryStore, Query
from prosopon.deployments.state.keys import KeyStore
from prosopon.models.faces.detections import Float32
from tests.support.archive import seen

DIM = 16
ANN, BOB = np.eye(DIM, dtype=np.float32)[:2]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[GalleryStore]:
    opened = GalleryStore(StateSettings(home=tmp_path), "model-1", DIM)
    yield opened
    opened.close()


def like(face: Float32, seed: int) -> Float32:
    return (face + 0.05 * np.random.default_rng(seed).standard_normal(DIM)).astype(np.float32)


def source(url: str, *faces: Float32, group: str | None = None) -> SourceFaces:
    return seen(ArchivedFace(url, group), faces)


def enrol(store: GalleryStore, gallery: int, subject: str, embedding: Float32) -> uuid.UUID:
    image_id = uuid.uuid4()
    picture = Blob(image_id.bytes, "image/jpeg")
    (added,) = store.add_faces([NewFace(gallery, subject, image_id, embedding, picture)])
    assert not isinstance(added, Exception)
    return image_id


def test_a_person_is_found_in_every_gallery_and_nobody_else(store: GalleryStore) -> None:
    keys = KeyStore(store.records)
    first, second = keys.create("a")[0].gallery, keys.create("b")[0].gallery
    hers = {enrol(store, first, "Ann", like(ANN, 1)), enrol(store, second, "A.", like(ANN, 2))}
    enrol(store, first, "Bob", like(BOB, 3))
    SourceLedger(store).write([source("https://a.example", like(ANN, 4), like(BOB, 5))])
    found = of_person(store.records, ANN, "model-1", 0.6)
    assert len(found) == 3 and hers < {face.image_id for face in found}
    assert [face.distance for face in found] == sorted(face.distance or 0 for face in found)
    assert {face.gallery for face in found} == {first, second, archive_gallery(store.records)}
    assert others(store.records, "model-1") == 0
    assert others(store.records, "model-2") == 5
    assert of_person(store.records, ANN, "model-2", 0.6) == []


def test_what_was_removed_is_gone_with_its_images_and_is_not_taken_in_again(store: GalleryStore) -> None:
    ledger = SourceLedger(store)
    alone = source("https://a.example", like(ANN, 1))
    together = source("https://b.example", like(ANN, 2), like(BOB, 3))
    ledger.write([alone, together])
    ids = [face.image_id for face in of_person(store.records, ANN, "model-1", 0.6)]
    assert forget_sources(store.records, ids) == 1
    assert len(store.delete_faces(ledger.gallery, ids)) == 2
    known = known_sources(store.records, [alone.id, together.id])
    assert (known[alone.id].reason, known[alone.id].faces) == (REMOVED, 0)
    assert known[together.id].reason is None, "its other face stays, and so does what is known of it"
    (left,) = store.list_faces(ledger.gallery).faces
    assert left.subject == "https://b.example"
    assert len(store.blobs.files()) == 1
    ((match,),) = store.search([Query(ledger.gallery, BOB, 5, "face")])
    assert match.image_id == left.image_id


def urls(found: Sequence[StoredFace]) -> list[str]:
    return [face.origin.url for face in found]


def test_faces_of_a_place_or_a_group(store: GalleryStore) -> None:
    ledger = SourceLedger(store)
    gallery = ledger.gallery
    ledger.write([source("https://a.example", ANN)])
    ledger.write([source(f"https://{name}.example", BOB, group="g") for name in "bc"])
    assert urls(of_origin(store.records, gallery, urls=["https://a.example"])) == ["https://a.example"]
    assert len(of_origin(store.records, gallery, groups=["g"])) == 2
    (one,) = of_origin(store.records, gallery, urls=["https://a.example"])
    assert of_origin(store.records, gallery, ids=[one.image_id]) == [one]
    assert of_origin(store.records, gallery) == []
