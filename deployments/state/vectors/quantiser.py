"""Four bits a number: a small copy of embeddings that is scanned to find which of them are worth comparing.

Every number of an embedding is rounded to one of 16 evenly spaced levels. That is product quantisation with
one number to a quantiser, so faiss can scan it with its fast-scan kernels (Andre, Kermarrec, Le Scouarnec:
Cache locality is not enough, VLDB 2015), which look scores up in registers. The levels need no training:
they come from each number's mean and deviation, as they are best for a normal distribution, which is near
enough for any embedder, since what the codes find is compared again exactly.
"""

from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from prosopon.models.faces.detections import Float32

Rows = NDArray[np.int64]

_LEVELS = 16
_STEP = 0.3352
"""In standard deviations: Max, Quantizing for minimum distortion, 1960, table II, 16 levels."""
_SAMPLE = 4_096
"""Embeddings that the levels are chosen by."""
_GROUP = 32
_ORDER = np.arange(16).reshape(2, 8).T.ravel()
"""Of a group's 32 rows, 0 to 15 lie in this order in the low halves of bytes, the others in the high."""
_ENCODED = 2_048
"""Rows encoded at a time: what stays in the cache."""


class Codes:
    """Codes of up to `capacity` embeddings, numbered as their rows are. Not thread-safe.

    One search is work of one thread, whatever OpenMP would take: a replica has the threads it was given.
    """

    def __init__(self, embeddings: Float32, capacity: int) -> None:
        """embeddings: ``(N, D)`` float32, which the levels are chosen for."""
        self._dim = embeddings.shape[1]
        sample = embeddings[:: max(1, len(embeddings) // _SAMPLE)]
        self._step = np.maximum(_STEP * sample.std(axis=0), np.float32(1e-9))
        self._lowest = sample.mean(axis=0) - _LEVELS / 2 * self._step
        levels = self._lowest[:, np.newaxis] + self._step[:, np.newaxis] * (np.arange(_LEVELS) + 0.5)
        index: Any = faiss.IndexPQFastScan(self._dim, self._dim, 4, faiss.METRIC_INNER_PRODUCT)
        faiss.copy_array_to_vector(levels.astype(np.float32).ravel(), index.pq.centroids)
        index.is_trained = True
        groups, pairs = -(-capacity // _GROUP), index.M2 // 2
        index.codes.resize(groups * pairs * _GROUP)
        index.ntotal2 = groups * _GROUP
        self._index = index
        # As faiss lays them out: 32 rows together, then two numbers of the embedding together, and of these
        # the first one's 16 bytes before the second one's.
        self._packed = faiss.rev_swig_ptr(index.codes.get(), index.codes.size())
        self._packed = self._packed.reshape(groups, pairs, 2, 16)
        self._packed[:] = 0
        self.put(0, embeddings)
        self.resize(len(embeddings))

    @property
    def nbytes(self) -> int:
        return int(self._packed.nbytes)

    def resize(self, size: int) -> None:
        """The first `size` rows are searched."""
        self._index.ntotal = size

    def put(self, start: int, embeddings: Float32) -> None:
        """Encode rows from `start` on."""
        for first in range(0, len(embeddings), _ENCODED):
            part = embeddings[first : first + _ENCODED]
            levels = (part - self._lowest) / self._step
            np.clip(levels, 0, _LEVELS - 1, out=levels)
            codes = np.zeros((len(part), self._packed.shape[1], 2), np.uint8)
            codes.reshape(len(part), -1)[:, : self._dim] = levels
            self._write(np.arange(start + first, start + first + len(part)), codes)

    def move(self, sources: Rows, targets: Rows) -> None:
        """Copy the codes of rows over those of others."""
        group, half, byte = _places(sources)
        codes = self._packed[group, :, :, byte] >> (4 * half)[:, np.newaxis, np.newaxis] & np.uint8(15)
        self._write(targets, codes)

    def search(self, probes: Float32, count: int) -> tuple[Float32, Rows]:
        """Approximate cosines ``(N, count)``, highest first, and their rows; count: at most as many as there
        are."""
        faiss.omp_set_num_threads(1)
        scores, rows = self._index.search(np.ascontiguousarray(probes), count)
        return scores, rows

    def _write(self, rows: Rows, codes: NDArray[np.uint8]) -> None:
        """codes: ``(N, pairs, 2)``."""
        group, half, byte = _places(rows)
        for which, kept in ((0, 0xF0), (1, 0x0F)):  # two rows share a byte: one after the other
            mine = half == which
            place = group[mine], slice(None), slice(None), byte[mine]
            self._packed[place] = self._packed[place] & kept | codes[mine] << 4 * which


def _places(rows: Rows) -> tuple[Rows, NDArray[np.uint8], Rows]:
    """Group, half of a byte, and byte of each row."""
    inside = rows % _GROUP
    return rows // _GROUP, (inside // 16).astype(np.uint8), np.argsort(_ORDER)[inside % 16]
