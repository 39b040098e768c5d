"""The face that is put in without what lies before it: glasses, hair and hands are not carried over."""

import itertools
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import cv2
import numpy as np
from numpy.typing import NDArray

from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.swap import geometry
from prosopon.models.swap.filters import blur, disc, gray, smoothstep, spread
from prosopon.models.swap.fringe import forehead, hair
from prosopon.models.swap.mask import with_lines
from prosopon.models.swap.occlusion import CROP, Front, segmenter
from prosopon.models.swap.types import SourceFace

_FINEST = 4
"""Pixels of the raster, along each side, for one of the segmenter's."""
_WITHIN = 0.03
"""Distance, in distances between the eyes, by which what is covered is widened: an edge shows both sides."""
_BESIDE = 0.18
"""How far around what is seen of something it is taken off, where the rest of it is hidden."""
_THIN = 0.11
"""Width, in distances between the eyes, up to which a thing is a line: a frame, a strand."""
_LIGHT = 0.25
"""Distance over which the light of one half of a face is compared with the other's."""
_LEAST = 0.004
"""Share of the face under which nothing is changed."""
_DARK = 12.0
_BEYOND = 0.1
"""How far beyond its outline a face is filled in: the mesh's may be wider."""
_EVEN = 0.08
"""Over which distance a forehead is averaged where hair is taken off it."""
_BANDS = (0.004, 0.012, 0.03)
"""Bounds of the bands of skin's texture, in distances between the eyes."""
_SEEN = 0.05
"""How many square distances of forehead tell its texture."""
_OF_NORMAL = 1.4826
"""Standard deviation of what is normal, by its median absolute deviation."""
_FRONTAL = 0.6
"""How large the smaller half of a face must look, against the larger, to be told by the other."""


@dataclass(frozen=True, slots=True, eq=False)
class Uncovered:
    """picture: ``(H, W, 3)`` uint8 RGB, the face filled in where something lay before it; left: of the same shape, 0 to
    255, or None where nothing was covered: what could not be filled, what was covered at all, and nothing.
    """

    picture: RGBImage
    left: RGBImage | None


_KNOWN: WeakKeyDictionary[SourceFace, Uncovered] = WeakKeyDictionary()
"""Of the faces that are in use: a film puts one into every frame."""


def bared(source: SourceFace) -> Uncovered:
    """`uncovered`, by what the project's own segmenter sees."""
    found = _KNOWN.get(source)
    if found is None:
        dense = source.geometry.dense
        found = _KNOWN[source] = uncovered(source.picture, dense, segmenter().find(source.picture, dense))
    return found


def uncovered(picture: RGBImage, dense: Float32, front: Front, hidden: Float32 | None = None) -> Uncovered:
    """Lines are filled from both their sides, larger things from the face's other half where that is free.

    hidden: as the front's chip, 1 where something else will come to lie before the face: only what is before it
    beside that is taken off, and what is near.
    """
    zoom = float(np.hypot(*front.matrix[0, :2]))
    factor = int(np.clip(np.ceil(1 / max(zoom, 1e-6)), 1, _FINEST))
    side = factor * CROP.size
    matrix = (front.matrix * factor).astype(np.float32)
    matrix[:, 2] += (factor - 1) / 2
    points = (geometry.with_forehead(dense) @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    unit = geometry.interocular(points)
    size = (side, side)
    inside = geometry.outline(points, size).astype(np.float32) / np.float32(255)
    wide = np.asarray(cv2.resize(front.chip, size, interpolation=cv2.INTER_CUBIC), np.float32)
    flags = cv2.INTER_AREA if zoom * factor < 1 else cv2.INTER_LINEAR
    chip = np.asarray(cv2.warpAffine(picture, matrix, size, flags=flags), np.float32)
    wide = with_lines(wide, chip, points)
    fringe, strands = hair(chip, wide > 0.4, inside > 0.5, points)
    if hidden is not None:
        free = cv2.resize(hidden, size, interpolation=cv2.INTER_LINEAR) < 0.5
        seen = (((wide > 0.4) | strands) & free & (inside > 0.5)).astype(np.uint8)
        beside = cv2.dilate(seen, disc(_BESIDE * unit)) > 0
        wide, fringe, strands = wide * beside, fringe & beside, strands & beside
    solid = cv2.dilate((wide > 0.4).astype(np.float32), disc(_WITHIN * unit))
    solid = np.where(fringe | strands, np.float32(1), solid)
    soft = blur(solid, 0.015 * unit)
    near = np.asarray(cv2.dilate(inside, disc(_BEYOND * unit)), np.float32)
    covered = np.asarray(np.maximum(soft, np.clip(wide, 0, 1)) * near, np.float32)
    if float(covered.sum()) < _LEAST * float(inside.sum()):
        return Uncovered(picture, None)
    filled, left = _filled(chip, covered, fringe, inside, points, unit)
    return _put_back(picture, filled, covered, left, matrix)


def _filled(
    chip: Float32, covered: Float32, fringe: NDArray[np.bool_], inside: Float32, points: Float32, unit: float
) -> tuple[Float32, Float32]:
    """The chip with what is covered filled in, and ``(S, S)`` 0..1 what could not be.

    fringe: ``(S, S)``, hair and its edge, which no half tells the other: a forehead is filled with its skin, a cheek
    not at all.
    """
    size = chip.shape[:2]
    mask = (covered > 0.4).astype(np.uint8)

    def opened(parts: NDArray[np.uint8]) -> NDArray[np.uint8]:
        size, border = disc(_THIN * unit / 2), cv2.BORDER_REPLICATE
        return np.asarray(cv2.morphologyEx(parts, cv2.MORPH_OPEN, size, borderType=border), np.uint8)

    thick = np.minimum(mask, cv2.dilate(opened(mask), disc(0.04 * unit)) | fringe)
    free = (1 - np.maximum(covered, 1 - inside)).astype(np.float32)
    above, brows = forehead(points, size)
    filled = spread(chip, free * free, 0.05 * unit)
    hairy = fringe & above
    if hairy.any():
        bare = spread(chip, free * free * ~brows, _EVEN * unit)
        bare += _texture(chip, free * above * ~brows, unit)[..., None]
        filled = filled + blur(hairy.astype(np.float32), 0.02 * unit)[..., None] * (bare - filled)
    thin = (mask > 0) & (thick == 0)
    if thin.any():
        painted = cv2.inpaint(np.clip(chip, 0, 255).astype(np.uint8), mask, 0.05 * unit, cv2.INPAINT_TELEA)
        filled = np.where(thin[..., None], painted.astype(np.float32), filled)
    places, _ = geometry.interpolate(points, points[geometry.MIRRORED], size)

    def opposite(raster: Float32) -> Float32:
        x, y = places[..., 0], places[..., 1]
        return np.asarray(
            cv2.remap(raster, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32
        )

    told = opposite(np.asarray(cv2.erode(free, disc(_WITHIN * unit)), np.float32))
    if float(geometry.visible_share(points).min()) < _FRONTAL:
        told = np.zeros_like(told)
    other = opposite(chip)
    told = told * ~fringe
    both = free * told
    if float(both.sum()) > unit * unit * 0.1:
        wanted, given = spread(chip, both, _LIGHT * unit), spread(other, both, _LIGHT * unit)
        other = np.clip((other + _DARK) * (wanted + _DARK) / (given + _DARK) - _DARK, 0, 255).astype(
            np.float32
        )
        share = (smoothstep(0.2, 0.8, blur(told, 0.03 * unit)) * blur(thick.astype(np.float32), 0.02 * unit))[
            ..., None
        ]
        filled = filled + share * (other - filled)
    low = blur(cv2.dilate((fringe & ~above).astype(np.float32), disc(0.02 * unit)), 0.05 * unit)
    # Beyond the outline nothing is known to lie before the face.
    sure = cv2.dilate(opened(mask * (inside > 0.5).astype(np.uint8)), disc(0.04 * unit)) & thick
    left = np.maximum(blur((sure * (1 - told)).astype(np.float32), 0.02 * unit), low) * ~above
    return np.asarray(filled, np.float32), np.asarray(np.clip(left, 0, 1), np.float32)


def _texture(chip: Float32, skin: Float32, unit: float) -> Float32:
    """``(S, S)``: noise as fine as the pores of the skin that is seen, without which what is filled in looks like
    plastic. skin: ``(S, S)`` 0..1."""
    seen, light = skin > 0.9, gray(chip)
    noise = np.random.default_rng(0).standard_normal(light.shape).astype(np.float32)
    texture = np.zeros_like(light)
    if float(seen.sum()) < _SEEN * unit * unit:
        return texture
    for fine, coarse in itertools.pairwise(_BANDS):
        found, made = (blur(one, fine * unit) - blur(one, coarse * unit) for one in (light, noise))
        deviation = _OF_NORMAL * float(np.median(np.abs(found[seen])))
        texture += made * (deviation / max(float(made.std()), 1e-6))
    return texture


def _put_back(
    picture: RGBImage, filled: Float32, covered: Float32, left: Float32, matrix: Float32
) -> Uncovered:
    """At the picture's own resolution."""
    height, width = picture.shape[:2]
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32) * (len(filled) - 1)
    inverse = cv2.invertAffineTransform(matrix)
    reach = corners @ inverse[:, :2].T + inverse[:, 2]
    x1, y1 = np.clip(np.floor(reach.min(axis=0)).astype(int), 0, (width - 1, height - 1))
    x2, y2 = np.clip(np.ceil(reach.max(axis=0)).astype(int) + 1, (x1 + 1, y1 + 1), (width, height))
    local = inverse - np.array([[0, 0, x1], [0, 0, y1]])
    window = (int(x2 - x1), int(y2 - y1))
    fresh, weight, rest = (cv2.warpAffine(raster, local, window) for raster in (filled, covered, left))
    picture, hidden = picture.copy(), np.zeros_like(picture)
    part = picture[y1:y2, x1:x2]
    blended = part + weight[..., None] * (fresh - part)
    part[:] = np.clip(blended + 0.5, 0, 255).astype(np.uint8)
    hidden[y1:y2, x1:x2, 0] = np.clip(rest * 255 + 0.5, 0, 255).astype(np.uint8)
    hidden[y1:y2, x1:x2, 1] = np.clip(weight * 255 + 0.5, 0, 255).astype(np.uint8)
    return Uncovered(picture, hidden)
