"""From pixels of the target to pixels of the source: the map along which a face is warped."""

from dataclasses import dataclass

import cv2
import numpy as np

from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.swap import geometry
from prosopon.models.swap.filters import blur, smoothstep, weighted_blur
from prosopon.models.swap.types import SourceFace

_CREASE, _LIP_CREASE = 0.035, 0.008
"""Over which part of the distance between the eyes the mesh's creases are smoothed; less where lips meet."""


@dataclass(frozen=True, slots=True, eq=False)
class Texture:
    """The source's face, shrunk where the frame shows it smaller. points: ``(82, 2)`` its vertices in it."""

    picture: RGBImage
    points: Float32


def texture(source: SourceFace, points: Float32, unit: float) -> Texture:
    """points: ``(82, 2)`` vertices in the source's picture; unit: the distance between the eyes that the face is
    wanted for, in pixels."""
    height, width = source.picture.shape[:2]
    own = max(geometry.interocular(points), 1e-6)
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
    mirror; share: ``(H, W)``, how much of the mirrored is shown; place: ``(H, W, 2)``, on the mean face; inside:
    ``(H, W)``, 1 within the mesh."""

    direct: Float32
    mirrored: Float32
    share: Float32
    place: Float32
    inside: Float32

    def within(self, picture: RGBImage) -> Float32:
        """``(H, W)`` float32: 1 where the mesh is and the texture's picture has something to show."""
        height, width = picture.shape[:2]

        def shown(places: Float32) -> Float32:
            x, y = places[..., 0], places[..., 1]
            return np.asarray((x > 0) & (y > 0) & (x < width - 1) & (y < height - 1), np.float32)

        return self.inside * ((1 - self.share) * shown(self.direct) + self.share * shown(self.mirrored))


def maps(points: Float32, target: Float32, source: Texture, shape: tuple[int, int]) -> Maps:
    """points: where the vertices shall lie in a raster of `shape`; target: where the target has them."""
    unit = geometry.interocular(points)
    flat = geometry.mean_face()[:, :2]
    values = np.concatenate([source.points, source.points[geometry.MIRRORED], flat], axis=1)
    raster, inside = geometry.interpolate(points, values.astype(np.float32), shape)
    solid = inside.astype(np.float32)
    smooth = weighted_blur(raster, solid, _CREASE * unit)
    sharp = weighted_blur(raster, solid, _LIP_CREASE * unit)
    lips = np.asarray(geometry.hulls(points, (geometry.LIPS,), shape), np.float32) / np.float32(255)
    smooth += blur(lips, _CREASE * unit)[..., None] * (sharp - smooth)
    # Beyond the mesh the maps go on, so that nothing that is filtered meets an edge.
    far = weighted_blur(raster, solid, 0.3 * unit, 1e-6)
    raster = np.where(blur(solid, _CREASE * unit)[..., None] > 0.05, smooth, far)
    place = raster[..., 4:]
    sides = _mirrored_share(target, source.points)
    left = smoothstep(0.12, -0.12, place[..., 0])
    share = (left * sides[0] + (1 - left) * sides[1]).astype(np.float32)
    return Maps(raster[..., :2], raster[..., 2:4], share, place, solid)


def _mirrored_share(target: Float32, source: Float32) -> Float32:
    """``(2,)``: how far the left and the right half of the face come from the source's other half instead.

    A half that the source hides and the target shows has no pixels of its own to give.
    """
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
