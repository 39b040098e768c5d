"""From pixels of the target to pixels of the source: the map along which a face is warped."""

from dataclasses import dataclass

import cv2
import numpy as np

from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.faces.landmarks import MESH, ibug
from prosopon.models.swap import geometry, surface
from prosopon.models.swap.filters import blur, smoothstep, weighted_blur
from prosopon.models.swap.identity import yaw
from prosopon.models.swap.types import SourceFace

_CREASE = 0.012
"""Over which part of the distance between the eyes the mesh's creases are smoothed."""
_RELIEF = 0.35
"""Over which part of it normals are smoothed."""
_TURNED = (35.0, 18.0)
"""Degrees of yaw from which the halves of a face cannot be compared, and to which they can."""
_EYE = 0.3
"""Radius of what belongs to an eye, in distances between the eyes."""


@dataclass(frozen=True, slots=True, eq=False)
class Texture:
    """The source's face, shrunk where the frame shows it smaller. points: ``(477, 2)`` its vertices in it."""

    picture: RGBImage
    points: Float32


def texture(source: SourceFace, points: Float32, unit: float) -> Texture:
    """points: ``(477, 3)`` vertices in the source's picture; unit: the distance between the eyes that the face is
    wanted for, in pixels."""
    height, width = source.picture.shape[:2]
    own = max(geometry.interocular(source.geometry.dense), 1e-6)
    points = surface.drawn_in(points)
    margin = 0.5 * own
    x1, y1 = np.clip(np.floor(points.min(axis=0) - margin).astype(int), 0, (width - 1, height - 1))
    x2, y2 = np.clip(np.ceil(points.max(axis=0) + margin).astype(int) + 1, (x1 + 1, y1 + 1), (width, height))
    part = source.picture[y1:y2, x1:x2]
    moved = points - np.array([x1, y1], np.float32)
    scale = unit / own
    if scale >= 0.8:
        return Texture(part, moved)
    size = (max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale)))
    ratio = np.array([size[0] / part.shape[1], size[1] / part.shape[0]], np.float32)
    return Texture(cv2.resize(part, size, interpolation=cv2.INTER_AREA), (moved + 0.5) * ratio - 0.5)


@dataclass(frozen=True, slots=True, eq=False)
class Maps:
    """Rasters float32. direct, mirrored: ``(H, W, 2)``, pixels of the texture that are seen, as it is and as in a
    mirror; share: ``(H, W)``, how much of the mirrored is shown; place: ``(H, W, 2)``, on the mean face; opposite:
    ``(H, W, 2)``, pixels of this raster that show the same place of the other half of the face; inside: ``(H, W)``, 1
    within the mesh; given, given_mirrored, wanted: ``(H, W, 3)``, normals of the source's surface, where it is seen as
    it is and as in a mirror, and of the target's, each in its own picture. halves: 0..1, how far both halves of the
    target are seen to be compared."""

    direct: Float32
    mirrored: Float32
    share: Float32
    place: Float32
    opposite: Float32
    inside: Float32
    given: Float32
    given_mirrored: Float32
    wanted: Float32
    halves: float

    def within(self, picture: RGBImage) -> Float32:
        """``(H, W)`` float32: 1 where the mesh is and the texture's picture has something to show."""
        height, width = picture.shape[:2]

        def shown(places: Float32) -> Float32:
            x, y = places[..., 0], places[..., 1]
            return np.asarray((x > 0) & (y > 0) & (x < width - 1) & (y < height - 1), np.float32)

        return self.inside * ((1 - self.share) * shown(self.direct) + self.share * shown(self.mirrored))


def maps(points: Float32, target: Float32, source: Float32, texture: Texture, shape: tuple[int, int]) -> Maps:
    """points: ``(477, 2)``, where the vertices shall lie in a raster of `shape`; target, source: ``(477, 3)``, where
    they have them in their pictures; texture: of the source."""
    unit = geometry.interocular(ibug(points[:MESH]))
    other = surface.mirrored()
    normals = surface.normals(source)
    columns = (
        texture.points, texture.points[other], surface.mean_surface()[:, :2], points[other],
        _hidden(target, source)[:, None], normals, normals[other], surface.normals(target),
    )  # fmt: skip
    values = np.concatenate(columns, axis=1).astype(np.float32)
    raster, inside = geometry.interpolate_over(surface.triangles(), points, target[:, 2], values, shape)
    solid = inside.astype(np.float32)
    smooth = weighted_blur(raster, solid, _CREASE * unit)
    # Beyond the mesh the maps go on, so that nothing that is filtered meets an edge.
    far = weighted_blur(raster, solid, 0.3 * unit, 1e-6)
    raster = np.where(blur(solid, _CREASE * unit)[..., None] > 0.05, smooth, far)
    direct, mirrored, place, opposite, share, given, given_mirrored, wanted = np.split(
        raster, np.cumsum([column.shape[1] for column in columns])[:-1], axis=2
    )
    share = np.clip(blur(share[..., 0], 0.05 * unit), 0, 1)
    # What light of low order does is smooth; the mesh's nostrils and lids are not.
    given, given_mirrored, wanted = (
        blur(raster, _RELIEF * unit) for raster in (given, given_mirrored, wanted)
    )
    halves = float(smoothstep(*_TURNED, yaw(ibug(target[:MESH]))))
    return Maps(direct, mirrored, share, place, opposite, solid, given, given_mirrored, wanted, halves)


def _hidden(target: Float32, source: Float32) -> Float32:
    """``(477,)`` 0..1: how far each vertex comes from the source's other half instead, which is seen better."""
    seen = surface.visibility(source)
    hidden = smoothstep(0.7, 0.4, seen) * smoothstep(0.1, 0.35, seen[surface.mirrored()] - seen)
    # An eye comes as a whole, and looks where it looks as long as it is seen at all.
    shape = surface.mean_surface()
    for eye in geometry.EYES:
        middle = geometry.mean_face()[list(eye)].mean(axis=0)
        near = np.linalg.norm(shape[:, :2] - middle[:2], axis=1) < _EYE
        hidden[near] = smoothstep(0.5, 0.8, float(hidden[near].mean()))
    # A mesh thinks too little of how far a face is turned: what looks much narrower than in the target is not all seen.
    left, right = _hidden_halves(ibug(target[:MESH]), ibug(source[:MESH]))
    side = smoothstep(0.12, -0.12, shape[:, 0])
    return np.maximum(hidden, side * left + (1 - side) * right)


def _hidden_halves(target: Float32, source: Float32) -> Float32:
    """``(2,)`` 0..1: how far the left and the right half, which the source hides and the target shows, have no pixels
    of their own to give. target, source: ``(68, 2)``."""
    seen, wanted = (geometry.visible_share(points) for points in (source, target))
    lacking = np.maximum(wanted, 0.35) / np.maximum(seen, 0.02)
    return np.where(seen < 0.6, smoothstep(1.5, 2.3, lacking), np.float32(0))


def render(picture: RGBImage, direct: Float32, mirrored: Float32, share: Float32) -> Float32:
    """``(H, W, 3)`` float32: a texture's picture seen through maps in its pixels."""

    def sample(places: Float32) -> Float32:
        x, y = places[..., 0], places[..., 1]
        seen = cv2.remap(picture, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(seen, np.float32)

    if share.max() < 0.01:
        return sample(direct)
    if share.min() > 0.99:
        return sample(mirrored)
    seen = sample(direct)
    return seen + share[..., None] * (sample(mirrored) - seen)
