"""The face as a surface: the mesh's 468 points and a hairline beyond them, with normals and what the camera sees."""

from functools import cache

import cv2
import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.spatial import Delaunay

from prosopon.models.faces.detections import Float32
from prosopon.models.faces.landmarks import MESH, ibug
from prosopon.models.swap import geometry
from prosopon.models.swap.filters import smoothstep
from prosopon.models.swap.geometry import Index

_HAIRLINE = geometry.FOREHEAD_ARC
"""The vertices of the mean face that follow the mesh's."""
_MIDDLE = 0.6
"""Depth, in distances between the eyes, of a point in the head around which the face is unrolled."""
_HIDDEN = 0.12
"""How far behind what covers it, in distances between the eyes, a vertex is not seen."""
_AROUND = 0.2
"""How far, in distances between the eyes, vertices at the outline look around."""
_GRAZING, _SEEN = 0.12, 0.45
"""Cosines between a surface's normal and the way to the camera, below which it shows nothing and above which all."""


@cache
def mean_surface() -> Float32:
    """``(477, 3)``: `geometry.mean_mesh` and its hairline."""
    return np.concatenate([geometry.mean_mesh(), geometry.mean_face()[list(_HAIRLINE)]])


@cache
def mirrored() -> Index:
    """``(477,)``: which vertex each becomes when the face is seen in a mirror."""
    return geometry.mirrored(mean_surface())


@cache
def triangles() -> Index:
    """``(T, 3)`` vertices, counted so that `normals` point out of the head: Delaunay (1934) on the unrolled mean
    surface, its lips parted."""
    shape = mean_surface().astype(np.float64)
    mouth = geometry.mean_face()[60:68]
    inner = np.abs(shape[:, None] - mouth).sum(axis=2).min(axis=1) < 0.08
    shape[inner, 1] += np.where(shape[inner, 1] > mouth[:, 1].mean(), 0.03, -0.03)
    back = _MIDDLE - shape[:, 2]
    found = Delaunay(np.arctan2(shape[:, :2], back[:, None])).simplices
    a, b, c = (mean_surface()[found[:, corner]] for corner in range(3))
    inwards = np.cross(b - a, c - a)[:, 2] > 0
    found[inwards] = found[inwards, ::-1]
    return np.asarray(found, np.intp)


def with_hairline(mesh: Float32) -> Float32:
    """``(477, 3)``: the 468 points of a mesh ``(468, 3)`` and the hairline that belongs to them."""
    shape = mean_surface()
    known, beyond = shape[: len(mesh)], shape[len(mesh) :]
    # Eyes and mouth move by themselves; the upper half of the face is rigid.
    weights = np.where(known[:, 1] < 0.5, 1.0, 0.2)[:, None].astype(np.float32)
    homogeneous = np.column_stack([known, np.ones(len(known), np.float32)])
    camera = np.linalg.lstsq(homogeneous * weights, mesh * weights, rcond=None)[0]
    residual = mesh - homogeneous @ camera
    # The hairline follows the forehead's border where this differs from the mean.
    apart = ((beyond[:, None] - known[None]) ** 2).sum(axis=2)
    near = np.exp(-apart / 0.15)
    shift = near @ residual / np.maximum(near.sum(axis=1, keepdims=True), 1e-6)
    placed = np.column_stack([beyond, np.ones(len(beyond))]) @ camera + shift
    return np.concatenate([mesh, placed]).astype(np.float32)


def normals(points: Float32) -> Float32:
    """``(V, 3)``: of unit length, out of the head; z is negative towards the camera."""
    mesh = triangles()
    a, b, c = (points[mesh[:, corner]] for corner in range(3))
    facets = np.cross(b - a, c - a)
    total = np.zeros_like(points)
    for corner in range(3):
        np.add.at(total, mesh[:, corner], facets)
    return np.asarray(total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-9), np.float32)


def visibility(points: Float32) -> Float32:
    """``(V,)`` 0..1: how well the camera sees each vertex ``(V, 3)``: less the more it looks aside, and not at all
    behind what lies before it."""
    facing = smoothstep(_GRAZING, _SEEN, -normals(points)[:, 2])
    dense = ibug(points[:MESH])
    unit = max(geometry.interocular(dense), 1e-6)
    # A raster of 96 pixels shows what covers what.
    low = points[:, :2].min(axis=0)
    scale = 95 / max(float(np.ptp(points[:, :2], axis=0).max()), 1e-6)
    flat = (points[:, :2] - low) * scale
    depth = points[:, 2] / np.float32(unit)
    front, _ = geometry.interpolate_over(triangles(), flat, depth, depth[:, None], (96, 96))
    x, y = np.clip(np.round(flat).astype(int), 0, 95).T
    # A vertex at an edge may lie beside it by half a pixel: what is farthest near it counts.
    front = cv2.dilate(front[..., 0], np.ones((3, 3), np.uint8))
    behind = depth - front[y, x]
    seen = facing * smoothstep(_HIDDEN, 0.4 * _HIDDEN, behind)
    # At the outline the mesh ends, and with it what normals are told by: there those around count too.
    return np.asarray(seen + _rim() * (_near() @ seen - seen), np.float32)


def drawn_in(points: Float32) -> Float32:
    """``(477, 2)``: the vertices ``(477, 3)`` without their depth, of which those at the outline that the camera hardly
    sees are moved to others near them: what lies behind a face does not belong to it."""
    seen = visibility(points)
    turned = (_rim() * (1 - smoothstep(0.3, 0.9, seen)))[:, None]
    near = _near() * (seen**2 + np.float32(1e-6))
    there = near @ points[:, :2] / near.sum(axis=1, keepdims=True)
    return np.asarray(points[:, :2] + turned * (there - points[:, :2]), np.float32)


@cache
def _rim() -> Float32:
    """``(477,)`` 0..1: the vertices along the outline."""
    shape = mean_surface()
    return smoothstep(0.8, 0.95, np.hypot(shape[:, 0], 0.85 * np.maximum(np.abs(shape[:, 1]) - 0.5, 0)))


@cache
def _near() -> Float32:
    """``(477, 477)``: by which weights those around a vertex count, of sum 1 in each row."""
    shape = mean_surface()
    weights = np.exp(((shape[:, None] - shape[None]) ** 2).sum(axis=2) / (-2 * _AROUND**2))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def carried(shift: Float32) -> Float32:
    """``(477, 2)``: what moves the vertices along where iBUG's 68 points move by ``(68, 2)``."""
    return np.asarray(_spread() @ shift, np.float32)


@cache
def _spread() -> Float32:
    """``(477, 68)``: a linear spline (a kernel of distances) through iBUG's points of the mean face."""
    spline = RBFInterpolator(geometry.mean_face()[:68], np.eye(68), kernel="linear", smoothing=1e-3)
    return np.asarray(spline(mean_surface()), np.float32)
