"""The face as a mesh: iBUG's 68 points, a forehead that no landmark marks, and where each triangle is seen."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay, cKDTree

from prosopon.models.faces.detections import Float32
from prosopon.models.faces.landmarks import ibug

Index = NDArray[np.intp]

SHAPE_FILE = Path(__file__).with_name("mean_face.json")

# The forehead in units of the distance between the eyes, from their middle, y down: up along each temple and
# over the hairline. By the rule of thirds the hairline is as far above the brows as the nose is below them.
_FOREHEAD = (
    (-1.18, -0.42), (-1.05, -0.82), (-0.80, -1.14), (-0.42, -1.34), (0.0, -1.40),
    (0.42, -1.34), (0.80, -1.14), (1.05, -0.82), (1.18, -0.42),
    (-0.75, -0.75), (-0.38, -0.92), (0.0, -0.95), (0.38, -0.92), (0.75, -0.75),
)  # fmt: skip
FOREHEAD_ARC = tuple(range(68, 77))

_SWAPPED_RUNS = (
    range(16, -1, -1), range(26, 16, -1), range(27, 31), range(35, 30, -1), (45, 44, 43, 42, 47, 46),
    (39, 38, 37, 36, 41, 40), range(54, 47, -1), range(59, 54, -1), range(64, 59, -1), (67, 66, 65),
    range(76, 67, -1), range(81, 76, -1),
)  # fmt: skip
MIRRORED: Index = np.array([point for run in _SWAPPED_RUNS for point in run])
"""Which vertex each becomes when the face is seen in a mirror."""

JAW = tuple(range(17))
OUTLINE = (*JAW, *reversed(FOREHEAD_ARC))
"""Vertices around the whole face: along the jaw, then back over the forehead."""
BROWS = (tuple(range(17, 22)), tuple(range(22, 27)))
EYES = (tuple(range(36, 42)), tuple(range(42, 48)))
NOSTRILS = tuple(range(31, 36))
LIPS = tuple(range(48, 60))
MOUTH = tuple(range(60, 68))
CHEEKS = ((1, 3, 4, 48, 31, 40, 41, 36), (15, 13, 12, 54, 35, 47, 46, 45))
NOSE_BRIDGE = (27, 31, 33, 35)


@cache
def mean_mesh() -> Float32:
    """``(468, 3)`` float32: the mean shape. x to the viewer's right, y down, z away.

    The unit is the distance between the eyes and the origin their middle. `models.training.fit_mean_face` makes it.
    """
    return np.array(json.loads(SHAPE_FILE.read_text()), np.float32)


def mirrored(shape: NDArray[np.floating[Any]]) -> Index:
    """``(N,)``: which vertex each becomes when a face ``(N, 3)`` that looks at the camera is seen in a mirror."""
    return np.asarray(cKDTree(shape).query(shape * (-1, 1, 1))[1], np.intp)


@cache
def mean_face() -> Float32:
    """``(82, 3)`` float32: iBUG's 68 points of `mean_mesh`, and the forehead."""
    known = ibug(mean_mesh(), 3)
    forehead = np.array(_FOREHEAD, np.float32)
    # An ellipse in depth from the glabella, which lies deepest in the picture's middle, back to the temples.
    near, far = known[[21, 22], 2].mean(), known[[0, 16], 2].mean()
    sideways = np.minimum(np.abs(forehead[:, 0]) / 1.25, 1.0)
    upwards = np.minimum(np.maximum(-forehead[:, 1] - 0.4, 0.0) / 1.6, 1.0)
    back = 1 - np.sqrt(np.maximum(1 - sideways**2 - upwards**2, 0.0))
    return np.concatenate([known, np.column_stack([forehead, near + (far - near) * back])]).astype(np.float32)


@cache
def triangles() -> Index:
    """``(T, 3)`` vertices of the mesh: Delaunay on the mean shape from the front, its lips parted."""
    flat = mean_face()[:, :2].astype(np.float64)
    flat[[61, 62, 63], 1] -= 0.03
    flat[[65, 66, 67], 1] += 0.03
    return np.asarray(Delaunay(flat).simplices, np.intp)


def interocular(dense: Float32) -> float:
    """The distance between the eyes' middles in pixels."""
    return float(np.linalg.norm(dense[36:42].mean(axis=0) - dense[42:48].mean(axis=0)))


def camera(dense: Float32) -> Float32:
    """``(2, 4)``: the affine camera that projects the mean shape onto 68 points, by least squares.

    The mouth and the chin count little: they move.
    """
    weights = np.ones(68)
    weights[48:] = 0.2
    weights[5:12] = 0.3
    shape = np.column_stack([mean_face()[:68], np.ones(68)])
    # A weak pull towards no shear in depth keeps the depth column quiet for frontal faces.
    rows = np.vstack([shape * weights[:, None], [0, 0, 0.5, 0]])
    values = np.vstack([dense * weights[:, None], [0, 0]])
    return np.asarray(np.linalg.lstsq(rows, values, rcond=None)[0].T, np.float32)


def rotation(projection: Float32) -> NDArray[np.float64]:
    """The ``(3, 3)`` rotation nearest to an affine camera."""
    u, _, vt = np.linalg.svd(projection[:, :3].astype(np.float64), full_matrices=False)
    rows = u @ vt
    return np.vstack([rows, np.cross(rows[0], rows[1])])


def with_forehead(dense: Float32) -> Float32:
    """``(82, 2)``: 68 points and the forehead that belongs to them, in the same pixels."""
    shape = mean_face()
    projection = camera(dense)
    projected = shape @ projection[:, :3].T + projection[:, 3]
    residual = dense - projected[:68]
    # The forehead follows the brows and temples beside it where these differ from the mean.
    anchors = np.array([0, 16, *range(17, 27)])
    apart = np.linalg.norm(shape[68:, None, :2] - shape[None, anchors, :2], axis=2)
    weights = 1 / (apart**2 + 0.05)
    shift = weights @ residual[anchors] / weights.sum(axis=1, keepdims=True)
    return np.concatenate([dense, projected[68:] + 0.7 * shift]).astype(np.float32)


def visible_share(points: Float32) -> Float32:
    """``(2,)``: how large the left and the right half of the inner face look, against the mean from the front."""
    flat = mean_face()[:, :2]
    halves = []
    for half in ((36, 31, 48, 4, 1), (45, 35, 54, 12, 15)):
        seen = cv2.contourArea(points[list(half)].astype(np.float32))
        front = cv2.contourArea(np.ascontiguousarray(flat[list(half)]))
        halves.append(seen / front)
    shares = np.array(halves, np.float32)
    return shares / max(float(shares.max()), 1e-6)


def interpolate(
    points: Float32, values: Float32, shape: tuple[int, int]
) -> tuple[Float32, NDArray[np.bool_]]:
    """`interpolate_over` the 82 vertices."""
    turn = rotation(camera(points[:68]))
    return interpolate_over(triangles(), points, mean_face() @ turn[2].astype(np.float32), values, shape)


def interpolate_over(
    mesh: Index, points: Float32, depth: Float32, values: Float32, shape: tuple[int, int]
) -> tuple[Float32, NDArray[np.bool_]]:
    """Values at vertices, spread linearly over triangles.

    mesh: ``(T, 3)`` vertices; points: ``(V, 2)`` where these lie in a raster of `shape` (height, width); depth:
    ``(V,)`` grows away from the camera; values: ``(V, C)``. Returns ``(H, W, C)`` float32 and where the mesh lies.
    Where triangles overlap, the nearer one is seen.
    """
    corners = points[mesh].astype(np.float64)
    edges = np.concatenate([corners, np.ones((len(mesh), 3, 1))], axis=2)
    area = np.abs(np.linalg.det(edges))
    solid = area > 1e-3
    edges[~solid] = np.eye(3)
    # Value = x y 1 times these, exact in each triangle.
    affine = np.einsum("tij,tjc->tic", np.linalg.inv(edges), values[mesh])
    affine[~solid] = 0
    affine[~solid, 2] = values[mesh[~solid]].mean(axis=1)
    labels = np.zeros(shape, np.int32)
    fixed = np.round(corners * 16).astype(np.int32)
    for triangle in np.argsort(-depth[mesh].mean(axis=1), kind="stable"):
        cv2.fillConvexPoly(labels, fixed[triangle], int(triangle) + 1, cv2.LINE_8, 4)
    inside = labels > 0
    y, x = np.nonzero(inside)
    of = affine.astype(np.float32)[labels[inside] - 1]
    result = np.zeros((*shape, values.shape[1]), np.float32)
    result[inside] = of[:, 0] * x[:, None] + of[:, 1] * y[:, None] + of[:, 2]
    return result, inside


def hulls(points: Float32, groups: Sequence[Sequence[int]], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """A raster of 0 and 255: what the hulls of groups of vertices cover."""
    mask = np.zeros(shape, np.uint8)
    for group in groups:
        hull = np.round(cv2.convexHull(points[list(group)]) * 16).astype(np.int32)
        cv2.fillConvexPoly(mask, hull, 255, shift=4)
    return mask


def outline(points: Float32, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """A raster of 0 and 255: the whole face with its forehead."""
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.round(points[list(OUTLINE)] * 16).astype(np.int32)], 255, shift=4)
    return mask
