"""The light on a face, told from its skin and the normals of its surface, and what of it one half lacks."""

import cv2
import numpy as np

from prosopon.models.faces.detections import Float32
from prosopon.models.swap.filters import blur, gray, spread, weighted_blur
from prosopon.models.swap.maps import Maps

_GAMMA = 2.2
_SAMPLES = 3000
"""Pixels of skin that a fit looks at, at most."""
_FEWEST = 60
_ROUNDS = 5
_PULL = 0.02
"""Towards even light, against the pixels' mean square; four times as strong on what turns twice over the sphere."""
_DARKEST, _BRIGHTEST = 0.35, 1.8
"""Of the light that is divided out or multiplied in, against its median on the skin."""
_FINE = 0.07
"""Distance, in distances between the eyes, over which halves are compared."""
_DARK = 12.0
"""Added to both sides of a ratio of colours, of 255: noise in the dark has no ratio."""
_MOST = 1.0
"""Of the logarithm of a half's difference from both."""


def harmonics(normals: Float32) -> Float32:
    """``(..., 9)``: real spherical harmonics up to the second order, without their factors, of normals ``(..., 3)``.

    They span 99 % of what a convex surface without gloss shows under any distant light (Basri & Jacobs 2003).
    """
    length = np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), np.float32(1e-6))
    x, y, z = np.moveaxis(normals / length, -1, 0)
    return np.stack([np.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1], axis=-1)


def shading(picture: Float32, skin: Float32, normals: Float32) -> Float32:
    """``(H, W, 1)`` float32: by which factor light brightens or darkens each pixel, about 1 on most of the skin.

    picture: ``(H, W, 3)`` float32 RGB 0..255; skin: ``(H, W)`` weights; normals: ``(H, W, 3)``. Fitted to the skin's
    linear light by reweighted least squares (Tukey's weights), so that gloss, stubble and shadows that are cast do not
    count.
    """
    luma = gray(picture)
    chosen = np.flatnonzero(skin > 0.5)
    if len(chosen) < _FEWEST:
        return np.ones((*skin.shape, 1), np.float32)
    chosen = chosen[:: -(-len(chosen) // _SAMPLES)]
    basis = harmonics(normals)
    rows = basis.reshape(-1, 9)[chosen].astype(np.float64)
    values = (np.clip(luma.reshape(-1)[chosen], 0, 255) / 255) ** _GAMMA
    values /= max(float(np.median(values)), 1e-3)
    pull = _PULL * len(rows) * np.array([0, 1, 1, 1, 4, 4, 4, 4, 4])
    weights = np.ones(len(rows))
    for _ in range(_ROUNDS):
        weighted = rows * weights[:, None]
        found = np.linalg.solve(rows.T @ weighted + np.diag(pull), weighted.T @ values)
        apart = np.abs(values - rows @ found)
        weights = np.maximum(1 - (apart / (4.685 * 1.4826 * np.median(apart) + 1e-3)) ** 2, 0) ** 2
    light = basis @ found.astype(np.float32)
    light /= max(float(np.median(light.reshape(-1)[chosen])), 1e-3)
    floor = _DARKEST**_GAMMA
    # Light falls off softly towards the darkest; it has no edge.
    light = floor + np.logaddexp(0, 8 * (light - floor)) / 8
    return np.asarray(np.minimum(light ** (1 / _GAMMA), _BRIGHTEST)[..., None], np.float32)


def one_sided(
    picture: Float32, even: Float32, skin: Float32, shaded: Float32, way: Maps, unit: float
) -> Float32:
    """``(H, W, 3)`` float32: by which factor each half of a face is brighter than both are, as far as `Maps.halves`.

    A face is the same on both sides, its light is not: half a shadow, which no smooth light explains, is told by that.
    picture: ``(H, W, 3)`` float32; even: its smooth light, that it is compared with; skin: ``(H, W)`` weights; shaded:
    ``(H, W)``, where skin must be though it may be too dark to be known.
    """
    opposite = way.opposite
    likely = np.maximum(skin, 0.5 * shaded)
    log = np.log((np.maximum(picture, 0) + _DARK) / (even + _DARK))
    near = weighted_blur(log, likely, _FINE * unit)

    def seen(raster: Float32) -> Float32:
        x, y = opposite[..., 0], opposite[..., 1]
        return np.asarray(
            cv2.remap(raster, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32
        )

    there, sure = seen(near), blur(skin, _FINE * unit) + 0.05
    # Both halves become what the one is that is seen to be skin.
    share = seen(sure) / (sure + seen(sure))
    known = likely * seen(likely)
    half = spread(share[..., None] * (near - there), known, 0.05 * unit)
    return np.asarray(np.exp(way.halves * np.clip(half, -_MOST, _MOST)), np.float32)
