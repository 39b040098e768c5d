"""Which pixels of the target give way to the source's face."""

import cv2
import numpy as np
from numpy.typing import NDArray

from prosopon.models.faces.detections import Float32
from prosopon.models.swap import geometry
from prosopon.models.swap.filters import blur, disc, gray, smoothstep
from prosopon.models.swap.skin import Parts

_OPEN_MOUTH = 0.05
"""Distance between the inner lips, in distances between the eyes, from which a mouth shows its inside."""
_CLOSED_EYE, _OPEN_EYE = 0.16, 0.22
"""Aspect ratios of the eyes' six points (Soukupova & Cech 2016)."""


def mouth_gap(dense: Float32) -> float:
    return float(np.linalg.norm(dense[62] - dense[66])) / max(geometry.interocular(dense), 1e-6)


def eye_openness(dense: Float32) -> tuple[float, float]:
    """Aspect ratio of each eye, about 0.3 open and below 0.16 closed."""

    def ratio(eye: Float32) -> float:
        height = np.linalg.norm(eye[1] - eye[5]) + np.linalg.norm(eye[2] - eye[4])
        return float(height / max(2 * float(np.linalg.norm(eye[0] - eye[3])), 1e-6))

    return ratio(dense[36:42]), ratio(dense[42:48])


def kept_mouth(target: Float32, source: Float32) -> tuple[int, ...]:
    """The vertices around what the target keeps of its own mouth: none, its inside or its lips too.

    Where the target's mouth is open and the source's is not, the source has no inside of a mouth to give; where the
    source smiles with open lips and the target's are shut, the source's teeth would show between them.
    """
    wanted, given = mouth_gap(target), mouth_gap(source)
    if wanted > _OPEN_MOUTH and given < 0.5 * wanted:
        return geometry.MOUTH
    if wanted < _OPEN_MOUTH < given:
        return geometry.LIPS
    return ()


def kept_eyes(target: Float32, source: Float32) -> list[tuple[int, ...]]:
    """The eyes that are open in one picture and closed in the other."""
    return [
        eye
        for eye, a, b in zip(geometry.EYES, eye_openness(target), eye_openness(source), strict=True)
        if min(a, b) < _CLOSED_EYE and max(a, b) > _OPEN_EYE
    ]


def face_mask(points: Float32, place: Float32, inside: Float32) -> Float32:
    """``(H, W)`` float32 0..1: the target's face, soft towards the jaw and softer towards the hairline.

    points: ``(82, 2)`` vertices; place: ``(H, W, 2)`` each pixel on the mean face; inside: 1 where the mesh and
    the source's picture have something to show.
    """
    unit = geometry.interocular(points)
    solid = geometry.outline(points, place.shape[:2]) * (inside > 0.5)
    # The raster's own border is the frame's or far from the face: no distance is measured from it.
    padded = cv2.copyMakeBorder(solid, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1].astype(np.float32)
    rim = smoothstep(0.02, 0.13, distance / max(unit, 1e-6))
    return rim * smoothstep(-1.26, -0.85, place[..., 1])


def occlusion(
    target_skin: Float32, source_skin: Float32, parts: Parts, place: Float32, unit: float
) -> Float32:
    """``(H, W)`` float32: 1 where the target's own pixel stays: something lies over its face, or over the source's."""
    over = foreign(target_skin, source_skin, parts, place, unit)
    hair = np.asarray(cv2.dilate(strange(source_skin, parts, place), disc(0.04 * unit)), np.float32)
    return np.maximum(over, smoothstep(0.25, 0.75, blur(hair, 0.03 * unit)))


def foreign(target_skin: Float32, source_skin: Float32, parts: Parts, place: Float32, unit: float) -> Float32:
    """``(H, W)`` float32: 1 on what lies over the target's face and is no skin that another could replace.

    Hair, sleeves, hats, microphones; not the features themselves, nor what lies on the eyes and the nose.
    """
    x, y = np.abs(place[..., 0]), place[..., 1]
    # Eyes, brows and nose always give way.
    core = smoothstep(0.98, 0.85, x) * smoothstep(-0.5, -0.38, y) * smoothstep(0.5, 0.35, y)
    core = np.maximum(core, smoothstep(0.5, 0.35, x) * smoothstep(-0.5, -0.38, y) * smoothstep(0.95, 0.8, y))
    given = np.maximum(core, parts.features)
    # A beard gives way to a beard.
    beards = (1 - source_skin) * smoothstep(0.5, 0.7, y)
    over = _from_outside((1 - target_skin) * (1 - given) * (1 - beards), place, unit)
    return smoothstep(0.25, 0.75, blur(over, 0.03 * unit))


def strange(source_skin: Float32, parts: Parts, place: Float32) -> Float32:
    """``(H, W)`` float32: 1 on the source's hair over its forehead or its cheeks, which is not part of a face."""
    x, y = np.abs(place[..., 0]), place[..., 1]
    above, beside = smoothstep(-0.32, -0.4, y), smoothstep(0.7, 0.82, x) * smoothstep(1.0, 0.8, y)
    inside = (x < 1.15) & (y > -1.3)
    hair = (1 - source_skin) * np.maximum(above, beside) * (1 - parts.brows)
    return np.where(inside, hair, np.float32(0))


def beside(drawn_skin: Float32, target_skin: Float32, parts: Parts, place: Float32, unit: float) -> Float32:
    """``(H, W)`` float32: 1 on hair and background of a drawn face that reach into the target's cheeks and temples."""
    x, y = np.abs(place[..., 0]), place[..., 1]
    sides = np.maximum(smoothstep(0.55, 0.7, x), smoothstep(-0.6, -0.8, y))
    over = (1 - drawn_skin) * target_skin * (1 - parts.features) * sides
    grown = np.asarray(cv2.dilate(over, disc(0.06 * unit)), np.float32)
    return smoothstep(0.15, 0.6, blur(grown, 0.04 * unit))


def _from_outside(foreign: Float32, place: Float32, unit: float) -> Float32:
    """What lies over the face from beyond its border; a wrinkle or a mole inside is no such thing."""
    size = disc(0.08 * unit)
    opened = cv2.morphologyEx(foreign, cv2.MORPH_OPEN, size, borderType=cv2.BORDER_REPLICATE)
    count, labels = cv2.connectedComponents((opened > 0.4).astype(np.uint8))
    x, y = np.abs(place[..., 0]), place[..., 1]
    rim = (x > 0.92) | (y < -0.85) | (y > 1.3)
    outside = np.zeros(count, bool)
    outside[np.unique(labels[rim])] = True
    outside[0] = False
    grown = np.asarray(cv2.dilate(outside[labels].astype(np.uint8), size), np.float32)
    return np.minimum(foreign, grown)


def glasses(picture: Float32, target_skin: Float32, eyes: Float32, place: Float32, unit: float) -> Float32:
    """``(H, W)`` float32: 1 on the frame of glasses that the target wears, and on lenses that hide the eyes;
    0 everywhere where it wears none.

    picture: ``(H, W, 3)`` float32 RGB 0..255. A frame crosses the bridge of the nose from side to side; nothing else
    that is not skin does. A rim is a thin line that is darker than both its sides.
    """
    x, y = place[..., 0], place[..., 1]
    other = 1 - target_skin
    bridge = (np.abs(x) < 0.14) & (y > -0.2) & (y < 0.3)
    if not bridge.any():
        return np.zeros_like(target_skin)
    columns = np.clip(((x[bridge] + 0.14) * 25).astype(int), 0, 6)
    crossing = np.zeros(7, np.float32)
    np.maximum.at(crossing, columns, other[bridge])
    around = (np.abs(np.abs(x) - 0.52) < 0.3) & (y > -0.1) & (y < 0.26) & (eyes < 0.5)
    sunglasses = around.any() and float(other[around].mean()) > 0.75
    # A shadow crosses the bridge too, but fills it.
    shadow = not sunglasses and float(other[bridge].mean()) > 0.42
    if crossing.mean() < 0.75 or crossing.min() < 0.5 or shadow:
        return np.zeros_like(target_skin)
    top = (
        smoothstep(-0.55, -0.45, y) if sunglasses else smoothstep(-0.36, -0.28, y)
    )  # Brows are above a frame.
    band = top * smoothstep(0.75, 0.65, y + 0.35 * (np.abs(x) < 0.32))
    if sunglasses:
        return smoothstep(0.3, 0.7, np.maximum(other, eyes) * band)
    # A rim comes near to the eye.
    inner = np.asarray(cv2.erode(eyes, disc(0.05 * unit)), np.float32)
    thin = cv2.morphologyEx(gray(picture), cv2.MORPH_BLACKHAT, disc(0.07 * unit))
    rims = np.maximum(other, smoothstep(10.0, 30.0, thin))
    return _from_bridge(smoothstep(0.12, 0.4, rims * (1 - inner) * band), bridge)


def _from_bridge(frame: Float32, bridge: NDArray[np.bool_]) -> Float32:
    """What of a frame hangs together with what crosses the bridge of the nose."""
    _, labels = cv2.connectedComponents((frame > 0.3).astype(np.uint8), connectivity=8)
    own = np.isin(labels, np.unique(labels[bridge & (labels > 0)]))
    near = np.asarray(cv2.dilate(own.astype(np.uint8), disc(1)), bool)
    return np.where(near, frame, np.float32(0))
