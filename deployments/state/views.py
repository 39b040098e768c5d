"""A gallery's embeddings in memory, searched exactly.

Why exact: one search of a million embeddings of 128 floats reads 512 MB once, some 30 ms on one core of a
two-core machine, which is what a search of that size may cost. Compressed forms were measured beside it
(faiss: float16 27 ms, eight bits 20 ms with re-ranking, PQ128x4 fast-scan 7 ms): they hold every embedding
twice, the fastest takes 20 s to encode a million at each start, and their answers are at best the same.
`tests/benchmarks/gallery_search.py` prints what this machine does.

What makes it fast: queries that wait together share one pass over memory, a matrix product instead of a
vector product each; scores are compared with the worst that is still wanted, so that hardly any is ever
sorted; embeddings lie in blocks, so that a gallery grows without being copied whole; and one search costs
no Python step per face.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.types import Float32

_BLOCK = 65_536
_SMALLEST = 64
_FEW = 1024
"""Up to so many results the best are kept while scanning; above, all scores are sorted at the end."""
_PRODUCTS = 262_144
"""Scores made at a time for many queries: 1 MB, what stays in the cache until it is compared."""

Ids = NDArray[np.int64]
Slots = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Hit:
    """id: of the face; distance: L2 between the unit embeddings."""

    id: int
    distance: float


class _Block:
    """Up to _BLOCK faces; the arrays grow by doubling, the first `size` rows are in use."""

    __slots__ = ("embeddings", "ids", "size", "slots")

    def __init__(self, dim: int, capacity: int) -> None:
        self.size = 0
        self.embeddings: Float32 = np.empty((capacity, dim), np.float32)
        self.ids: Ids = np.empty(capacity, np.int64)
        self.slots: Slots = np.empty(capacity, np.int32)

    def reserve(self, size: int) -> None:
        capacity = len(self.ids)
        if size <= capacity:
            return
        grown = _Block(self.embeddings.shape[1], min(_BLOCK, max(size, 2 * capacity)))
        grown.put(0, self.embeddings[: self.size], self.ids[: self.size], self.slots)
        for name in ("embeddings", "ids", "slots"):
            setattr(self, name, getattr(grown, name))

    def put(self, start: int, embeddings: Float32, ids: Ids, slots: Slots) -> None:
        end = start + len(ids)
        self.embeddings[start:end] = embeddings
        self.ids[start:end] = ids
        self.slots[start:end] = slots[: len(ids)]

    def remove(self, dead: NDArray[np.bool_]) -> None:
        """Fill the holes with rows from the end."""
        size = self.size - int(dead.sum())
        holes = np.flatnonzero(dead[:size])
        movers = size + np.flatnonzero(~dead[size:])
        for array in (self.embeddings, self.ids, self.slots):
            array[holes] = array[movers]
        self.size = size


class GalleryView:
    """The faces of one gallery. Thread-safe: one search or change at a time."""

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self._blocks: list[_Block] = []
        self._lock = threading.Lock()
        self._slot_of: dict[int, int] = {}
        self._subject_of: list[int] = []
        self._free_slots: list[int] = []

    def __len__(self) -> int:
        return sum(block.size for block in self._blocks)

    @property
    def nbytes(self) -> int:
        """Bytes reserved for embeddings and ids."""
        return sum(
            array.nbytes for block in self._blocks for array in (block.embeddings, block.ids, block.slots)
        )

    def add(self, ids: Ids, subjects: Ids, embeddings: Float32) -> None:
        """ids, subjects: ``(N,)`` int64; embeddings: ``(N, D)`` float32, unit norm."""
        with self._lock:
            slots = self._slots(subjects)
            start = 0
            while start < len(ids):
                if not self._blocks or self._blocks[-1].size == _BLOCK:
                    first = not self._blocks
                    self._blocks.append(_Block(self._dim, _SMALLEST if first else _BLOCK))
                block = self._blocks[-1]
                count = min(len(ids) - start, _BLOCK - block.size)
                block.reserve(block.size + count)
                part = slice(start, start + count)
                block.put(block.size, embeddings[part], ids[part], slots[part])
                block.size += count
                start += count

    def remove(self, ids: Ids) -> None:
        """Forget faces; ids that are not there are ignored."""
        with self._lock:
            for block in self._blocks:
                dead = np.isin(block.ids[: block.size], ids)
                if dead.any():
                    block.remove(dead)
            self._compact()

    def drop_subject(self, subject: int) -> None:
        """The subject's number may be forgotten: it has no faces left."""
        with self._lock:
            slot = self._slot_of.pop(subject, None)
            if slot is not None:
                self._free_slots.append(slot)

    def move_subject(self, old: int, new: int) -> None:
        """Give all faces of one subject to another."""
        with self._lock:
            source = self._slot_of.get(old)
            if source is None:
                return
            target = int(self._slots(np.array([new], np.int64))[0])
            for block in self._blocks:
                slots = block.slots[: block.size]
                slots[slots == source] = target
            del self._slot_of[old]
            self._free_slots.append(source)

    def clear(self) -> None:
        with self._lock:
            self._blocks.clear()
            self._slot_of.clear()
            self._subject_of.clear()
            self._free_slots.clear()

    def nearest_faces(self, probes: Float32, limit: int) -> list[list[Hit]]:
        """probes: ``(N, D)`` float32, unit norm. At most `limit` faces each, nearest first."""
        with self._lock:
            rows = self._top(probes, min(limit, len(self)))
            return [self._hits(probe, found) for probe, found in zip(probes, rows, strict=True)]

    def nearest_subjects(self, probes: Float32, limit: int) -> list[list[Hit]]:
        """probes: ``(N, D)`` float32, unit norm. At most `limit` subjects each, by their nearest face.

        First the nearest faces are taken, twice as many as such subjects have on average. Only where these
        are the faces of too few subjects, every subject's best face is found.
        """
        with self._lock:
            if not len(self):
                return [[] for _ in probes]
            limit = min(limit, len(self))
            wanted = min(limit, len(self._slot_of))
            faces_each = len(self) / max(1, len(self._slot_of))
            taken = min(int(2 * limit * faces_each) + 8, len(self))
            results = []
            for probe, rows in zip(probes, self._top(probes, taken), strict=True):
                best = self._first_of_each(rows)
                if len(best) < wanted:
                    best = self._best_of_each(probe, wanted)
                results.append(self._hits(probe, best[:limit]))
            return results

    # Rows are numbered through all blocks, in the order of the blocks' used rows.

    def _top(self, probes: Float32, count: int) -> list[Ids]:
        """Rows of the `count` highest cosines of each probe, the highest first."""
        if not count:
            return [np.empty(0, np.int64) for _ in probes]
        if count > _FEW:
            return [_highest(self._scores(probe), count) for probe in probes]
        best = [_Best(count) for _ in probes]
        step = max(4096, _PRODUCTS // len(probes)) if len(probes) > 1 else _BLOCK
        for start, block in self._numbered():
            for first in range(0, block.size, step):
                part = block.embeddings[first : min(first + step, block.size)]
                products = probes @ part.T if len(probes) > 1 else (part @ probes[0])[np.newaxis]
                for kept, scores in zip(best, products, strict=True):
                    kept.offer(scores, start + first)
        return [kept.rows() for kept in best]

    def _scores(self, probe: Float32) -> Float32:
        return np.concatenate([block.embeddings[: block.size] @ probe for block in self._blocks])

    def _first_of_each(self, rows: Ids) -> Ids:
        """Of the rows of each subject the first."""
        _, first = np.unique(self._gather("slots", rows), return_index=True)
        return rows[np.sort(first)]

    def _best_of_each(self, probe: Float32, count: int) -> Ids:
        """The best rows of the `count` best subjects, the best first."""
        scores = self._scores(probe)
        slots = np.concatenate([block.slots[: block.size] for block in self._blocks])
        best = np.full(len(self._subject_of), -np.inf, np.float32)
        np.maximum.at(best, slots, scores)
        worst = np.partition(best, len(best) - count)[len(best) - count]
        rows = np.flatnonzero(scores >= worst)
        return self._first_of_each(rows[np.argsort(-scores[rows], kind="stable")])

    def _gather(self, name: Literal["embeddings", "ids", "slots"], rows: Ids) -> Any:
        """Rows of an array that lies in blocks."""
        starts = np.cumsum([0] + [block.size for block in self._blocks])
        owners = np.searchsorted(starts, rows, side="right") - 1
        arrays = [getattr(block, name) for block in self._blocks]
        gathered = np.empty((len(rows), *arrays[0].shape[1:]), arrays[0].dtype)
        for owner in np.unique(owners).tolist():
            mine = owners == owner
            gathered[mine] = arrays[owner][rows[mine] - starts[owner]]
        return gathered

    def _hits(self, probe: Float32, rows: Ids) -> list[Hit]:
        if not len(rows):
            return []
        # From the difference, not from 2 - 2 cos: that loses half the digits where it matters, near zero.
        distances = np.linalg.norm(self._gather("embeddings", rows) - probe, axis=1)
        ids = self._gather("ids", rows)
        order = np.lexsort((ids, distances))
        return [Hit(i, d) for i, d in zip(ids[order].tolist(), distances[order].tolist(), strict=True)]

    def _numbered(self) -> Iterator[tuple[int, _Block]]:
        start = 0
        for block in self._blocks:
            if block.size:
                yield start, block
            start += block.size

    def _slots(self, subjects: Ids) -> Slots:
        """Small numbers for subjects, so that an array can be indexed by them."""
        numbers, inverse = np.unique(subjects, return_inverse=True)
        slots = np.empty(len(numbers), np.int32)
        for position, subject in enumerate(numbers.tolist()):
            slot = self._slot_of.get(subject)
            if slot is None:
                if self._free_slots:
                    slot = self._free_slots.pop()
                    self._subject_of[slot] = subject
                else:
                    slot = len(self._subject_of)
                    self._subject_of.append(subject)
                self._slot_of[subject] = slot
            slots[position] = slot
        return slots[inverse]

    def _compact(self) -> None:
        """Join blocks that deletions have left less than half full, so that memory follows the gallery's
        size."""
        blocks: list[_Block] = []
        for block in self._blocks:
            if not block.size:
                continue
            if blocks and blocks[-1].size + block.size <= _BLOCK // 2:
                last, used = blocks[-1], slice(block.size)
                last.reserve(last.size + block.size)
                last.put(last.size, block.embeddings[used], block.ids[used], block.slots[used])
                last.size += block.size
            else:
                blocks.append(block)
        self._blocks = blocks


class _Best:
    """The rows of the `count` highest scores among those offered."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._scores: Float32 = np.empty(0, np.float32)
        self._rows: Ids = np.empty(0, np.int64)
        self._worst = np.float32(-np.inf)

    def offer(self, scores: Float32, first_row: int) -> None:
        better = np.flatnonzero(scores > self._worst)
        if not len(better):
            return
        if len(better) > self._count:
            better = better[np.argpartition(-scores[better], self._count - 1)[: self._count]]
        scores = np.concatenate([self._scores, scores[better]])
        rows = np.concatenate([self._rows, better + first_row])
        if len(scores) >= self._count:
            kept = np.argpartition(-scores, self._count - 1)[: self._count]
            scores, rows = scores[kept], rows[kept]
            self._worst = scores.min()
        self._scores, self._rows = scores, rows

    def rows(self) -> Ids:
        return self._rows[np.argsort(-self._scores, kind="stable")]


def _highest(scores: Float32, count: int) -> Ids:
    rows = np.arange(len(scores)) if count >= len(scores) else np.argpartition(-scores, count - 1)[:count]
    return rows[np.argsort(-scores[rows], kind="stable")]
