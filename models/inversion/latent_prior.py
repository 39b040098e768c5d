"""What is a likely style: w in its principal axes, each divided by its standard deviation.

There a distance from the mean says how unlike the styles that the generator was trained on a style is (Mahalanobis),
truncation shortens it, and all axes matter alike, which makes it a good space to search in.
"""

import numpy as np
import torch
from torch import Tensor

from prosopon.models.roles import LatentMapper

_SAMPLES, _BATCH = 8192, 512
_FLOOR = 1e-3
"""Of the largest standard deviation: below it an axis is noise and is not divided by its own."""


class LatentPrior:
    """Between styles w ``(..., 512)`` and p ``(..., 512)``, which are independent and of unit variance."""

    def __init__(self, mean: Tensor, axes: Tensor, deviations: Tensor) -> None:
        """mean: ``(512,)``; axes: ``(512, 512)``, a principal axis in each row; deviations: ``(512,)``."""
        self._mean, self.deviations = mean, deviations
        self._forth = axes.T / deviations  # (512, 512): from w to p
        self._back = axes * deviations[:, None]

    @classmethod
    def of(cls, mapper: LatentMapper) -> "LatentPrior":
        """Of the styles that a mapping network makes of `_SAMPLES` latents, always the same ones."""
        z = np.random.default_rng(0).standard_normal((_SAMPLES, 512), dtype=np.float32)
        w = np.concatenate([mapper.map(z[first : first + _BATCH]) for first in range(0, _SAMPLES, _BATCH)])
        mean = torch.from_numpy(mapper.mean_w)
        centred = torch.from_numpy(w).double() - mean
        variances, vectors = torch.linalg.eigh(centred.T @ centred / _SAMPLES)
        deviations = variances.clamp(min=0).sqrt()
        deviations = deviations.clamp(min=float(deviations.max()) * _FLOOR)
        return cls(mean, vectors.T.float(), deviations.float())

    def to_p(self, w: Tensor) -> Tensor:
        return (w - self._mean.to(w)) @ self._forth.to(w)

    def to_w(self, p: Tensor) -> Tensor:
        return p @ self._back.to(p) + self._mean.to(p)
