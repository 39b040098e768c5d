"""A gallery's embeddings in memory, searched through a small copy of them; the answers are exact.

A search that reads every embedding is bound by memory: a million of 128 floats are 512 MB, 43 ms for one
core. So full blocks of embeddings also have codes of four bits a number (`quantiser.py`), an eighth of the size.
A search scans these and compares the rows that they find with the embeddings. How far codes are from the
truth is measured in doing so; where a row that was left out could still be among the best, the whole gallery
is read after all. In one run, one thread, a million embeddings without structure: one search 10.2 ms for
43.0, and for each of 4, 16 and 64 that come together 4.6 ms for 33.4, 3.6 for 10.9 and 3.4 for 8.4. Codes
are made when a block of 65,536 embeddings is full, in 0.1 s.
`tests/benchmarks/gallery_search.py` prints what this machine does.

What else makes it fast: queries that wait together share one pass over memory, a matrix product instead of a
vector product each; scores are compared with the worst that is still wanted, so that hardly any is ever
sorted; embeddings lie in blocks, so that a gallery grows without being copied whole; and one search costs
no Python step per face.
"""

import threading
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from prosopon.deployments.state.vectors.quantiser import Codes
from prosopon.models.faces.detections import Float32

_BLOCK = 65_536
_SMALLEST = 64
_FEW = 1024
"""Up to so many results the best are kept while scanning; above, all scores are sorted at the end."""
_MARGIN, _SURPLUS = 32, 15
"""From each block's codes come so many more candidates than results, and of all blocks together so many times
more: the best of few blocks lie closer to what is left out than the best of many."""
_DEVIATIONS = 5
"""How far above the worst candidates' codes an answer must lie, in deviations of codes from the truth."""
_PRODUCTS = 262_144
"""Scores made at a time for many queries: 1 MB, what stays in the cache until it is compared."""

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Hit:
    """id: of the face; distance: L2 between the unit embeddings."""

    id: int
    distance: float


class _Block:
    """Up to _BLOCK faces; the arrays grow by doubling, the first `size` rows are in use.

    A block that has been full once has codes, and keeps them in step from then on.
    """

    __slots__ = ("codes", "embeddings", "ids", "size", "subjects")

    def __init__(self, dim: int, capacity: int) -> None:
        self.size = 0
        self.codes: Codes | None = None
        self.embeddings: Float32 = np.empty((capacity, dim), np.float32)
        self.ids: Ids = np.empty(capacity, np.int64)
        self.subjects: Ids = np.empty(capacity, np.int64)

    def reserve(self, size: int) -> None:
        capacity = len(self.ids)
        if size <= capacity:
            return
        grown = _Block(self.embeddings.shape[1], min(_BLOCK, max(size, 2 * capacity)))
        grown.append(self.embeddings[: self.size], self.ids[: self.size], self.subjects[: self.size])
        for name in ("embeddings", "ids", "subjects"):
            setattr(self, name, getattr(grown, name))

    def append(self, embeddings: Float32, ids: Ids, subjects: Ids) -> None:
        self.reserve(self.size + len(ids))
        start, end = self.size, self.size + len(ids)
        self.embeddings[start:end] = embeddings
        self.ids[start:end] = ids
        self.subjects[start:end] = subjects
        self.size = end
        if self.codes:
            self.codes.put(start, embeddings)
            self.codes.resize(end)
        elif end == _BLOCK:
            self.codes = Codes(self.embeddings[:end], _BLOCK)

    def remove(self, dead: NDArray[np.bool_]) -> None:
        """Fill the holes with rows from the end."""
        size = self.size - int(dead.sum())
        holes = np.flatnonzero(dead[:size])
        movers = size + np.flatnonzero(~dead[size:])
        for array in (self.embeddings, self.ids, self.subjects):
            array[holes] = array[movers]
        if self.codes:
            self.codes.move(movers, holes)
            self.codes.resize(size)
        self.size = size

    def codes_for(self, candidates: int) -> Codes | None:
        """The codes, where they leave few enough rows to compare."""
        return self.codes if self.size >= 4 * candidates else None

    @property
    def nbytes(self) -> int:
        arrays = self.embeddings.nbytes + self.ids.nbytes + self.subjects.nbytes
        return arrays + (self.codes.nbytes if self.codes else 0)


_Numbered = tuple[int, _Block]
"""A block, and the number of its first row."""
_Coded = tuple[int, _Block, Codes]
"""The same with its codes."""

_Part = tuple[int, _Block, NDArray[np.bool_] | None]
"""A block, the number of its first row, and which of its rows are searched; None: all of them."""


@dataclass(frozen=True, slots=True)
class _Searched:
    """size: how many rows are searched, in blocks that have some."""

    size: int
    blocks: list[_Part]


class GalleryView:
    """The faces of one gallery. Thread-safe: one search or change at a time."""

    def __init__(self, dim: int, threads: Executor | None = None) -> None:
        """threads: that share each search of full blocks; None: who asks for it makes it alone."""
        self._dim = dim
        self._each: Any = threads.map if threads else map
        self._blocks: list[_Block] = []
        self._lock = threading.Lock()
        self._counted = 0, 0
        self._last_of_first: dict[int, int] = {}

    def __len__(self) -> int:
        return sum(block.size for block in self._blocks)

    @property
    def nbytes(self) -> int:
        """Bytes reserved for embeddings, their codes and ids."""
        return sum(block.nbytes for block in self._blocks)

    def add(self, ids: Ids, subjects: Ids, embeddings: Float32) -> None:
        """ids, subjects: ``(N,)`` int64; embeddings: ``(N, D)`` float32, unit norm."""
        with self._lock:
            self._last_of_first.clear()
            start = 0
            while start < len(ids):
                if not self._blocks or self._blocks[-1].size == _BLOCK:
                    first = not self._blocks
                    self._blocks.append(_Block(self._dim, _SMALLEST if first else _BLOCK))
                block = self._blocks[-1]
                part = slice(start, start + _BLOCK - block.size)
                block.append(embeddings[part], ids[part], subjects[part])
                start = part.stop

    def remove(self, ids: Ids) -> None:
        """Forget faces; ids that are not there are ignored."""
        with self._lock:
            self._last_of_first.clear()
            for block in self._blocks:
                dead = np.isin(block.ids[: block.size], ids)
                if dead.any():
                    block.remove(dead)
            self._compact()

    def move_subject(self, old: int, new: int) -> None:
        """Give all faces of one subject to another."""
        with self._lock:
            for block in self._blocks:
                subjects = block.subjects[: block.size]
                subjects[subjects == old] = new

    def clear(self) -> None:
        with self._lock:
            self._blocks.clear()
            self._last_of_first.clear()

    def rows(self) -> tuple[Ids, Ids, Float32]:
        """A copy of all that is here: ids and subjects ``(N,)``, embeddings ``(N, D)``."""
        with self._lock:
            blocks = [block for block in self._blocks if block.size]
            if not blocks:
                nothing = np.empty(0, np.int64)
                return nothing, nothing, np.empty((0, self._dim), np.float32)
            return (
                np.concatenate([block.ids[: block.size] for block in blocks]),
                np.concatenate([block.subjects[: block.size] for block in blocks]),
                np.concatenate([block.embeddings[: block.size] for block in blocks]),
            )

    def nearest_faces(self, probes: Float32, limit: int, first: int = 0) -> list[list[Hit]]:
        """probes: ``(N, D)`` float32, unit norm. At most `limit` faces each, nearest first. first: of the so many
        faces with the lowest ids; 0: of all."""
        with self._lock:
            searched = self._searched(first)
            rows = self._top(probes, min(limit, searched.size), searched)
            return [self._hits(probe, found) for probe, found in zip(probes, rows, strict=True)]

    def nearest_subjects(self, probes: Float32, limit: int, first: int = 0) -> list[list[Hit]]:
        """probes: ``(N, D)`` float32, unit norm. At most `limit` subjects each, by their nearest face. first: as for
        `nearest_faces`.

        First the nearest faces are taken, enough where the nearest subject's faces lie together and those of
        others are scattered; where these are the faces of too few subjects, twice as many as so many subjects
        have on average; and only where that does not do, every subject's best face is found.
        """
        with self._lock:
            searched = self._searched(first)
            if not searched.size:
                return [[] for _ in probes]
            faces_each = self._faces_each()
            best: dict[int, Ids] = {}
            for taken in (limit + 2 * faces_each, 2 * limit * faces_each):
                lacking = [i for i in range(len(probes)) if i not in best]
                if lacking:
                    count = min(int(taken) + 8, searched.size)
                    top = self._top(probes[lacking], count, searched)
                    firsts = zip(lacking, map(self._first_of_each, top), strict=True)
                    best |= {i: rows for i, rows in firsts if len(rows) >= limit or count == searched.size}
            for i in range(len(probes)):
                if i not in best:
                    best[i] = self._best_of_each(probes[i], limit, searched)
            return [self._hits(probe, best[i][:limit]) for i, probe in enumerate(probes)]

    # Rows are numbered through all blocks, in the order of the blocks' used rows.

    def _faces_each(self) -> float:
        """How many faces a subject has on average; counted again when the gallery has grown or shrunk by a tenth."""
        faces, subjects = self._counted
        if abs(len(self) - faces) * 10 >= faces:
            numbers = np.concatenate([block.subjects[: block.size] for block in self._blocks])
            faces, subjects = self._counted = len(numbers), len(np.unique(numbers))
        return faces / subjects

    def _searched(self, first: int) -> "_Searched":
        """Ids grow with time and so do blocks: of those that are searched, all but one are searched whole, unless
        deletions have moved rows."""
        blocks = self._numbered()
        if not 0 < first < len(self):
            return _Searched(len(self), [(start, block, None) for start, block in blocks])
        if first not in self._last_of_first:
            ids = np.concatenate([block.ids[: block.size] for block in self._blocks])
            self._last_of_first[first] = int(np.partition(ids, first - 1)[first - 1])
        chosen = []
        for start, block in blocks:
            within = block.ids[: block.size] <= self._last_of_first[first]
            if within.any():
                chosen.append((start, block, None if within.all() else within))
        return _Searched(first, chosen)

    def _top(self, probes: Float32, count: int, searched: "_Searched") -> list[Ids]:
        """Rows of the `count` highest cosines of each probe, the highest first."""
        if not count:
            return [np.empty(0, np.int64) for _ in probes]
        if count > _FEW:
            return [self._highest(probe, count, searched) for probe in probes]
        best = [_Best(count) for _ in probes]
        candidates = _MARGIN + count * (1 + _SURPLUS // len(searched.blocks))
        coded, others = list[_Coded](), list[_Part]()
        for start, block, within in searched.blocks:
            codes = block.codes_for(candidates) if within is None else None
            if codes is not None:
                coded.append((start, block, codes))
            else:
                others.append((start, block, within))
        self._scan(probes, best, others)
        if coded:
            for doubtful in np.flatnonzero(~self._scan_codes(probes, best, coded, candidates)).tolist():
                best[doubtful] = _Best(count)
                self._scan(probes[doubtful : doubtful + 1], [best[doubtful]], searched.blocks)
        return [kept.rows() for kept in best]

    def _scan(self, probes: Float32, best: list["_Best"], parts: list[_Part]) -> None:
        """Offer every row of these blocks that is searched."""
        step = max(4096, _PRODUCTS // len(probes)) if len(probes) > 1 else _BLOCK
        for start, block, within in parts:
            for first in range(0, block.size, step):
                part = block.embeddings[first : min(first + step, block.size)]
                products = probes @ part.T if len(probes) > 1 else (part @ probes[0])[np.newaxis]
                rows = np.arange(start + first, start + first + len(part))
                if within is not None:
                    chosen = within[first : first + len(part)]
                    products, rows = products[:, chosen], rows[chosen]
                for kept, scores in zip(best, products, strict=True):
                    kept.offer(scores, rows)

    def _scan_codes(
        self, probes: Float32, best: list["_Best"], blocks: list[_Coded], candidates: int
    ) -> NDArray[np.bool_]:
        """Offer the rows of each of these blocks whose codes are nearest. Returns ``(N,)``: whether no other row can
        be among the best.

        A row that was left out scores at most what its block's worst candidate did, give or take the error
        of its codes. How large errors are is seen from the candidates, each of which is also compared exactly.
        """

        def nearest(coded: _Coded) -> tuple[Float32, Float32, Float32, Ids]:
            """Of a block's candidates the cosines, and by how much their codes are off; the worst; the rows."""
            start, block, codes = coded
            approximate, found = codes.search(probes, candidates)
            exact = (block.embeddings[found] @ probes[:, :, np.newaxis])[:, :, 0]
            return exact, exact - approximate, approximate[:, -1], found + start

        exact, errors, left_out, rows = zip(*self._each(nearest, blocks), strict=True)
        deviation = np.sqrt(np.mean(np.square(np.concatenate(errors, axis=1)), axis=1))
        offers = zip(best, np.concatenate(exact, axis=1), np.concatenate(rows, axis=1), strict=True)
        for kept, scores, found in offers:
            kept.offer(scores, found)
        worst = np.array([kept.worst for kept in best])
        settled: NDArray[np.bool_] = worst >= np.max(left_out, axis=0) + _DEVIATIONS * deviation
        return settled

    def _scores(self, probe: Float32, searched: "_Searched") -> tuple[Float32, Ids]:
        """Of every row that is searched, and the rows."""
        scores, rows = [], []
        for start, block, within in searched.blocks:
            products = block.embeddings[: block.size] @ probe
            numbers = np.arange(start, start + block.size)
            scores.append(products if within is None else products[within])
            rows.append(numbers if within is None else numbers[within])
        return np.concatenate(scores), np.concatenate(rows)

    def _highest(self, probe: Float32, count: int, searched: "_Searched") -> Ids:
        """Rows of the `count` highest cosines, the highest first."""
        scores, rows = self._scores(probe, searched)
        if count < len(rows):
            kept = np.argpartition(-scores, count - 1)[:count]
            scores, rows = scores[kept], rows[kept]
        return rows[np.argsort(-scores, kind="stable")]

    def _first_of_each(self, rows: Ids) -> Ids:
        """Of the rows of each subject the first."""
        _, first = np.unique(self._gather("subjects", rows), return_index=True)
        return rows[np.sort(first)]

    def _best_of_each(self, probe: Float32, count: int, searched: "_Searched") -> Ids:
        """The best rows of the `count` best subjects, the best first."""
        scores, rows = self._scores(probe, searched)
        numbers, inverse = np.unique(self._gather("subjects", rows), return_inverse=True)
        best = np.full(len(numbers), -np.inf, np.float32)
        np.maximum.at(best, inverse, scores)
        count = min(count, len(best))
        worst = np.partition(best, len(best) - count)[len(best) - count]
        kept = np.flatnonzero(scores >= worst)
        return self._first_of_each(rows[kept[np.argsort(-scores[kept], kind="stable")]])

    def _gather(self, name: Literal["embeddings", "ids", "subjects"], rows: Ids) -> Any:
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

    def _numbered(self) -> list[_Numbered]:
        starts = np.cumsum([0] + [block.size for block in self._blocks]).tolist()
        return list(zip(starts, self._blocks, strict=False))

    def _compact(self) -> None:
        """Join blocks that deletions have left less than half full, so that memory follows the gallery's
        size."""
        blocks: list[_Block] = []
        for block in self._blocks:
            if not block.size:
                continue
            if blocks and blocks[-1].size + block.size <= _BLOCK // 2:
                used = slice(block.size)
                blocks[-1].append(block.embeddings[used], block.ids[used], block.subjects[used])
            else:
                blocks.append(block)
        self._blocks = blocks


class _Best:
    """The rows of the `count` highest scores among those offered. worst: the lowest of these, once there are
    as many."""

    def __init__(self, count: int) -> None:
        self.count, self.worst = count, np.float32(-np.inf)
        self._scores: Float32 = np.empty(0, np.float32)
        self._rows: Ids = np.empty(0, np.int64)

    def offer(self, scores: Float32, rows: Ids) -> None:
        better = np.flatnonzero(scores > self.worst)
        if not len(better):
            return
        if len(better) > self.count:
            better = better[np.argpartition(-scores[better], self.count - 1)[: self.count]]
        scores = np.concatenate([self._scores, scores[better]])
        rows = np.concatenate([self._rows, rows[better]])
        if len(scores) >= self.count:
            kept = np.argpartition(-scores, self.count - 1)[: self.count]
            scores, rows = scores[kept], rows[kept]
            self.worst = scores.min()
        self._scores, self._rows = scores, rows

    def rows(self) -> Ids:
        return self._rows[np.argsort(-self._scores, kind="stable")]
