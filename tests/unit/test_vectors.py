"""Vectors: the view in memory against brute force, the writer, and the Milvus Lite process."""

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from deployments.state.errors import IndexUnavailable
from deployments.state.vectors import Ids, IndexWriter, LiteIndex
from deployments.state.views import GalleryView
from models.types import Float32
from models.vectors import normalize

DIM = 24


def unit(rng: np.random.Generator, count: int) -> Float32:
    return normalize(rng.standard_normal((count, DIM), dtype=np.float32))


class Plain:
    """What a view does, by brute force over one array."""

    def __init__(self) -> None:
        self.ids, self.subjects = np.empty(0, np.int64), np.empty(0, np.int64)
        self.embeddings: Float32 = np.empty((0, DIM), np.float32)

    def add(self, ids: Ids, subjects: Ids, embeddings: Float32) -> None:
        self.ids, self.subjects = np.append(self.ids, ids), np.append(self.subjects, subjects)
        self.embeddings = np.concatenate([self.embeddings, embeddings])

    def keep(self, rows: NDArray[np.bool_]) -> None:
        self.ids, self.subjects = self.ids[rows], self.subjects[rows]
        self.embeddings = self.embeddings[rows]

    def nearest(self, probe: Float32, limit: int, by_subject: bool) -> list[int]:
        order = np.argsort(np.linalg.norm(self.embeddings - probe, axis=1), kind="stable")
        if by_subject:
            _, first = np.unique(self.subjects[order], return_index=True)
            order = order[np.sort(first)]
        return [int(i) for i in self.ids[order][:limit]]


def check(view: GalleryView, plain: Plain, rng: np.random.Generator) -> None:
    assert len(view) == len(plain.ids)
    for count, limit in ((1, 1), (1, 5), (3, 7), (20, 3), (2, 3000)):
        probes = unit(rng, count)
        for by_subject, search in ((True, view.nearest_subjects), (False, view.nearest_faces)):
            for probe, hits in zip(probes, search(probes, limit), strict=True):
                assert [hit.id for hit in hits] == plain.nearest(probe, limit, by_subject)
                distances = [hit.distance for hit in hits]
                assert distances == sorted(distances)


@pytest.mark.parametrize("block", [16, 100, 65_536])
def test_a_view_finds_what_brute_force_finds(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.state.views._BLOCK", block)
    rng = np.random.default_rng(block)
    view, plain = GalleryView(DIM), Plain()
    check(view, plain, rng)
    next_id = 1
    for step in range(40):
        count = int(rng.integers(1, 60))
        ids, next_id = np.arange(next_id, next_id + count), next_id + count
        subjects = rng.integers(0, 8, count) ** 2
        embeddings = unit(rng, count)
        view.add(ids, subjects, embeddings)
        plain.add(ids, subjects, embeddings)
        if step % 3 == 0:
            share = rng.choice([0.05, 0.5, 0.9])
            dead = rng.random(len(plain.ids)) < share
            view.remove(np.append(plain.ids[dead], 10**9))
            gone = set(plain.subjects.tolist()) - set(plain.subjects[~dead].tolist())
            plain.keep(~dead)
            for subject in gone:
                view.drop_subject(subject)
        if step % 5 == 0:
            old, new = (int(subject) for subject in rng.integers(0, 8, 2) ** 2)
            if old != new:
                view.move_subject(old, new)
                plain.subjects[plain.subjects == old] = new
        check(view, plain, rng)
    view.remove(plain.ids)
    assert len(view) == 0
    assert view.nbytes == 0


def test_memory_follows_the_data() -> None:
    rng, view = np.random.default_rng(0), GalleryView(128)
    for start in range(0, 300_000, 10_000):
        ids = np.arange(start, start + 10_000)
        view.add(ids, ids, rng.standard_normal((10_000, 128), dtype=np.float32))
    assert view.nbytes < 1.2 * 300_000 * 128 * 4
    view.remove(np.arange(290_000))
    assert view.nbytes < 70_000 * 128 * 4 * 1.2


def test_equal_embeddings_are_at_distance_zero() -> None:
    view, embedding = GalleryView(DIM), unit(np.random.default_rng(0), 1)
    view.add(np.array([1]), np.array([1]), embedding)
    assert view.nearest_faces(embedding, 1)[0][0].distance == 0


def test_searches_and_changes_at_once_do_not_disturb_each_other() -> None:
    rng, view = np.random.default_rng(0), GalleryView(DIM)
    fixed = unit(rng, 500)
    view.add(np.arange(500), np.arange(500), fixed)
    stop = threading.Event()

    def change() -> None:
        own = np.random.default_rng(1)
        while not stop.is_set():
            ids = np.arange(1000, 1100)
            view.add(ids, ids, unit(own, 100))
            view.remove(ids)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for i in range(300):
            (hits,) = view.nearest_faces(fixed[i : i + 1], 1)
            assert hits[0].id == i
    finally:
        stop.set()
        thread.join()


def test_a_milvus_lite_file_keeps_what_it_was_given(tmp_path: Path) -> None:
    rng, path = np.random.default_rng(0), str(tmp_path / "vectors.db")
    index = LiteIndex(path, "model", DIM)
    index.upsert(np.arange(1, 3001), np.ones(3000, np.int64), unit(rng, 3000))
    index.upsert(np.arange(1, 11), np.ones(10, np.int64), unit(rng, 10))
    index.delete(np.array([5, 6, 99_999]))
    expected = [i for i in range(1, 3001) if i not in (5, 6)]
    assert sorted(index.ids().tolist()) == expected
    os.kill(index.pid, signal.SIGKILL)
    with pytest.raises(IndexUnavailable, match="gone"):
        index.ids()
    assert sorted(index.ids().tolist()) == expected
    index.flush()
    index.upsert(np.array([5]), np.array([1]), unit(rng, 1))
    index.close()
    index = LiteIndex(path, "model", DIM)
    assert sorted(index.ids().tolist()) == sorted([*expected, 5])
    index.clear()
    assert index.ids().tolist() == []
    index.close()


def test_the_milvus_lite_process_ends_with_its_parent(tmp_path: Path) -> None:
    index = LiteIndex(str(tmp_path / "vectors.db"), "model", DIM)
    pid = index.pid
    index._calls.close()
    deadline = time.monotonic() + 10
    while index._process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert index._process.poll() == 0, pid
    index.close()


class Flaky:
    """An index that fails a few times, as a server does that is being restarted."""

    def __init__(self, failures: int) -> None:
        self.failures, self.calls = failures, list[tuple[str, list[int]]]()

    def _call(self, name: str, ids: Ids) -> None:
        if self.failures:
            self.failures -= 1
            raise IndexUnavailable("not now")
        self.calls.append((name, ids.tolist()))

    def upsert(self, ids: Ids, galleries: Ids, embeddings: Float32) -> None:
        self._call("upsert", ids)

    def delete(self, ids: Ids) -> None:
        self._call("delete", ids)


def test_the_writer_tries_again_and_keeps_the_order() -> None:
    index = Flaky(failures=2)
    writer = IndexWriter(index)  # type: ignore[arg-type]
    one = np.array([1], np.int64)
    writer.upsert(one, one, np.ones((1, DIM), np.float32))
    assert writer.delete(one).wait(10)
    assert index.calls == [("upsert", [1]), ("delete", [1])]
    writer.close()


def test_a_writer_whose_index_is_gone_says_that_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IndexWriter, "_QUEUED", 2)
    writer = IndexWriter(Flaky(failures=10**9))  # type: ignore[arg-type]
    assert writer.has_room(0)
    for i in range(3):
        assert writer.has_room(5)
        writer.delete(np.array([i], np.int64))
    assert not writer.has_room(0.1)


def test_closing_does_not_wait_for_an_index_that_is_gone() -> None:
    writer = IndexWriter(Flaky(failures=10**9))  # type: ignore[arg-type]
    assert not writer.delete(np.array([1], np.int64)).wait(0.1)
    started = time.monotonic()
    writer.close()
    assert time.monotonic() - started < 5
