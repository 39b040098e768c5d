"""The swapper of pack `open`: the source's face warped onto the target's landmarks, and set into its light."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.swap import geometry, identity, light, mask, skin, surface
from prosopon.models.swap.maps import Maps, Texture, maps, render, texture
from prosopon.models.swap.occlusion import segmenter
from prosopon.models.swap.paint import Window, paint
from prosopon.models.swap.region import Region, region_around
from prosopon.models.swap.types import Replacement, SourceFace, check_frame
from prosopon.models.swap.uncover import Uncovered, bared

_MARGIN = 0.35
_PROPORTIONS = 1.0
"""How far the features of the new face sit where the source's do; the rest is the target's shape."""
_SMALLEST_FACE = 2.0
"""Distance between the eyes in pixels under which there is no face to change."""


class WarpSwapper:
    name = "warp"
    fingerprint = "warp-8"

    def swap(self, frame: RGBImage, replacements: Sequence[Replacement]) -> RGBImage:
        """As `FaceSwapper.swap`."""
        check_frame(frame)
        result = frame.copy()
        for replacement in replacements:
            _replace(result, replacement)
        return result


def _replace(frame: RGBImage, replacement: Replacement) -> None:
    target = geometry.with_forehead(replacement.target.dense)
    source = geometry.with_forehead(replacement.source.geometry.dense)
    region = region_around(target, _MARGIN * geometry.interocular(target), frame)
    if region is None:
        return
    small = region.shrunk(frame)
    mouth = mask.kept_mouth(target[:68], source[:68])
    wanted = identity.with_proportions(target, source, _PROPORTIONS, not mouth)
    points = region.to_small(wanted)
    unit = geometry.interocular(points)
    if unit < _SMALLEST_FACE:
        return
    coarse_front = segmenter().find(frame, replacement.target.dense).on(region)
    own = region.to_small(target)
    front = mask.before(coarse_front, small, own)
    bare = bared(replacement.source)
    replacement = replace(replacement, source=replace(replacement.source, picture=bare.picture))
    target_surface = surface.with_hairline(replacement.target.mesh)
    source_surface = surface.with_hairline(replacement.source.geometry.mesh)
    coarse = texture(replacement.source, source_surface, unit)
    moved = target_surface[:, :2] + surface.carried((wanted - target)[:68])
    way = maps(region.to_small(moved), target_surface, source_surface, coarse, region.small)
    features = skin.parts(points, region.small)
    face = render(coarse.picture, way.direct, way.mirrored, way.share)
    left, filled = _left(bare, replacement.source, source_surface, way, unit)
    left = left * (1 - skin.parts(own, region.small).brows)  # Nobody has two pairs of brows.
    target_skin = skin.likelihood(small, points, features.features) * (1 - front)
    source_skin = skin.likelihood(face, points, features.features) * (1 - np.maximum(left, filled))

    soft = mask.face_mask(points, way.place, way.within(coarse.picture))
    stays = mask.stays(front, left, small, unit)
    kept = mask.kept_eyes(target[:68], source[:68])
    if mouth:
        kept.append(mouth)
    stays = np.maximum(stays, skin.inside(points, kept, region.small))
    alpha = soft * (1 - stays)

    plain = (1 - features.features) * (soft > 0.02)
    tone = light.transfer(small, face, target_skin * plain, source_skin * plain, way, features, unit)
    tone = light.close_seam(tone, small, face, target_skin * source_skin * plain, alpha, unit)
    _paint(frame, region, replacement, source_surface, way, coarse, tone, alpha)


def _left(
    bare: Uncovered, face: SourceFace, source: Float32, way: Maps, unit: float
) -> tuple[Float32, Float32]:
    """``(H, W)`` 0..1: where the source's face shows something else that could not be filled in, and something else."""
    if bare.left is None:
        nothing = np.zeros(way.share.shape, np.float32)
        return nothing, nothing
    seen = texture(replace(face, picture=bare.left), source, unit)
    shown = np.clip(render(seen.picture, way.direct, way.mirrored, way.share) / 255, 0, 1).astype(np.float32)
    return shown[..., 0], shown[..., 1]


def _paint(
    frame: RGBImage,
    region: Region,
    replacement: Replacement,
    source: Float32,
    way: Maps,
    coarse: Texture,
    tone: light.Tone,
    alpha: Float32,
) -> None:
    wanted = geometry.interocular(replacement.target.dense)
    there = geometry.interocular(replacement.source.geometry.dense)
    scale = min(1.0, 1.25 * there / wanted)
    fine = texture(replacement.source, source, wanted * scale)
    # Both textures show the same part of the picture: one scale and one shift lead from one to the other.
    ratio = fine.points.std(axis=0) / np.maximum(coarse.points.std(axis=0), 1e-6)
    shift = (fine.points - coarse.points * ratio).mean(axis=0)
    direct, mirrored = (places * ratio + shift for places in (way.direct, way.mirrored))

    def rendered(window: Window, scale: float) -> Float32:
        def large(raster: Float32) -> Float32:
            return region.enlarged(raster, window, scale)

        picture = render(fine.picture, large(direct), large(mirrored), large(way.share))
        local = light.Tone(
            large(tone.given),
            large(tone.wanted),
            large(tone.contrast),
            large(tone.offset),
            tone.balance,
            large(tone.pale),
            tone.gloss,
        )
        return local.apply(picture)

    paint(frame, region, alpha, rendered, scale)
