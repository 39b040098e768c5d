"""Where a picture shows the skin of one face, learned from its own cheeks and nose."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from prosopon.models.faces.detections import Float32
from prosopon.models.swap import geometry
from prosopon.models.swap.filters import blur, disc, guided, smoothstep, spread

# Of the a and b of CIELAB: how far skin strays from its own median where it hardly varies.
_SMALLEST_SPREAD = np.array([4.0, 2.5, 2.5], np.float32)
_LARGEST_SPREAD = np.array([10.0, 6.0, 6.0], np.float32)
_SKIN_BELOW, _OTHER_ABOVE = 2.4, 4.2


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """Rasters ``(H, W)`` float32 in 0..1 of parts of a face that are not bare skin.

    eyes, brows, lips, nostrils: with a margin; mouth: what the lips enclose; opened: the eyes without their lids;
    pale: these and the mouth, which show whites and teeth.
    """

    eyes: Float32
    brows: Float32
    lips: Float32
    mouth: Float32
    nostrils: Float32

    opened: Float32
    pale: Float32

    @property
    def features(self) -> Float32:
        return np.maximum(np.maximum(self.eyes, self.brows), np.maximum(self.lips, self.nostrils))


def parts(points: Float32, shape: tuple[int, int]) -> Parts:
    """Where the features of a face with vertices ``(82, 2)`` lie in a raster of `shape`, with a margin."""
    unit = max(geometry.interocular(points), 1.0)

    def grown(groups: tuple[tuple[int, ...], ...], margin: float) -> Float32:
        mask = cv2.dilate(geometry.hulls(points, groups, shape), disc(margin * unit))
        return np.asarray(mask, np.float32) / np.float32(255)

    opened = inside(points, geometry.EYES, shape)
    return Parts(
        grown(geometry.EYES, 0.10),
        grown(geometry.BROWS, 0.05),
        grown((geometry.LIPS,), 0.05),
        grown((geometry.MOUTH,), 0.0),
        grown((geometry.NOSTRILS,), 0.06),
        opened,
        np.maximum(opened, inside(points, (geometry.MOUTH,), shape)),
    )


def inside(points: Float32, groups: Sequence[tuple[int, ...]], shape: tuple[int, int]) -> Float32:
    """``(H, W)`` float32 0..1: what groups of vertices of a face enclose, with a soft border."""
    unit = max(geometry.interocular(points), 1.0)
    mask = np.asarray(geometry.hulls(points, groups, shape), np.float32) / np.float32(255)
    return np.asarray(np.clip(1.6 * blur(mask, 0.02 * unit), 0, 1), np.float32)


def _same_hue(lab: Float32, skin: Float32) -> Float32:
    """``(H, W)`` float32: 1 where a colour of CIELAB is one of `skin` under more or less light."""
    chroma = float(np.hypot(skin[1], skin[2]))
    along = (lab[..., 1] * skin[1] + lab[..., 2] * skin[2]) / max(chroma, 1e-6)
    across = np.abs(lab[..., 1] * skin[2] - lab[..., 2] * skin[1]) / max(chroma, 1e-6)
    # Grey has no hue to agree in.
    coloured = smoothstep(8, 14, chroma) * smoothstep(0.6, 0.9, along / max(chroma, 1e-6))
    alike = coloured * smoothstep(0.3, 0.15, across / np.maximum(along, 1))
    return np.where(lab[..., 0] > 0.5 * skin[0], alike, np.float32(0))


def likelihood(picture: Float32, points: Float32, features: Float32) -> Float32:
    """``(H, W)`` float32: 1 on skin, 0 on hair, cloth, frames and background.

    picture: ``(H, W, 3)`` float32 RGB 0..255; points: ``(82, 2)`` vertices in it; features: as of `Parts`. The
    lightness of skin is judged against what it is nearby, so a face lit from one side is skin on both.
    """
    shape = picture.shape[:2]
    unit = max(geometry.interocular(points), 1.0)
    lab = cv2.cvtColor(np.clip(picture / 255, 0, 1), cv2.COLOR_RGB2LAB).astype(np.float32)
    sure = geometry.hulls(points, (*geometry.CHEEKS, geometry.NOSE_BRIDGE), shape)
    weights = (sure / 255).astype(np.float32) * (1 - features)
    if weights.sum() < 20:
        return np.ones(shape, np.float32)
    skin = weights
    for _ in range(2):
        chosen = lab[weights > 0.5] if (weights > 0.5).sum() >= 20 else lab[sure > 0]
        middle = np.median(chosen, axis=0)
        nearby = spread(lab, weights, 0.45 * unit)
        # Tint drifts less than lightness over a face.
        expected = np.concatenate([nearby[..., :1], 0.5 * (nearby[..., 1:] + middle[1:])], axis=2)
        apart = lab - expected
        deviation = 1.4826 * np.median(np.abs(apart[sure > 0]), axis=0)
        scale = np.clip(deviation, _SMALLEST_SPREAD, _LARGEST_SPREAD).astype(np.float32)
        scaled = apart / scale
        # A highlight is brighter and paler than skin, a sunlit patch brighter and more coloured; both are skin.
        # So is a shade, unless it is deep.
        brighter = np.maximum(apart[..., :1], 0)
        sunlit = (brighter > 5) & (apart[..., 1:] > -3).all(axis=2, keepdims=True)
        tint = np.where(sunlit, 0.3, 1 / (1 + brighter / 8))
        scaled *= np.concatenate(
            [np.where(brighter > 0, np.where(sunlit, 0.25, 0.5), 0.8), tint, tint], axis=2
        )
        distance = np.sqrt((scaled**2).sum(axis=2)) * (1 - 0.5 * _same_hue(lab, middle))
        skin = 1 - smoothstep(_SKIN_BELOW, _OTHER_ABOVE, distance)
        weights = skin * (1 - features) * (sure / 255 * 0.7 + 0.3).astype(np.float32)
    guide = lab[..., 0] / 100
    return np.clip(guided(guide, skin, max(1, round(0.05 * unit)), 1e-3), 0, 1).astype(np.float32)
