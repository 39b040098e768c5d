"""The ledger of the bulk ingestion: what was added is not added again, and what changed takes the old one's place."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from prosopon.configs.settings import StateSettings
from prosopon.deployments.state.blobs import Blob
from prosopon.deployments.state.errors import StateError
from prosopon.deployments.state.galleries.face_archive import ArchivedFace, archive_gallery
from prosopon.deployments.state.galleries.source_ledger import (
    Outcome,
    SeenFace,
    SourceFaces,
    SourceLedger,
    digest,
    known_sources,
    source_id,
)
from prosopon.deployments.state.galleries.store import GalleryStore, Query

DIM = 8
PAGE = ArchivedFace("https://example.org/a", "Ann")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[GalleryStore]:
    opened = GalleryStore(StateSettings(home=tmp_path), "model-1", DIM)
    yield opened
    opened.close()


def looked_at(content: bytes, faces: int, origin: ArchivedFace = PAGE, seed: int = 0) -> SourceFaces:
    rng = np.random.default_rng(seed)
    found = tuple(
        SeenFace(rng.standard_normal(DIM).astype(np.float32), Blob(content + b"%d" % i, "image/webp"))
        for i in range(faces)
    )
    stamp = digest(content, origin.url)
    return SourceFaces(
        source_id("a.jpg", origin.url), stamp, digest(content), origin, found, None if faces else "no face"
    )


def faces_of(store: GalleryStore) -> dict[str, list[bytes]]:
    """Subject -> the images of its faces."""
    gallery = archive_gallery(store.records)
    found: dict[str, list[bytes]] = {}
    for face in store.list_faces(gallery, 0, 1000).faces:
        image = store.image(gallery, face.image_id)
        assert image is not None
        found.setdefault(face.subject, []).append(image.data)
    return found


def test_a_picture_is_added_once(store: GalleryStore) -> None:
    ledger, source = SourceLedger(store), looked_at(b"x", 3)
    assert ledger.write([source]) == [Outcome.ADDED]
    assert ledger.write([source]) == [Outcome.UNCHANGED]
    assert faces_of(store) == {"group Ann": [b"x0", b"x1", b"x2"]}
    assert known_sources(store.records, [source.id])[source.id].stamp == source.stamp


def test_a_changed_picture_takes_the_old_ones_place(store: GalleryStore) -> None:
    ledger = SourceLedger(store)
    ledger.write([looked_at(b"x", 3)])
    assert ledger.write([looked_at(b"y", 2, seed=1)]) == [Outcome.REPLACED]
    assert faces_of(store) == {"group Ann": [b"y0", b"y1"]}
    assert len(store.blobs.files()) == 2
    (matches,) = store.search([Query(archive_gallery(store.records), np.ones(DIM, np.float32), 10, "face")])
    assert not isinstance(matches, StateError) and len(matches) == 2
    assert ledger.write([looked_at(b"z", 0)]) == [Outcome.REPLACED]
    assert faces_of(store) == {} and store.blobs.files() == set()


def test_a_picture_without_a_face_is_known_too(store: GalleryStore) -> None:
    ledger, source = SourceLedger(store), looked_at(b"x", 0)
    assert ledger.write([source]) == [Outcome.ADDED]
    assert known_sources(store.records, [source.id])[source.id].reason == "no face"
    assert ledger.write([looked_at(b"x2", 1)]) == [Outcome.REPLACED]
    assert known_sources(store.records, [source.id])[source.id].reason is None


def test_nothing_of_a_batch_stays_when_one_of_it_fails(store: GalleryStore) -> None:
    broken = SourceFaces(
        source_id("b.jpg", "b"),
        "s",
        "v",
        ArchivedFace("b"),
        (SeenFace(np.zeros(DIM, np.float32), Blob(b"b")),),
    )
    good = looked_at(b"x", 1)
    with pytest.raises(StateError):
        SourceLedger(store).write([good, broken])
    assert known_sources(store.records, [good.id, broken.id]) == {}
    assert faces_of(store) == {} and store.blobs.files() == set()


def test_faces_of_a_group_stay_when_one_of_its_pictures_changes(store: GalleryStore) -> None:
    ledger = SourceLedger(store)
    other = SourceFaces(
        source_id("b.jpg", "b"), "s", "v", ArchivedFace("b", "Ann"), looked_at(b"other", 1).faces
    )
    ledger.write([looked_at(b"x", 1), other])
    ledger.write([looked_at(b"y", 1)])
    assert faces_of(store) == {"group Ann": [b"other0", b"y0"]}


def test_what_is_said_of_a_picture_cannot_be_mistaken_for_something_else() -> None:
    assert digest("ab", "c") != digest("a", "bc") != digest("abc")
    assert source_id("a", "b") != source_id("b", "a")
