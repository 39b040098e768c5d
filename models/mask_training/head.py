"""A mean head in three dimensions: where 68 landmarks lie on a face turned aside, where dlib's predictor is lost.

Unit: from the middle of the eyes to the middle of the mouth corners. x, y: the mean of 60 portraits of the London
set, mirrored onto itself. z, towards the viewer: by eye, which is enough to place a mask.
"""

import numpy as np

from models.crops import similarity_transform
from models.types import Float32

# Points of the iBUG order on the midline and on the viewer's left, with their depth.
_LEFT = {
    **{0: (-1.11, 0.06, -1.0), 1: (-1.08, 0.35, -0.98), 2: (-1.04, 0.63, -0.92), 3: (-0.99, 0.92, -0.82)},
    **{4: (-0.91, 1.19, -0.68), 5: (-0.76, 1.42, -0.5), 6: (-0.54, 1.6, -0.3), 7: (-0.29, 1.74, -0.14)},
    **{8: (0.0, 1.78, -0.08), 17: (-0.93, -0.18, -0.35), 18: (-0.8, -0.33, -0.18), 19: (-0.6, -0.39, -0.08)},
    **{20: (-0.39, -0.37, 0.0), 21: (-0.19, -0.29, 0.03), 27: (0.0, -0.06, 0.05), 28: (0.0, 0.12, 0.18)},
    **{29: (0.0, 0.29, 0.32), 30: (0.0, 0.48, 0.45), 31: (-0.21, 0.63, 0.12), 32: (-0.11, 0.66, 0.22)},
    **{33: (0.0, 0.69, 0.28), 36: (-0.68, 0.01, -0.18), 37: (-0.57, -0.08, -0.08), 38: (-0.42, -0.07, -0.05)},
    **{39: (-0.29, 0.02, -0.12), 40: (-0.42, 0.06, -0.06), 41: (-0.57, 0.06, -0.09), 48: (-0.43, 1.0, -0.02)},
    **{49: (-0.27, 0.92, 0.1), 50: (-0.11, 0.89, 0.18), 51: (0.0, 0.91, 0.2), 57: (0.0, 1.18, 0.15)},
    **{58: (-0.12, 1.17, 0.14), 59: (-0.27, 1.12, 0.09), 60: (-0.36, 1.01, 0.0), 61: (-0.12, 0.99, 0.16)},
    **{62: (0.0, 1.0, 0.18), 66: (0.0, 1.04, 0.18), 67: (-0.12, 1.03, 0.16)},
}
_MIRRORED = {
    **{i: 16 - i for i in range(8)},
    **{i: 43 - i for i in range(17, 22)},
    **{31: 35, 32: 34, 36: 45, 37: 44, 38: 43, 39: 42, 40: 47, 41: 46, 48: 54, 49: 53, 50: 52},
    **{58: 56, 59: 55, 60: 64, 61: 63, 67: 65},
}


def _mean_head() -> Float32:
    points = np.zeros((68, 3), np.float32)
    for index, place in _LEFT.items():
        points[index] = place
    for left, right in _MIRRORED.items():
        points[right] = points[left] * (-1, 1, 1)
    return points


HEAD = _mean_head()


def five_of(points: Float32) -> Float32:
    """The five points of `Detections.landmarks` among 68. ``(68, D)`` to ``(5, D)``."""
    eyes = [points[36:42].mean(axis=0), points[42:48].mean(axis=0)]
    return np.stack([*eyes, points[30], points[48], points[54]])


def turned_points(five: Float32) -> tuple[Float32, float]:
    """The head's 68 landmarks, turned aside as the five say; and the largest distance to the five that remains.

    five: ``(5, 2)`` in pixels; returns ``(68, 2)`` float32 in pixels, and the distance as a share of the unit.
    """
    best, least = HEAD[:, :2], np.inf
    for yaw in np.radians(np.arange(-80, 81, 5)):
        seen = np.stack([HEAD[:, 0] * np.cos(yaw) + HEAD[:, 2] * np.sin(yaw), HEAD[:, 1]], axis=1)
        matrix = similarity_transform(five_of(seen).astype(np.float32), five)
        placed = seen @ matrix[:, :2].T + matrix[:, 2]
        scale = float(np.hypot(matrix[0, 0], matrix[1, 0])) + 1e-6
        distance = float(np.linalg.norm(five_of(placed) - five, axis=1).max()) / scale
        if distance < least:
            best, least = placed.astype(np.float32), distance
    return best, least
