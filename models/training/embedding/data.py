"""Batches for the student: views of chips, what the teachers say of them, and where their maps lie."""

import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from prosopon.models.training.embedding.augment import Rng, view_of
from prosopon.models.training.embedding.teachers import ARCFACE, HINTS, RETAIL

HOLD_OUT = 14
"""One chip in so many is never trained on."""

TEMPLATES = ((ARCFACE, 112), (RETAIL, 128))
"""How each teacher's chip is aligned, and its side."""

Array = np.ndarray


def similarities(landmarks: Array, template: Array) -> Array:
    """``(N, 3, 3)`` float64: for each ``(5, 2)`` what `teachers.similarity` says."""
    middle, aim = landmarks.mean(axis=1), template.mean(axis=0)
    p, q = landmarks - middle[:, None], template - aim
    norm = np.maximum((p * p).sum(axis=(1, 2)), 1e-6)
    a = (p * q).sum(axis=(1, 2)) / norm
    b = (p[..., 0] * q[:, 1] - p[..., 1] * q[:, 0]).sum(axis=1) / norm
    matrices = np.tile(np.eye(3), (len(landmarks), 1, 1))
    matrices[:, :2, :2] = np.stack([np.stack([a, -b], -1), np.stack([b, a], -1)], axis=1)
    matrices[:, :2, 2] = aim - np.einsum("nij,nj->ni", matrices[:, :2, :2], middle)
    return matrices


def _unit(values: Array) -> Array:
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-9))


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
        self.rows = np.empty(0, int)
        self.refresh()

    @staticmethod
    def _group(row: dict[str, str]) -> str:
        return f"{row['race']} {row['gender']}"

    def refresh(self) -> None:
        """Take up the rows that were written since."""
        written = np.zeros(len(self.files), bool)
        for path in self._folder.glob("done-*.txt"):
            written[int(path.stem.split("-")[1]) : int(path.read_text())] = True
        rows = np.flatnonzero(written)
        if len(rows) == len(self.rows):
            return
        means = [_unit(_unit(e[rows]).mean(axis=1)) for e in self._embeddings]
        both = np.concatenate(means, axis=1) / np.sqrt(2)
        path = self._folder / "axes.npy"
        if not path.exists():
            np.save(path, np.linalg.svd(both, full_matrices=False)[2][:256].T.astype(np.float32))
        self.rows, self.targets = rows, _unit(both @ np.load(path)).astype(np.float32)
        landmarks = np.array(self._landmarks, np.float64)
        self.matrices = [similarities(landmarks, template) for template, _ in TEMPLATES]
        self.held_out = rows[rows % HOLD_OUT == 0]
        training = rows[rows % HOLD_OUT != 0]
        self.members = [training[self.groups[training] == group] for group in range(len(self.names))]

    def batch(self, rng: Rng, each: int, side: int, strength: float) -> Batch:
        """`each` faces of every group."""
        rows = np.concatenate([rng.choice(members, each) for members in self.members])
        mirrored = rng.random(len(rows)) < 0.5
        seen = []
        for matrices, (_, size) in zip(self.matrices, TEMPLATES, strict=True):
            flip = np.array([[-1, 0, size - 1], [0, 1, 0], [0, 0, 1]])
            seen.append(np.where(mirrored[:, None, None], flip @ matrices[rows], matrices[rows]))
        views = np.empty((len(rows), side, side, 3), np.uint8)
        shakes = np.empty((len(rows), 3, 3))
        for i, row in enumerate(rows):
            views[i], shakes[i] = view_of(rng, self.chips[row], seen[0][i], side, strength)
        to_view = np.linalg.inv(_pixels(side)) @ shakes @ seen[0]
        places = [
            torch.from_numpy((to_view @ np.linalg.inv(matrices) @ _pixels(size))[:, :2].astype(np.float32))
            for matrices, (_, size) in zip(seen, TEMPLATES, strict=True)
        ]
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
            [places[hint.teacher] for hint in HINTS],
        )

    def clean(self, rows: Array, side: int) -> Tensor:
        """``(N, 3, side, side)``: chips as serving cuts them, then made smaller."""
        scale = side / 112
        smaller = np.array([[scale, 0, scale / 2 - 0.5], [0, scale, scale / 2 - 0.5], [0, 0, 1]])
        chips = [
            cv2.warpAffine(self.chips[row], (smaller @ self.matrices[0][row])[:2], (side, side))
            for row in rows
        ]
        return as_input(np.stack(chips))


def as_input(views: Array) -> Tensor:
    """``(N, S, S, 3)`` uint8 RGB to ``(N, 3, S, S)`` float32, -1..1, channels last."""
    pixels = torch.from_numpy(views).permute(0, 3, 1, 2)
    return (pixels.float() - 127.5).div_(127.5).contiguous(memory_format=torch.channels_last)
