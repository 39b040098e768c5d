"""The swapper of pack `open`: the source's face warped onto the target's landmarks, and set into its light."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.swap import geometry, identity, light, mask, skin, surface
from prosopon.models.swap.filters import blur, disc, smoothstep
from prosopon.models.swap.maps import Maps, Texture, maps, render, texture
from prosopon.models.swap.paint import Window, paint
from prosopon.models.swap.region import Region, region_around
from prosopon.models.swap.types import Replacement, check_frame

_MARGIN = 0.35
_PROPORTIONS = 1.0
"""How far the features of the new face sit where the source's do; the rest is the target's shape."""
_SMALLEST_FACE = 2.0
"""Distance between the eyes in pixels under which there is no face to change."""


class WarpSwapper:
    name = "warp"
    fingerprint = "warp-5"

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
    target_surface = surface.with_hairline(replacement.target.mesh)
    source_surface = surface.with_hairline(replacement.source.geometry.mesh)
    coarse = texture(replacement.source, source_surface, unit)
    moved = target_surface[:, :2] + surface.carried((wanted - target)[:68])
    way = maps(region.to_small(moved), target_surface, source_surface, coarse, region.small)
    features = skin.parts(points, region.small)
    target_skin = skin.likelihood(small, points, features.features)
    face, source_skin, way = _seen(coarse, way, points, features, target_skin, unit)

    soft = mask.face_mask(points, way.place, way.within(coarse.picture))
    stays = mask.occlusion(target_skin, source_skin, features, way.place, unit)
    stays = np.maximum(stays, mask.glasses(small, target_skin, features.eyes, way.place, unit))
    kept = mask.kept_eyes(target[:68], source[:68])
    if mouth:
        kept.append(mouth)
    stays = np.maximum(stays, skin.inside(points, kept, region.small))
    alpha = soft * (1 - stays)

    bare = (1 - features.features) * (soft > 0.02)
    tone = light.transfer(small, face, target_skin * bare, source_skin * bare, way, features, unit)
    tone = light.close_seam(tone, small, face, target_skin * source_skin * bare, alpha, unit)
    _paint(frame, region, replacement, source_surface, way, coarse, tone, alpha)


def _seen(
    coarse: Texture, way: Maps, points: Float32, features: skin.Parts, target_skin: Float32, unit: float
) -> tuple[Float32, Float32, Maps]:
    """The source through the maps, its skin, and the maps: where hair covers
    one half of what is skin in the target, the other half is mirrored."""
    face = render(coarse.picture, way.direct, way.mirrored, way.share)
    source_skin = skin.likelihood(face, points, features.features)
    hair = mask.strange(source_skin, features, way.place) * target_skin
    if float(hair.sum()) < 0.02 * unit**2:
        return face, source_skin, way
    other = render(coarse.picture, way.mirrored, way.direct, way.share)
    other_skin = skin.likelihood(other, points, features.features)
    covered = np.asarray(cv2.dilate(hair, disc(0.10 * unit)), np.float32)
    free = 1 - np.asarray(cv2.dilate(mask.strange(other_skin, features, way.place), disc(0.05 * unit)))
    flip = smoothstep(0.2, 0.8, blur((covered * free).astype(np.float32), 0.05 * unit))
    way = replace(way, share=(way.share + flip - 2 * way.share * flip).astype(np.float32))
    face = render(coarse.picture, way.direct, way.mirrored, way.share)
    return face, skin.likelihood(face, points, features.features), way


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
