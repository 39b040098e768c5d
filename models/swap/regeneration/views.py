"""Chips cut out of generated pictures, for networks that gradients flow through."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from prosopon.models.faces.detections import Float32

_SCALE, _TURN, _SHIFT = 0.06, 0.08, 0.03
"""Standard deviations of jitter: logarithm of scale, radians, sides of the chip."""
_BRIGHT, _CONTRAST = 0.06, 0.12
_FINEST = 2.0
"""Pixels of a picture per pixel of a chip from which sampling would alias."""


def grid(matrix: Float32, side: int, chip: int) -> Tensor:
    """Where each pixel of a chip lies in a picture, ``(1, chip, chip, 2)``, in torch's -1..1, which no size changes.

    matrix: ``(2, 3)`` from pixels of the picture of `side` pixels to those of the chip.
    """
    rows, columns = np.mgrid[:chip, :chip].astype(np.float64)
    pixels = np.stack([columns, rows, np.ones_like(rows)], axis=-1)
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]).astype(np.float64))[:2]
    return torch.from_numpy(((pixels @ inverse.T + 0.5) * 2 / side - 1).astype(np.float32))[None]


def sample(pictures: Tensor, places: Tensor) -> Tensor:
    """``(N, 3, chip, chip)`` of pictures ``(N, 3, S, S)`` at a `grid`, without aliasing."""
    chip = places.shape[1]
    span = float((places[0, :, -1] - places[0, :, 0]).norm(dim=-1).mean()) / 2 * pictures.shape[-1]
    while span / chip > _FINEST and pictures.shape[-1] % 2 == 0:
        pictures, span = functional.avg_pool2d(pictures, 2), span / 2
    places = places.to(pictures.device).expand(len(pictures), -1, -1, -1)
    return functional.grid_sample(pictures, places, align_corners=False, padding_mode="border")


def jittered(matrix: Float32, chip: int, random: np.random.Generator, mirrored: bool = True) -> Float32:
    """The transform to a chip of `chip` pixels, moved, scaled, turned and, every other time where wanted, mirrored."""
    scale = np.exp(_SCALE * random.standard_normal())
    angle = _TURN * random.standard_normal()
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    flip = -1.0 if mirrored and random.random() < 0.5 else 1.0
    turn = np.array([[cos, -sin], [sin, cos]]) @ np.diag([flip, 1.0])
    middle = np.full(2, chip / 2 - 0.5)
    shift = middle - turn @ middle + _SHIFT * chip * random.standard_normal(2)
    moved = turn @ matrix.astype(np.float64)
    moved[:, 2] += shift
    return moved.astype(np.float32)


def disturbed(chips: Tensor, random: np.random.Generator) -> Tensor:
    """Chips -1..1 in other light, and every third time softer."""
    contrast = float(np.exp(_CONTRAST * random.standard_normal()))
    chips = chips * contrast + _BRIGHT * float(random.standard_normal())
    if random.random() < 0.33:
        side = chips.shape[-1]
        small = functional.interpolate(chips, scale_factor=random.uniform(0.4, 0.8), mode="area")
        chips = functional.interpolate(small, (side, side), mode="bilinear", align_corners=False)
    return chips
