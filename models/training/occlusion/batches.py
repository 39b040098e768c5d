"""Rendered pictures as the network sees them, with how much of each pixel is not the face."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from prosopon.models.faces.detections import Float32
from prosopon.models.pictures.crops import crop_matrix
from prosopon.models.swap.occlusion import CROP, five_points
from prosopon.models.training.occlusion.faces import SIDE, Face, Faces
from prosopon.models.training.occlusion.labels import Known

_THING = 0.02
"""Share of a thing in a pixel from which the pixel is known for certain."""
_WEIGHTS = (1.0, 0.35, 0.0, 1.0)
"""Of pixels, by `Known`."""


class Renderings:
    """The shards that are there; more may come."""

    def __init__(self, data: Path, prefix: str) -> None:
        found = sorted(data.glob(f"{prefix}*_index.npy"))
        self._parts = [
            [
                np.load(str(path).replace("_index", f"_{part}"), mmap_mode="r")
                for part in ("pixels", "alpha", "index")
            ]
            for path in found
        ]
        self.ends = np.cumsum([len(part[2]) for part in self._parts])
        self.index: NDArray[np.int64] = np.concatenate([part[2] for part in self._parts])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Pixels ``(N, 160, 160, 3)`` and alphas ``(N, 160, 160)``."""
        shards = np.searchsorted(self.ends, rows, side="right")
        starts = np.concatenate([[0], self.ends])
        taken = [(self._parts[shard], row - starts[shard]) for shard, row in zip(shards, rows, strict=True)]
        return np.stack([part[0][row] for part, row in taken]), np.stack(
            [part[1][row] for part, row in taken]
        )


def aligned(face: Face) -> Float32:
    """``(2, 3)`` from its picture to the network's crop."""
    return crop_matrix(np.zeros(4, np.float32), five_points(face.dense), CROP)


def uniform(generator: torch.Generator, count: int, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def to_crops(matrices: Tensor, generator: torch.Generator | None) -> Tensor:
    """``(N, 128, 128, 2)``: where crops look in rendered pictures, as `grid_sample` wants it.

    matrices: ``(N, 2, 3)`` from pictures to crops. generator: of a detector's and a mesh's slips, and of mirroring.
    """
    count = len(matrices)
    full = torch.cat([matrices, torch.tensor([[[0.0, 0.0, 1.0]]]).expand(count, 1, 3)], dim=1)
    inverse = torch.linalg.inv(full)[:, :2]
    ys, xs = torch.meshgrid(torch.arange(CROP.size), torch.arange(CROP.size), indexing="ij")
    places = torch.stack([xs, ys], dim=-1).float().view(1, -1, 2).expand(count, -1, 2)
    if generator is not None:
        middle = (CROP.size - 1) / 2
        turn = torch.randn(count, generator=generator).clamp(-2.5, 2.5) * 0.09
        zoom = torch.exp(torch.randn(count, generator=generator).clamp(-2, 2) * 0.06)
        mirror = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
        stretch = torch.exp(uniform(generator, count, -0.06, 0.06))
        cos, sin = turn.cos() * zoom, turn.sin() * zoom
        change = torch.stack([cos * mirror * stretch, -sin, sin * mirror, cos / stretch], dim=1).view(
            -1, 2, 2
        )
        shift = torch.randn(count, 1, 2, generator=generator).clamp(-2, 2) * 3
        places = (places - middle) @ change.transpose(1, 2) + middle + shift
    seen = places @ inverse[:, :, :2].transpose(1, 2) + inverse[:, None, :, 2]
    return (seen * 2 / (SIDE - 1) - 1).view(count, CROP.size, CROP.size, 2)


class Batches:
    """Crops, how much of each pixel is not the face, and how much each pixel counts."""

    def __init__(self, data: Path, labels: NDArray[np.uint8], prefix: str) -> None:
        self.renderings, self.labels = Renderings(data, prefix), labels
        faces = Faces(data)
        matrices = [aligned(faces[index]) for index in range(len(faces))]
        self.matrices = torch.from_numpy(np.stack(matrices))

    def take(
        self, rows: NDArray[np.int64], generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``(N, 3, 128, 128)`` 0..255, then ``(N, 1, 128, 128)``: aim, weight, and the part that is rendered."""
        pixels, alphas = self.renderings[rows]
        faces = self.renderings.index[rows]
        grid = to_crops(self.matrices[faces], generator)
        alpha = torch.from_numpy(alphas).float().div(255)[:, None]
        labels = torch.from_numpy(self.labels[faces].astype(np.int64))[:, None]
        thing = alpha > _THING
        own = (labels == Known.OTHER).float()
        aim = torch.where(thing, 1 - (1 - alpha) * (1 - own), own)
        weight = torch.tensor(_WEIGHTS)[labels]
        # Of a thing that is seen through, what lies behind it must be known too.
        weight = torch.where(thing, torch.maximum(weight, (alpha > 0.9).float()), weight)
        # Thin things would be outweighed by what they lie on.
        area = thing.float().sum((1, 2, 3), keepdim=True)
        weight = weight * torch.where(thing, (6000 / (area + 1)).clamp(1, 5), torch.ones(()))
        chips = F.grid_sample(
            torch.from_numpy(pixels).permute(0, 3, 1, 2).float(),
            grid,
            padding_mode="border",
            align_corners=True,
        )
        rest = F.grid_sample(torch.cat([aim * weight, weight, alpha], dim=1), grid, align_corners=True)
        weight = rest[:, 1:2]
        aim = (rest[:, :1] / weight.clamp_min(1e-3)).clamp(0, 1)
        return chips, aim, weight, rest[:, 2:]
