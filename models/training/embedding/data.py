"""Batches for the student: views of chips, what the teachers say of them, and where their maps lie."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from prosopon.models.training.embedding.augment import Rng, view_of
from prosopon.models.training.embedding.teachers import ARCFACE, HINTS, RETAIL, similarity

HOLD_OUT = 14
"""One chip in so many is never trained on."""

TEMPLATES = ((ARCFACE, 112), (RETAIL, 128))
"""How each teacher's chip is aligned, and its side."""

Array = np.ndarray


def _whole(matrix: Array) -> Array:
    return np.vstack([matrix, [0, 0, 1]]).astype(np.float64)


def _unit(values: Array) -> Array:
    return values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-9)


def _pixels(side: int) -> Array:
    """``(3, 3)``: -1..1 across a picture of `side` pixels, to its pixels; pixel centres sit at integers."""
    return np.array([[side / 2, 0, side / 2 - 0.5], [0, side / 2, side / 2 - 0.5], [0, 0, 1]])


@dataclass
class Batch:
    """views ``(N, 3, S, S)`` float32 -1..1; rows, groups ``(N,)``; hints ``(N, C, s, s)`` with the ``(N, 2, 3)``
    that tells where a teacher's cell lies in the view, both in -1..1, as `torch.nn.functional.affine_grid` reads."""

    views: Tensor
    rows: Tensor
    groups: Tensor
    hints: list[Tensor]
    places: list[Tensor]


class Faces:
    """The arrays that `teachers` wrote, as far as they are written.

    Targets are the concatenation of both teachers' embeddings, each the unit mean of a chip and its mirror image,
    on 256 principal axes. They are not centred: inner products stay those of the teachers.
    """

    def __init__(self, folder: Path, labels: Path) -> None:
        self._folder = folder
        self.files = (folder / "files.txt").read_text().split()
        with labels.open() as stream:
            table = {row["file"]: row for row in csv.DictReader(stream)}
        self.labels = [table[name] for name in self.files]
        names = sorted({self._group(row) for row in self.labels})
        self.names = names
        self.groups = np.array([names.index(self._group(row)) for row in self.labels])
        self.chips = np.load(folder / "chips.npy", mmap_mode="r")
        self._landmarks = np.load(folder / "landmarks.npy", mmap_mode="r")
        self._embeddings = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("mobile", "retail")]
        self._maps = [np.load(folder / f"{hint.name}.npy", mmap_mode="r") for hint in HINTS]
        steps = np.load(folder / "hints.npz")
        self._steps = []
        for hint in HINTS:
            step = steps[f"{hint.name}_step"].astype(np.float32)
            # The sum of the components' variances becomes 1: a loss is then the share that is not explained.
            self._steps.append(step / np.sqrt(((step * 127 / 4.5) ** 2).sum()))
        self.done = 0
        self.targets = np.empty((0, 256), np.float32)
        self.refresh()

    @staticmethod
    def _group(row: dict[str, str]) -> str:
        return f"{row['race']} {row['gender']}"

    def refresh(self) -> None:
        """Take up the rows that were written since."""
        done = int((self._folder / "done.txt").read_text())
        if done == self.done:
            return
        means = [_unit(_unit(np.asarray(e[self.done : done])).mean(axis=1)) for e in self._embeddings]
        both = np.concatenate(means, axis=1) / np.sqrt(2)
        path = self._folder / "axes.npy"
        if not path.exists():
            np.save(path, np.linalg.svd(both, full_matrices=False)[2][:256].T.astype(np.float32))
        axes = np.load(path)
        self.targets = np.concatenate([self.targets, _unit(both @ axes).astype(np.float32)])
        self.done = done
        rows = np.arange(done)
        self.held_out = rows[rows % HOLD_OUT == 0]
        training = rows[rows % HOLD_OUT != 0]
        self.members = [training[self.groups[training] == group] for group in range(len(self.names))]

    def aligned(self, row: int) -> Array:
        """``(3, 3)`` from the chip's pixels to those of the ArcFace chip."""
        return _whole(similarity(np.asarray(self._landmarks[row]), ARCFACE))

    def batch(self, rng: Rng, each: int, side: int, strength: float) -> Batch:
        """`each` faces of every group."""
        rows = np.concatenate([rng.choice(members, each) for members in self.members])
        mirrored = rng.random(len(rows)) < 0.5
        views = np.empty((len(rows), side, side, 3), np.uint8)
        places = [np.empty((len(rows), 2, 3), np.float32) for _ in TEMPLATES]
        to_view = np.linalg.inv(_pixels(side))
        for i, row in enumerate(rows):
            aligned = self.aligned(row)
            if mirrored[i]:
                aligned = np.array([[-1, 0, 111], [0, 1, 0], [0, 0, 1]]) @ aligned
            views[i], shake = view_of(rng, np.asarray(self.chips[row]), aligned, side, strength)
            for place, (template, size) in zip(places, TEMPLATES, strict=True):
                seen = _whole(similarity(np.asarray(self._landmarks[row]), template))
                if mirrored[i]:
                    seen = np.array([[-1, 0, size - 1], [0, 1, 0], [0, 0, 1]]) @ seen
                place[i] = (to_view @ shake @ aligned @ np.linalg.inv(seen) @ _pixels(size))[:2]
        which = mirrored.astype(int)
        hints = [
            torch.from_numpy(m[rows, which].astype(np.float32) * step[:, None, None])
            for m, step in zip(self._maps, self._steps, strict=True)
        ]
        return Batch(
            as_input(views),
            torch.from_numpy(rows),
            torch.from_numpy(self.groups[rows]),
            hints,
            [torch.from_numpy(places[hint.teacher]) for hint in HINTS],
        )

    def clean(self, rows: Array) -> Tensor:
        """``(N, 3, 112, 112)``: chips as serving cuts them."""
        import cv2

        chips = [cv2.warpAffine(np.asarray(self.chips[r]), self.aligned(r)[:2], (112, 112)) for r in rows]
        return as_input(np.stack(chips))


def as_input(views: Array) -> Tensor:
    """``(N, S, S, 3)`` uint8 RGB to ``(N, 3, S, S)`` float32, -1..1, channels last."""
    pixels = torch.from_numpy(views).permute(0, 3, 1, 2)
    return (pixels.float() - 127.5).div_(127.5).contiguous(memory_format=torch.channels_last)
