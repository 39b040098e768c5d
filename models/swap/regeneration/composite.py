"""Putting a face that was made in an aligned chip back into the frame: it alone, in the frame's light and grain."""

from dataclasses import replace

import cv2
import numpy as np

from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.inversion.ffhq_alignment import mapped
from prosopon.models.swap import geometry, light, mask, skin
from prosopon.models.swap.filters import disc, spread
from prosopon.models.swap.frames import framed
from prosopon.models.swap.occlusion import Front, segmenter
from prosopon.models.swap.paint import Window, paint
from prosopon.models.swap.region import region_around, sampled
from prosopon.models.swap.types import FaceGeometry
from prosopon.models.swap.uncover import Uncovered, uncovered

_FAR = 0.7
"""Over which part of the distance between the eyes light is averaged."""
_DARK = 12.0
_INNER, _LIDS, _HAIRLINE = 0.12, 0.06, 0.05
"""How far the features and the eyes reach around their outlines, and how far apart two hairlines may be that are taken
for one, in distances between the eyes."""
_LEAST_GAIN, _MOST_GAIN = 0.55, 1.8
_EYES, _ALIKE = 12, 1e-4
"""Pixels of eyes that tell the colour of light; squared, a difference of colours that is none."""


def put_back(frame: RGBImage, target: FaceGeometry, face: RGBImage, matrix: Float32) -> None:
    """Blend a face ``(S, S, 3)`` uint8 RGB into the frame, in place.

    matrix: ``(2, 3)`` from pixels of the frame to pixels of the face. What lies before the target's face stays.
    """
    vertices = geometry.with_forehead(target.dense)
    region = region_around(vertices, 0.35 * geometry.interocular(vertices), frame)
    if region is None:
        return
    small = region.shrunk(frame)
    points = region.to_small(vertices)
    unit = geometry.interocular(points)
    places = region.places(matrix)
    drawn_dense = mapped(target.dense, matrix)
    own = segmenter().find(frame, target.dense)
    bare = _bared(face, drawn_dense, own)
    face = bare.picture
    drawn = sampled(face, places)
    foreign = np.zeros(region.small, np.float32)
    if bare.left is not None:
        foreign = sampled(bare.left, places)[..., 0] / np.float32(255)

    place, inside = geometry.interpolate(points, geometry.mean_face()[:, :2], region.small)
    features = skin.parts(points, region.small)
    front = mask.before(own.on(region), small, points)
    target_skin = skin.likelihood(small, points, features.features) * (1 - front)
    drawn_skin = skin.likelihood(drawn, points, features.features) * (1 - foreign)
    stays = mask.stays(front, foreign, small, unit)
    alpha = (mask.face_mask(points, place, inside.astype(np.float32)) * (1 - stays)).astype(np.float32)

    plain = (1 - features.features) * (alpha > 0.02)
    gain = _gain(small, drawn, target_skin * plain, drawn_skin * plain, unit)

    gain += features.pale[..., None] * (_pale_gain(gain, small, drawn, features.opened * (1 - stays)) - gain)

    def lit(picture: Float32, gains: Float32) -> Float32:
        return np.asarray((np.maximum(picture, 0) + _DARK) * gains - _DARK, np.float32)

    offset = light.seam(small, lit(drawn, gain), target_skin * drawn_skin * plain, alpha, unit)
    offset *= 1 - features.pale[..., None]

    def rendered(window: Window, scale: float) -> Float32:
        picture = lit(
            sampled(face, region.enlarged(places, window, scale)), region.enlarged(gain, window, scale)
        )
        return picture + region.enlarged(offset, window, scale)

    zoom = float(np.sqrt(abs(np.linalg.det(matrix[:, :2].astype(np.float64)))))
    paint(frame, region, alpha, rendered, min(1.0, 1.25 * zoom))


def _bared(face: RGBImage, dense: Float32, own: Front) -> Uncovered:
    """The made face without what lies before it, but with its eyes and with glasses, which sit well where they were
    drawn, unless the target wears its own.

    own: what lies before the target's face, seen through the same crop; dense: ``(68, 2)`` points in the face's pixels.
    """
    made = segmenter().find(face, dense)
    points = geometry.with_forehead(dense) @ made.matrix[:, :2].T + made.matrix[:, 2]
    unit, size = geometry.interocular(points), made.chip.shape[:2]
    glasses = framed(made.chip, points).any() and not framed(own.chip, points).any()
    features, grown = ((range(17, 68),), _INNER) if glasses else (geometry.EYES, _LIDS)
    kept = cv2.dilate(geometry.hulls(points, features, size), disc(grown * unit)) > 0
    hidden = cv2.dilate(own.chip, disc(_HAIRLINE * unit))
    return uncovered(face, dense, replace(made, chip=np.where(kept, np.float32(0), made.chip)), hidden)


def _gain(target: Float32, face: Float32, target_skin: Float32, skin_: Float32, unit: float) -> Float32:
    """``(H, W, 3)``: what gives the face's bare skin the local mean of the target's."""
    wanted, given = spread(target, target_skin, _FAR * unit), spread(face, skin_, _FAR * unit)
    return np.asarray(np.clip((wanted + _DARK) / (given + _DARK), _LEAST_GAIN, _MOST_GAIN), np.float32)


def _pale_gain(gain: Float32, target: Float32, face: Float32, eyes: Float32) -> Float32:
    """``(H, W, 3)``: skin's gain as whites of eyes and teeth take it: as bright, and of its colour as much as the
    whites of both faces differ by.

    What makes yellow skin paler would turn white teeth blue, but yellow ones white. eyes: ``(H, W)`` 0..1, the
    target's as far as they are seen.
    """
    bright: Float32 = gain.mean(axis=2, keepdims=True)
    chosen, share = eyes > 0.5, 0.5
    if chosen.sum() >= _EYES:
        there, here = (np.percentile(picture[chosen], 80, axis=0) + _DARK for picture in (target, face))
        tint, skins = _tint(there / here), _tint(gain[chosen].mean(axis=0))
        share = float(np.clip(tint @ skins / max(float(skins @ skins), _ALIKE), 0, 1))
    return np.asarray(bright + share * (gain - bright), np.float32)


def _tint(ratio: Float32) -> Float32:
    """``(3,)``: how the channels' logarithms differ from their mean."""
    log = np.log(ratio)
    return np.asarray(log - log.mean(), np.float32)
