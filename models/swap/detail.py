"""Sharpness and grain: giving the new face those of the picture it is put into."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from prosopon.models.faces.detections import Float32
from prosopon.models.swap.filters import blur, gray

_FINE, _COARSE = 0.8, 1.8
"""Sigmas, in pixels of the frame, between which a band of detail lies."""
_SEED = 68


@dataclass(frozen=True, slots=True)
class Detail:
    """fine, coarse: gains of two bands of detail; grain: standard deviation of noise to add, of 255."""

    fine: float
    coarse: float
    grain: float

    def apply(self, picture: Float32, rows_above: int) -> Float32:
        """picture: ``(H, W, 3)`` float32; rows_above: how many rows of the face lie above it, which places grain."""
        if self.fine == 1 and self.coarse == 1 and not self.grain:
            return picture
        fine, coarse = _bands(picture)
        change = (self.coarse - 1) * coarse + (self.fine - 1) * fine
        if self.grain > 0:
            change += self.grain * _grain(fine.shape, rows_above)
        return np.asarray(picture + change[..., None], np.float32)


def measure(picture: Float32, weights: Float32) -> tuple[float, float]:
    """Spread of the two bands of detail of ``(H, W, 3)`` under weights: robust, so that edges do not count."""
    chosen = weights > 0.5
    if chosen.sum() < 50:
        return 0.0, 0.0
    fine, coarse = (1.4826 * float(np.median(np.abs(band[chosen]))) for band in _bands(picture))
    return fine, coarse


def match(target: tuple[float, float], source: tuple[float, float]) -> Detail:
    """What brings the bands of the source to those of the target. Detail that is not there becomes grain."""
    fine = float(np.clip((target[0] + 0.1) / (source[0] + 0.1), 0.05, 1.6))
    coarse = float(np.clip((target[1] + 0.2) / (source[1] + 0.2), 0.3, 1.35))
    missing = target[0] ** 2 - (fine * source[0]) ** 2
    # The fine band holds about half the variance of white noise.
    grain = min(1.3 * float(np.sqrt(max(missing, 0.0))), 8.0)
    return Detail(fine, coarse, grain if grain > 0.3 else 0.0)


def _bands(picture: Float32) -> tuple[Float32, Float32]:
    """The fine and the coarse detail ``(H, W)`` of the luma of ``(H, W, 3)``."""
    luma = gray(picture)
    softer = blur(luma, _FINE)
    return luma - softer, softer - blur(softer, _COARSE)


def _grain(shape: tuple[int, ...], rows_above: int) -> Float32:
    """Standard normal noise, the same for the same place."""
    rows = (np.arange(shape[0]) + rows_above) % 256
    return _noise()[rows][:, np.arange(shape[1]) % 256]


@cache
def _noise() -> Float32:
    return np.random.default_rng(_SEED).standard_normal((256, 256)).astype(np.float32)
