"""Views and codes: what a search finds against brute force, and what changes do to it."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from prosopon.deployments.state.vectors.index import Ids
from prosopon.deployments.state.vectors.memory import GalleryView
from prosopon.deployments.state.vectors.quantiser import Codes
from prosopon.models.faces.detections import Float32
from prosopon.models.matching.vectors import normalize

DIM = 24


def unit(rng: np.random.Generator, count: int, dim: int = DIM) -> Float32:
    return normalize(rng.standard_normal((count, dim), dtype=np.float32))


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

    def distances(self, probe: Float32, ids: Ids) -> Float32:
        return np.linalg.norm(self.embeddings[np.searchsorted(self.ids, ids)] - probe, axis=1)

    def nearest(self, probe: Float32, limit: int, by_subject: bool, first: int = 0) -> Ids:
        """Ids ascend: the first faces are the first rows."""
        searched = self.embeddings[:first] if first else self.embeddings
        order = np.argsort(np.linalg.norm(searched - probe, axis=1), kind="stable")
        if by_subject:
            _, first = np.unique(self.subjects[order], return_index=True)
            order = order[np.sort(first)]
        return self.ids[order][:limit]


def check_search(view: GalleryView, plain: Plain, probes: Float32, limit: int, first: int = 0) -> None:
    """Ids as by brute force, but for two faces whose distances are the same in all digits that count."""
    for by_subject, search in ((True, view.nearest_subjects), (False, view.nearest_faces)):
        for probe, hits in zip(probes, search(probes, limit, first), strict=True):
            ids = np.array([hit.id for hit in hits], np.int64)
            distances = [hit.distance for hit in hits]
            assert distances == sorted(distances)
            np.testing.assert_allclose(distances, plain.distances(probe, ids), atol=1e-6)
            expected = plain.nearest(probe, limit, by_subject, first)
            assert len(set(ids)) == len(ids) == len(expected)
            np.testing.assert_allclose(distances, plain.distances(probe, expected), atol=1e-6)
            if by_subject:
                subjects = plain.subjects[np.searchsorted(plain.ids, ids)]
                assert len(set(subjects)) == len(ids)


def check(view: GalleryView, plain: Plain, rng: np.random.Generator) -> None:
    assert len(view) == len(plain.ids)
    for count, limit in ((1, 1), (1, 5), (3, 7), (20, 3), (2, 3000)):
        check_search(view, plain, unit(rng, count), limit)
    for count, limit, first in ((1, 5, 1), (3, 7, 50), (2, 3000, 70), (3, 4, len(plain.ids)), (1, 2, 10**6)):
        check_search(view, plain, unit(rng, count), limit, first)


@pytest.mark.parametrize("block", [16, 100, 500, 65_536])
def test_a_view_finds_what_brute_force_finds(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prosopon.deployments.state.vectors.memory._BLOCK", block)
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
            plain.keep(~dead)
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
    assert view.nbytes < 1.3 * 300_000 * 128 * 4
    view.remove(np.arange(290_000))
    assert view.nbytes < 1.2 * 70_000 * 128 * 4


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


@pytest.fixture
def coded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Blocks of 1,000 faces. How many probes each search of codes had."""
    searched: list[int] = []
    search = Codes.search

    def counted(codes: Codes, probes: Float32, count: int) -> tuple[Float32, Ids]:
        searched.append(len(probes))
        return search(codes, probes, count)

    monkeypatch.setattr("prosopon.deployments.state.vectors.memory._BLOCK", 1_000)
    monkeypatch.setattr(Codes, "search", counted)
    yield searched
    assert searched


def people(rng: np.random.Generator, subjects: Ids, spread: float) -> Float32:
    """Faces that lie around their subject's centre."""
    centres = unit(np.random.default_rng(99), 200)
    return normalize(centres[subjects] + spread * rng.standard_normal((len(subjects), DIM), dtype=np.float32))


@pytest.mark.parametrize("threads", [None, 3])
@pytest.mark.parametrize("spread", [0.02, 0.1, 10])
def test_codes_leave_nothing_out(spread: float, threads: int | None, coded: list[int]) -> None:
    """From pictures that hardly differ to no structure at all; through removals, moves and compaction."""
    rng, plain, next_id = np.random.default_rng(5), Plain(), 0
    view = GalleryView(DIM, ThreadPoolExecutor(threads) if threads else None)
    for step in range(12):
        ids, next_id = np.arange(next_id, next_id + 700), next_id + 700
        subjects = rng.integers(0, 200, 700)
        embeddings = people(rng, subjects, spread)
        view.add(ids, subjects, embeddings)
        plain.add(ids, subjects, embeddings)
        if step % 4 == 1:
            dead = rng.random(len(plain.ids)) < (0.1, 0.9, 0.5)[step // 4]
            view.remove(plain.ids[dead])
            plain.keep(~dead)
        if step % 4 == 2:
            view.move_subject(step, step + 100)
            plain.subjects[plain.subjects == step] = step + 100
        check(view, plain, rng)
        check_search(view, plain, people(rng, rng.integers(0, 200, 20), spread), 10)


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.floats(0.01, 100), st.sampled_from([16, 25, 128, 256, 512]))
def test_codes_leave_nothing_out_wherever_embeddings_lie(seed: int, spread: float, dim: int) -> None:
    """All in one direction, or in every; also where a number of the embedding is always the same."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((2_100, dim), dtype=np.float32) * rng.random(dim, dtype=np.float32)
    noise[:, 0] = 0
    embeddings = normalize(unit(rng, 1, dim) + spread * noise)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("prosopon.deployments.state.vectors.memory._BLOCK", 1_000)
        view = GalleryView(dim)
        view.add(np.arange(2_000), np.arange(2_000), embeddings[:2_000])
        for probes in (embeddings[2_000:2_001], embeddings[2_000:]):
            for probe, hits in zip(probes, view.nearest_faces(probes, 10), strict=True):
                nearest = np.sort(np.linalg.norm(embeddings[:2_000] - probe, axis=1))[:10]
                np.testing.assert_allclose([hit.distance for hit in hits], nearest, atol=1e-4)


def test_a_picture_enrolled_a_thousand_times_is_found_among_its_copies(coded: list[int]) -> None:
    """More copies than candidates are taken, the nearest of all among them."""
    rng, view = np.random.default_rng(0), GalleryView(DIM)
    picture = unit(rng, 1)
    copies = normalize(picture + 1e-3 * rng.standard_normal((2_000, DIM), dtype=np.float32))
    view.add(np.arange(2_000), np.arange(2_000), copies)
    (hits,) = view.nearest_faces(picture, 5)
    nearest = np.sort(np.linalg.norm(copies - picture, axis=1))[:5]
    np.testing.assert_allclose([hit.distance for hit in hits], nearest, atol=1e-4)


def test_what_left_a_block_with_codes_is_not_found_any_more(coded: list[int]) -> None:
    rng, view = np.random.default_rng(0), GalleryView(DIM)
    embeddings = unit(rng, 2_500)
    view.add(np.arange(2_500), np.arange(2_500), embeddings)
    for i in range(0, 2_000, 100):
        view.remove(np.array([i]))
        assert view.nearest_faces(embeddings[i : i + 1], 1)[0][0].distance > 0.1
        assert view.nearest_faces(embeddings[i + 1 : i + 2], 1)[0][0].id == i + 1
        assert view.nearest_faces(embeddings[-1:], 1)[0][0].id == 2_499
    view.remove(np.arange(2_000))
    view.add(np.arange(2_000), np.arange(2_000), embeddings[:2_000])
    for i in range(0, 2_500, 50):
        assert view.nearest_faces(embeddings[i : i + 1], 1)[0][0].id == i


def test_a_block_that_is_filled_again_finds_its_new_faces(coded: list[int]) -> None:
    rng, view = np.random.default_rng(0), GalleryView(DIM)
    embeddings = unit(rng, 2_300)
    view.add(np.arange(2_000), np.arange(2_000), embeddings[:2_000])
    view.remove(np.arange(1_600, 1_900))
    view.add(np.arange(2_000, 2_300), np.arange(2_000, 2_300), embeddings[2_000:])
    for i in (*range(1_500, 1_600), *range(1_900, 2_300)):
        assert view.nearest_faces(embeddings[i : i + 1], 1)[0][0].id == i


@pytest.mark.parametrize("dim", [24, 25, 128, 256, 512])
def test_codes_are_what_faiss_makes_of_the_same_levels(dim: int) -> None:
    rng = np.random.default_rng(dim)
    embeddings, probes = unit(rng, 1_000, dim), unit(rng, 20, dim)
    codes = Codes(embeddings, 1_100)
    expected = faiss.clone_index(codes._index)
    expected.reset()
    expected.add(embeddings)
    scores, _ = codes.search(probes, 50)
    np.testing.assert_allclose(scores, expected.search(probes, 50)[0], atol=1e-5)
    exact = -np.sort(-(probes @ embeddings.T), axis=1)[:, :50]
    assert np.abs(scores - exact).mean() < 0.15 / dim**0.5


def test_codes_follow_rows_that_move() -> None:
    rng = np.random.default_rng(0)
    embeddings, probes = unit(rng, 500), unit(rng, 5)
    codes = Codes(embeddings, 640)
    more = unit(rng, 140)
    codes.put(500, more)
    codes.resize(640)
    targets = rng.permutation(300)
    sources = 300 + rng.permutation(340)[:300]
    codes.move(sources, targets)
    codes.resize(300)
    moved = np.concatenate([embeddings, more])[sources[np.argsort(targets)]]
    scores, rows = codes.search(probes, 300)
    for probe, own_scores, own_rows in zip(probes, scores, rows, strict=True):
        assert sorted(own_rows.tolist()) == list(range(300))
        assert np.abs(moved[own_rows] @ probe - own_scores).max() < 0.15


def test_threads_share_a_search_of_several_blocks(coded: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of two blocks is searched while the other is."""
    both, search = threading.Barrier(2), Codes.search

    def together(codes: Codes, probes: Float32, count: int) -> tuple[Float32, Ids]:
        both.wait(timeout=10)
        return search(codes, probes, count)

    monkeypatch.setattr(Codes, "search", together)
    rng, view = np.random.default_rng(0), GalleryView(DIM, ThreadPoolExecutor(2))
    embeddings = unit(rng, 2_000)
    view.add(np.arange(2_000), np.arange(2_000), embeddings)
    assert [hits[0].id for hits in view.nearest_faces(embeddings[::100], 1)] == list(range(0, 2_000, 100))


def test_searching_codes_starts_no_threads(coded: list[int]) -> None:
    rng, view = np.random.default_rng(0), GalleryView(DIM)
    view.add(np.arange(3_000), np.arange(3_000), unit(rng, 3_000))
    before = set(Path("/proc/self/task").iterdir())
    faiss.omp_set_num_threads(8)
    view.nearest_faces(unit(rng, 64), 5)
    assert set(Path("/proc/self/task").iterdir()) <= before, "those of earlier tests may end meanwhile"
