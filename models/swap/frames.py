"""Frames of glasses that are too thin for a segmenter to be sure of them."""

import cv2
import numpy as np

from prosopon.models.faces.detections import Float32
from prosopon.models.swap import geometry
from prosopon.models.swap.filters import disc

# Places are across and down from the middle of the eyes, in distances between them.
_BRIDGE = (np.linspace(-0.12, 0.12, 5), np.linspace(-0.15, 0.3, 12))
_BELOW = (
    np.concatenate([np.linspace(-0.85, -0.2, 27), np.linspace(0.2, 0.85, 27)]),
    np.linspace(0.17, 0.5, 15),
)
"""Where frames cross the nose, and where they run below the eyes."""
_ZONE = ((-1.15, -0.4), (1.15, -0.4), (1.15, 0.6), (-1.15, 0.6))
_LIDS = 0.08
_WORN = 0.08
"""Geometric mean of how plainly a frame is seen in both places from which there is one: of 277 faces without glasses
the highest is 0.066, of six with glasses the lowest 0.099."""
_CERTAIN, _MOST = 0.45, 8.0
"""How plainly a frame is seen below the eyes that needs no help, and the most help."""


def framed(front: Float32, points: Float32) -> Float32:
    """``(H, W)`` float32: by how much what is seen before the face is to be believed more, since it is the frame of
    glasses; 0 where no frame is.

    Nothing but a frame lies over the bridge of the nose and below both eyes at once: where both are seen, however
    faintly, the lines between them belong to it. front: ``(H, W)`` 0..1; points: ``(82, 2)`` vertices of the face.
    """
    bridge, below = (_seen(front, points, *place) for place in (_BRIDGE, _BELOW))
    if bridge * below < _WORN**2:
        return np.zeros_like(front)
    zone = geometry.hulls(_places(points, *np.array(_ZONE).T), (range(len(_ZONE)),), front.shape)
    lids = cv2.dilate(
        geometry.hulls(points, geometry.EYES, front.shape), disc(_LIDS * geometry.interocular(points))
    )
    return np.where((zone > 0) & (lids == 0), np.clip(_CERTAIN / below, 1, _MOST), 0).astype(np.float32)


def _seen(front: Float32, points: Float32, across: Float32, down: Float32) -> float:
    """The median over columns of the most that is seen in each."""
    x, y = np.meshgrid(across, down)
    places = _places(points, x, y)
    return float(np.median(cv2.remap(front, places[..., 0], places[..., 1], cv2.INTER_LINEAR).max(axis=0)))


def _places(points: Float32, across: Float32, down: Float32) -> Float32:
    """``(..., 2)``: in pixels."""
    left, right = (points[list(eye)].mean(axis=0) for eye in geometry.EYES)
    x, y = right - left
    place = (left + right) / 2 + across[..., None] * (x, y) + down[..., None] * (-y, x)
    return np.asarray(place, np.float32)
