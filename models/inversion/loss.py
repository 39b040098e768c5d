"""How far a generated picture is from the one that is wanted, and how far its styles are from likely ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from prosopon.models.faces.detections import Float32, RGBImages
from prosopon.models.inversion.identity import Identity

_FINEST_CHIP_SOURCE = 256
"""Pixels: in a larger picture a face is more than twice as large as its chip, and sampling it would alias."""
_COARSEST = 16
_OUTSIDE = 0.25
"""Weight of what lies far from the face."""


@dataclass(frozen=True, slots=True)
class LossWeights:
    """identity: of the squared distance of embeddings; features: of its network's early levels, relative to their own
    size; pixels: of mean absolute differences, averaged over a pyramid; likely: of the squared distance from the
    mean style, in standard deviations; together: of that of a layer's style from all layers' mean.
    """

    identity: float = 0.6
    features: float = 1.4
    pixels: float = 1.5
    likely: float = 0.02
    together: float = 0.05


class InversionLoss:
    """Against some pictures; one each for a batch of candidates."""

    def __init__(
        self, targets: Tensor, landmarks: Float32, identity: Identity, weights: LossWeights = LossWeights()
    ) -> None:
        """targets: ``(N, 3, S, S)`` float32 RGB, -1..1, aligned; landmarks: ``(N, 5, 2)`` in their pixels."""
        self._identity, self._weights = identity, weights
        self._targets = targets
        matrices = [identity.matrix(points) for points in landmarks]
        self._grid = chip_grid(matrices, targets.shape[-1], identity.crop.size).to(targets.device)
        with torch.no_grad():
            self._stages = self._stages_of(targets)

    def __call__(self, pictures: Tensor) -> Tensor:
        """``(N,)``: of ``(N, 3, R, R)`` float32 RGB, -1..1, R at most that of the targets."""
        weights, stages = self._weights, self._stages_of(pictures)
        distance = self._identity.share * (stages[-1] - self._stages[-1]).square().sum(dim=1)
        features = sum(
            (made - wanted).square().mean(dim=(1, 2, 3)) / wanted.square().mean(dim=(1, 2, 3))
            for made, wanted in zip(stages[:-1], self._stages[:-1], strict=True)
        )
        pixels = self._pixels(pictures)
        return (
            weights.identity * distance
            + weights.features / (len(stages) - 1) * features
            + weights.pixels * pixels
        )

    def _pixels(self, pictures: Tensor) -> Tensor:
        targets = shrunk(self._targets, pictures.shape[-1])
        differences = []
        while True:
            mask = face_mask(pictures.shape[-1]).to(pictures.device)
            differences.append(((pictures - targets).abs() * mask).mean(dim=(1, 2, 3)) / mask.mean())
            if pictures.shape[-1] <= _COARSEST:
                return torch.stack(differences).mean(dim=0)
            pictures, targets = functional.avg_pool2d(pictures, 2), functional.avg_pool2d(targets, 2)

    def _stages_of(self, pictures: Tensor) -> list[Tensor]:
        pictures = shrunk(pictures, min(_FINEST_CHIP_SOURCE, pictures.shape[-1]))
        chips = functional.grid_sample(pictures, self._grid, align_corners=False, padding_mode="border")
        return self._identity.stages(chips)


def style_loss(base: Tensor, offsets: Tensor, weights: LossWeights) -> Tensor:
    """``(N,)``: base ``(N, 1, 512)`` and offsets ``(N, layers, 512)`` in the space of `LatentPrior`."""
    return weights.likely * base.square().mean(dim=(1, 2)) + weights.together * offsets.square().mean(
        dim=(1, 2)
    )


def from_pixels(pictures: RGBImages, device: torch.device | str = "cpu") -> Tensor:
    """``(N, S, S, 3)`` uint8 RGB to ``(N, 3, S, S)`` float32 RGB, -1..1, as a generator makes it."""
    return torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


def shrunk(pictures: Tensor, side: int) -> Tensor:
    """``(N, 3, S, S)`` to ``(N, 3, side, side)``, S a multiple of it."""
    factor = pictures.shape[-1] // side
    return functional.avg_pool2d(pictures, factor) if factor > 1 else pictures


def chip_grid(matrices: Sequence[Float32], side: int, chip: int) -> Tensor:
    """Where each pixel of a chip lies in a picture, ``(N, chip, chip, 2)``, in torch's -1..1, which no size changes."""
    grids = []
    rows, columns = np.mgrid[:chip, :chip].astype(np.float64)
    pixels = np.stack([columns, rows, np.ones_like(rows)], axis=-1)
    for matrix in matrices:
        inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]).astype(np.float64))[:2]
        grids.append((pixels @ inverse.T + 0.5) * 2 / side - 1)
    return torch.from_numpy(np.stack(grids).astype(np.float32))


def face_mask(side: int) -> Tensor:
    """``(side, side)``: 1 on the face of an aligned picture, falling off to `_OUTSIDE` around it."""
    axis = (torch.arange(side) + 0.5) / side
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    # An FFHQ face: chin to forehead over 0.55 of the picture, its middle a little below that of the picture.
    radius = torch.sqrt(((x - 0.5) / 0.30).square() + ((y - 0.55) / 0.38).square())
    return _OUTSIDE + (1 - _OUTSIDE) * torch.sigmoid((1.1 - radius) * 12)
