"""The part of a face's shape that is who it is: where features sit and how large they are, not what they express."""

import numpy as np

from prosopon.models.faces.detections import Float32
from prosopon.models.swap import geometry
from prosopon.models.swap.filters import smoothstep

_LARGEST_SHIFT = 0.18
"""In distances between the eyes."""
_TURNED, _FRONTAL = 50.0, 25.0
"""Degrees of yaw between which proportions stop being comparable."""


def yaw(points: Float32) -> float:
    """Degrees that a face is turned sideways, without its sign. points: ``(68, 2)``, or with the forehead."""
    forward = geometry.rotation(geometry.camera(points[:68]))[:, 2]
    return float(np.degrees(np.arcsin(np.clip(abs(forward[0]), 0, 1))))


def with_proportions(target: Float32, source: Float32, share: float, mouth: bool) -> Float32:
    """The target's vertices ``(82, 2)``, its features moved towards the proportions of the source.

    share: 0..1, how far; mouth: whether the mouth may move too. Both faces are compared on the mean face, with
    their pose taken away. The outline stays the target's, and so does every expression: eyes and mouth move as a
    whole, and open as far as they did.
    """
    turned = max(yaw(target), yaw(source))
    share *= float(smoothstep(_TURNED, _FRONTAL, turned))
    if share <= 0:
        return target
    back = geometry.camera(target[:68])[:, :2]
    own, other = _shape(target), _shape(source)
    if own is None or other is None:
        return target
    shift = np.zeros_like(own)
    shift[27:36] = other[27:36] - own[27:36]
    for eye in geometry.EYES:
        points = list(eye)
        here, there = own[points].mean(axis=0), other[points].mean(axis=0)
        width, wanted = (float(np.linalg.norm(shape[points[0]] - shape[points[3]])) for shape in (own, other))
        scale = np.clip(wanted / max(width, 1e-6), 0.8, 1.25)
        shift[points] = there - here + (scale - 1) * (own[points] - here)
    for brow in geometry.BROWS:
        points = list(brow)
        shift[points] = 0.9 * (other[points] - own[points]).mean(axis=0)
    if mouth:
        shift[48:68] = (other[48:68] - own[48:68]).mean(axis=0)
    length = np.linalg.norm(shift, axis=1, keepdims=True)
    shift *= share * np.minimum(1.0, _LARGEST_SHIFT / np.maximum(length, 1e-6))
    moved = target.copy()
    moved[:68] += shift @ back.T
    return moved


def _shape(points: Float32) -> Float32 | None:
    """``(68, 2)``: the face on the mean face, without its pose; None where it is seen from the side."""
    projection = geometry.camera(points[:68])
    plane = projection[:, :2].astype(np.float64)
    if abs(np.linalg.det(plane)) < 0.05 * np.linalg.norm(plane) ** 2:
        return None
    mean = geometry.mean_face()[:68]
    residual = points[:68] - (mean @ projection[:, :3].T + projection[:, 3])
    return np.asarray(mean[:, :2] + residual @ np.linalg.inv(plane).T, np.float32)
