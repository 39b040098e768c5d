"""Batches for the student: views of chips, and what the teachers say of their faces."""

import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from prosopon.models.faces.detections import Float32
from prosopon.models.matching.vectors import normalize
from prosopon.models.training.embedding.augment import Rng, view_of
from prosopon.models.training.embedding.directions import groups_of, learn
from prosopon.models.training.embedding.network import DIM, SIDE
from prosopon.models.training.embedding.teachers import ARCFACE, RETAIL, similarity

HOLD_OUT = 14
"""One chip in so many is never trained on."""

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


TO_VIEW = np.vstack([similarity(ARCFACE, RETAIL), [0, 0, 1]])
"""``(3, 3)``: from the 112 px chip that `augment` thinks in to the pixels of a view."""


@dataclass
class Batch:
    """views ``(N, 3, 128, 128)`` float32 RGB 0..255; rows, groups ``(N,)`` int64."""

    views: Tensor
    rows: Tensor
    groups: Tensor


class Faces:
    """The arrays that `teachers` wrote, as far as they are written.

    A target is what both teachers say, each the unit mean of a chip and its mirror image without what strangers of a
    group share (`directions`), one after the other, on 256 principal axes. It is not centred: inner products stay those
    of the teachers.
    """

    def __init__(self, folder: Path, labels: Path) -> None:
        files = (folder / "files.txt").read_text().split()
        with labels.open() as stream:
            table = {row["file"]: row for row in csv.DictReader(stream)}
        told = [table[name] for name in files]
        groups, ages = groups_of(told)
        self.names, self.groups = np.unique(groups, return_inverse=True)
        self.chips = np.load(folder / "chips.npy", mmap_mode="r")
        landmarks = np.array(np.load(folder / "landmarks.npy", mmap_mode="r"), np.float64)
        self._to_arcface, self._to_view = similarities(landmarks, ARCFACE), similarities(landmarks, RETAIL)
        written = np.zeros(len(files), bool)
        for path in folder.glob("done-*.txt"):
            written[int(path.stem.split("-")[1]) : int(path.read_text())] = True
        self.rows = np.flatnonzero(written & np.load(folder / "detected.npy"))
        held = self.rows % HOLD_OUT == 0
        self.held_out, training = self.rows[held], self.rows[~held]
        self.members = [training[self.groups[training] == group] for group in range(len(self.names))]
        parts = []
        for name in ("mobile", "retail"):
            said = np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")[self.rows], np.float32)
            mean = normalize(normalize(said.reshape(-1, said.shape[-1])).reshape(said.shape).mean(axis=1))
            kept = self.rows[~held]
            parts.append(learn(mean[~held], groups[kept], ages[kept]).remove(mean))
        both = np.concatenate(parts, axis=1)
        axes = np.linalg.svd(both[~held], full_matrices=False)[2][:DIM].T
        self.targets: Float32 = normalize((both @ axes).astype(np.float32))

    def batch(self, rng: Rng, each: int, strength: float) -> Batch:
        """`each` faces of every group, half of them mirrored. strength: of the augmentation, 0..1."""
        rows = np.concatenate([rng.choice(members, each) for members in self.members])
        views = np.empty((len(rows), SIDE, SIDE, 3), np.uint8)
        flip = np.array([[-1, 0, 111], [0, 1, 0], [0, 0, 1]])
        for i, row in enumerate(rows):
            aligned = flip @ self._to_arcface[row] if rng.random() < 0.5 else self._to_arcface[row]
            views[i] = view_of(rng, self.chips[row], aligned, SIDE, strength, TO_VIEW)[0]
        return Batch(as_input(views), torch.from_numpy(rows), torch.from_numpy(self.groups[rows]))

    def clean(self, rows: Array) -> Tensor:
        """``(N, 3, 128, 128)``: chips as serving cuts them."""
        chips = [cv2.warpAffine(self.chips[row], self._to_view[row][:2], (SIDE, SIDE)) for row in rows]
        return as_input(np.stack(chips))

    def positions(self, rows: Array) -> Array:
        """Where the targets of some rows stand."""
        return np.searchsorted(self.rows, rows)


def as_input(views: Array) -> Tensor:
    """``(N, S, S, 3)`` uint8 RGB to ``(N, 3, S, S)`` float32, 0..255, channels last."""
    pixels = torch.from_numpy(views).permute(0, 3, 1, 2)
    return pixels.float().contiguous(memory_format=torch.channels_last)
