"""A face's own coordinates, shapes as distances in them, and layers that lie over its picture."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from prosopon.models.faces.detections import Float32
from prosopon.models.swap.filters import smoothstep
from prosopon.models.training.mask.textures import smooth_noise
from prosopon.models.training.occlusion.faces import SIDE, Face

Random = np.random.Generator
Floats = NDArray[np.floating[Any]]

# Of the mean face: where the points below have x, in distances between the eyes.
_STATIONS = (0, (36, 37, 38, 39, 40, 41), 27, (42, 43, 44, 45, 46, 47), 16)
_ACROSS = np.array([-1.05, -0.5, 0.0, 0.5, 1.05], np.float32)
_EYES_TO_MOUTH = 1.05


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """Where each pixel of a picture lies on a face.

    x, y: ``(160, 160)`` float32, in distances between the eyes from their middle, y down, x to the viewer's right; on a
    turned face x is stretched as the face is pressed together. unit: that distance down the face, in pixels.
    origin: ``(2,)`` and axes: ``(2, 2)``, the rows right and down, in pixels.
    """

    x: Float32
    y: Float32
    unit: float
    origin: Float32
    axes: Float32

    def pixels(self, points: Float32) -> Float32:
        """Points ``(N, 2)`` of the face, unstretched, in pixels."""
        return np.asarray(self.origin + self.unit * (points @ self.axes), np.float32)


@lru_cache(maxsize=8)
def view(face: Face) -> View:
    dense = face.dense
    left, right = dense[36:42].mean(axis=0), dense[42:48].mean(axis=0)
    across = right - left
    right_ = across / max(float(np.hypot(*across)), 1e-6)
    axes = np.array([right_, (-right_[1], right_[0])], np.float32)
    origin = (left + right) / 2
    mouth = (dense[48] + dense[54]) / 2 - origin
    unit = max(float(mouth @ axes[1]) / _EYES_TO_MOUTH, float(np.hypot(*across)), 4.0)
    ys, xs = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    apart = np.stack([xs - origin[0], ys - origin[1]], axis=-1)
    x, y = (apart @ axes[0]) / unit, (apart @ axes[1]) / unit
    stations = np.array([dense[list(np.atleast_1d(s))].mean(axis=0) for s in _STATIONS])
    known = np.maximum.accumulate((stations - origin) @ axes[0] / unit + np.arange(5) * 1e-3)
    # Beyond the ears it goes on as it is.
    known = np.concatenate([[known[0] - 2], known, [known[-1] + 2]])
    stretched = np.interp(x, known, np.concatenate([[_ACROSS[0] - 2], _ACROSS, [_ACROSS[-1] + 2]]))
    return View(stretched.astype(np.float32), y.astype(np.float32), unit, origin.astype(np.float32), axes)


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """colour: ``(160, 160, 3)`` float32 RGB 0..255; alpha: ``(160, 160)`` float32 0..1, how much of a pixel it is."""

    colour: Float32
    alpha: Float32

    def over(self, rng: Random, picture: Float32, shadow: float) -> Float32:
        """The picture with the layer before it, and its shadow, which is no part of it. shadow: 0..1."""
        alpha = self.alpha[..., None]
        if shadow:
            soft = cv2.GaussianBlur(self.alpha, (0, 0), float(rng.uniform(1, 5)))
            soft = np.roll(soft, tuple(int(v) for v in rng.integers(-3, 5, 2)), axis=(0, 1))
            picture = picture * (1 - shadow * soft[..., None])
        return np.asarray(picture + alpha * (self.colour - picture), np.float32)

    def then(self, upper: "Layer") -> "Layer":
        """Both as one, `upper` before this."""
        alpha = upper.alpha + self.alpha * (1 - upper.alpha)
        mixed = (upper.colour * upper.alpha[..., None]) + (
            self.colour * (self.alpha * (1 - upper.alpha))[..., None]
        )
        return Layer(np.asarray(mixed / np.maximum(alpha, 1e-3)[..., None], np.float32), alpha)


def filled(distance: Float32, unit: float) -> Float32:
    """``(H, W)`` 0..1: inside a shape, smooth over a pixel. distance: to its border in units, negative inside."""
    return np.asarray(np.clip(0.5 - distance * unit, 0, 1), np.float32)


def rounded_box(x: Floats, y: Floats, half: tuple[float, float], radius: float) -> Float32:
    """Signed distance to a box with round corners around the origin (Quilez)."""
    across, down = np.abs(x) - (half[0] - radius), np.abs(y) - (half[1] - radius)
    outside = np.hypot(np.maximum(across, 0), np.maximum(down, 0))
    return np.asarray(outside + np.minimum(np.maximum(across, down), 0) - radius, np.float32)


def turned(x: Float32, y: Float32, center: tuple[float, float], angle: float) -> tuple[Float32, Float32]:
    """Coordinates around a centre, turned by an angle in radians."""
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    x, y = x - np.float32(center[0]), y - np.float32(center[1])
    return cos * x + sin * y, cos * y - sin * x


def capsule(
    x: Floats, y: Floats, start: Floats, end: Floats, radius: tuple[float, float]
) -> tuple[Float32, Float32, Float32, Float32]:
    """A rod from one point to another: signed distance, the surface's normal x and y, and the share of its length.

    radius: at its start and its end.
    """
    way = end - start
    length = float(way @ way) or 1e-6
    along = np.clip(((x - start[0]) * way[0] + (y - start[1]) * way[1]) / length, 0, 1)
    dx, dy = x - start[0] - along * way[0], y - start[1] - along * way[1]
    apart = np.hypot(dx, dy)
    wide = radius[0] + along * (radius[1] - radius[0])
    return tuple(np.asarray(v, np.float32) for v in (apart - wide, dx / wide, dy / wide, along))  # type: ignore[return-value]


def lit(normal_x: Float32, normal_y: Float32, light: Float32, ambient: float) -> Float32:
    """Gain of a round surface. light: ``(3,)`` of unit length, its last towards the viewer."""
    depth = np.sqrt(np.clip(1 - normal_x**2 - normal_y**2, 0, 1))
    shade = np.clip(normal_x * light[0] + normal_y * light[1] + depth * light[2], 0, 1)
    return np.asarray(ambient + (1 - ambient) * shade, np.float32)


def random_light(rng: Random) -> Float32:
    direction = np.array([rng.normal(0, 0.7), rng.normal(-0.4, 0.5), rng.uniform(0.4, 1.2)])
    return np.asarray(direction / np.linalg.norm(direction), np.float32)


def complexion(face: Face) -> Float32:
    """``(3,)``: the colour of its skin, in the light of its picture."""
    where = view(face)
    chosen = (face.skin > 0.6) & (np.abs(where.x) < 0.8) & (where.y > 0.2) & (where.y < 0.9)
    pixels = face.pixels[chosen] if chosen.sum() > 30 else face.pixels[60:100, 60:100].reshape(-1, 3)
    return np.asarray(np.median(pixels, axis=0), np.float32)


def noise(rng: Random, cells: int) -> Float32:
    return smooth_noise(rng, (SIDE, SIDE), cells)


def plain(colour: Floats) -> Float32:
    return np.tile(np.asarray(colour, np.float32), (SIDE, SIDE, 1))


def brightness(face: Face) -> float:
    """How much light there is, 0.15..1.1: by the brighter pixels of the face."""
    return float(np.clip(np.percentile(face.pixels.max(axis=2), 85) / 210, 0.15, 1.1))


def ramp(low: float, high: float, value: Float32) -> Float32:
    return smoothstep(low, high, value)
