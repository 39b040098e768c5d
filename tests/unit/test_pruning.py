"""Pictures whose source is gone leave the public index with all that belongs to them, and no other does."""

import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from prosopon.configs.settings import Settings, StateSettings
from prosopon.deployments.state.erasure import forget_sources
from prosopon.deployments.state.galleries.face_archive import ArchivedFace
from prosopon.deployments.state.galleries.source_ledger import (
    REMOVED,
    SourceLedger,
    known_sources,
)
from prosopon.deployments.state.galleries.store import GalleryStore
from prosopon.models.load import load_embedder
from prosopon.models.runtime.session import Compute
from prosopon.pipelines.ingestion.pruning import Gone, gone, prune
from prosopon.pipelines.ingestion.sources import identity
from tests.support.archive import seen


class Index:
    """A public index of the embedder in service, whose faces are drawn by chance."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(state=StateSettings(home=home))
        self._embedder = load_embedder(self.settings.models, Compute())
        self.open()

    def open(self) -> None:
        self.store = GalleryStore(self.settings.state, self._embedder.fingerprint, self._embedder.dim)

    def take(self, location: str, source: str | None, url: str | None = None, faces: int = 1) -> bytes:
        """A picture as an ingestion writes it; its id in the ledger."""
        url = url or Path(location).as_uri()
        chance = np.random.default_rng(len(location))
        embeddings = [chance.standard_normal(self._embedder.dim).astype("f4") for _ in range(faces)]
        origin = ArchivedFace(url, None, location if source else None, source)
        picture = seen(origin, embeddings, location)
        SourceLedger(self.store).write([picture])
        return picture.id.bytes

    def prune(self, pictures: Sequence[Gone]) -> int:
        self.store.close()
        try:
            return prune(self.settings, pictures, lambda done, total: None)
        finally:
            self.open()

    def urls(self) -> set[str]:
        gallery = SourceLedger(self.store).gallery
        return {face.subject for face in self.store.list_faces(gallery, size=100).faces}


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    opened = Index(tmp_path / "home")
    yield opened
    opened.store.close()


def places(found: Sequence[Gone]) -> set[str]:
    return {picture.place for picture in found}


def test_what_a_folder_no_longer_has_is_gone_and_what_others_named_stays(index: Index) -> None:
    here = index.take("/a/here.jpg", "/a/")
    index.take("/a/gone.jpg", "/a/", faces=2)
    index.take("/a/b/of-the-part.jpg", "/a/b/")
    index.take("/a/b/of-the-whole.jpg", "/a/")
    index.take("/a/old and.jpg", None)
    index.take("/a/listed.jpg", "/lists/one.csv", "https://example.org/listed")
    index.take("/ab/other.jpg", "/ab/")
    records = index.store.records
    assert places(gone(records, "/a/", {here})) == {
        "/a/gone.jpg", "/a/b/of-the-part.jpg", "/a/b/of-the-whole.jpg", "/a/old and.jpg"
    }  # fmt: skip
    assert places(gone(records, "/a/b/", set())) == {"/a/b/of-the-part.jpg", "/a/b/of-the-whole.jpg"}
    assert places(gone(records, "/lists/one.csv", set())) == {"/a/listed.jpg"}
    assert places(gone(records, "/a/", {here}, ["/a/b"])) == {"/a/gone.jpg", "/a/old and.jpg"}
    assert gone(records, "/lists/two.csv", set()) == []


def test_nothing_of_a_pruned_picture_is_left_and_it_may_come_back(index: Index) -> None:
    here = index.take("/a/here.jpg", "/a/")
    index.take("/a/gone.jpg", "/a/", faces=2)
    found = gone(index.store.records, "/a/", {here})
    assert index.prune(found) == 2
    assert index.urls() == {"file:///a/here.jpg"}
    assert len(index.store.blobs.files()) == 1
    assert (index.store.repaired.added, index.store.repaired.removed) == (0, 0)
    assert known_sources(index.store.records, [found[0].id]) == {}
    assert gone(index.store.records, "/a/", {here}) == []
    index.take("/a/gone.jpg", "/a/")
    assert len(index.urls()) == 2


def test_a_run_that_was_killed_after_the_ledger_is_ended_by_the_next(index: Index) -> None:
    from prosopon.deployments.state.galleries.source_ledger import forget

    index.take("/a/gone.jpg", "/a/")
    found = gone(index.store.records, "/a/", set())
    forget(index.store.records, [picture.id for picture in found])
    again = gone(index.store.records, "/a/", set())
    assert again == found and index.prune(again) == 1


def test_what_was_erased_does_not_come_back_by_being_pruned(index: Index) -> None:
    entry = uuid.UUID(bytes=index.take("/a/erased.jpg", "/a/"))
    (picture,) = gone(index.store.records, "/a/", set())
    forget_sources(index.store.records, picture.faces)
    index.prune([picture])
    assert known_sources(index.store.records, [entry])[entry].reason == REMOVED


def test_a_source_is_one_by_whatever_name(tmp_path: Path) -> None:
    folder, link = tmp_path / "folder", tmp_path / "link"
    folder.mkdir()
    link.symlink_to(folder)
    assert identity(str(link)) == identity(f"{folder}/") == f"{folder.resolve()}/"
    assert identity("https://example.org/a.jpg") == "https://example.org/a.jpg"
