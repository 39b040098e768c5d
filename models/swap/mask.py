"""Which pixels of the target give way to the source's face."""

import cv2
import numpy as np
from numpy.typing import NDArray

from prosopon.models.faces.detections import Float32
from prosopon.models.swap import geometry
from prosopon.models.swap.filters import blur, disc, gray, guided, smoothstep
from prosopon.models.swap.frames import framed

_OPEN_MOUTH = 0.05
"""Distance between the inner lips, in distances between the eyes, from which a mouth shows its inside."""
_RIDGE, _NEAR = 0.07, 0.05
"""Half the width of the widest line, and how far one may be from where it was seen, in distances between the eyes."""
_TURNED, _PROFILE = (0.4, 0.65), (0.25, 0.4)
"""How large the far half of a face must look, as `geometry.visible_share` says, for the network to be believed there,
and on the forehead, where caps and scarves end."""
_LIDS, _PAINT = 0.14, (0.5, 0.8)
"""How far lids and their paint reach around an eye, and from how surely something is seen there that it is believed."""
_LENS, _DARK_LENS = (0.14, 0.35), 0.6
"""How far around an eye a lens reaches at least and at most, and below which share of a cheek's light it is dark."""
_HALVES = (
    (*range(9), *range(17, 22), 27, 30, 51, 57, *range(68, 73)),
    (*range(8, 17), *range(22, 27), 27, 30, 51, 57, *range(72, 77)),
)
"""Vertices around the left and the right half of the face."""
BEARD = (*range(2, 15), 31, 35)
"""Vertices around where beards grow."""
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


def forehead(points: Float32, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """``(H, W)``: from the brows to the hairline. points: ``(82, 2)``."""
    arc = (*geometry.FOREHEAD_ARC, *geometry.BROWS[0], *geometry.BROWS[1])
    return np.asarray(geometry.hulls(points, (arc,), (shape[0], shape[1])) > 0)


def with_lines(front: Float32, picture: Float32, points: Float32) -> Float32:
    """What lies before a face, its lines as sharp and as whole as the picture shows them.

    front: ``(H, W)`` 0..1, coarse: it tells where a frame or a strand is; picture: ``(H, W, 3)`` float32 RGB 0..255,
    whose narrow dark and bright ridges there tell its shape; points: ``(82, 2)`` vertices of the face in them. Where
    beards and brows grow, every line is theirs; on the far side of a face that is turned away the network is not
    believed, on its forehead only where it is hardly seen; on lids it is where it is sure, since they are painted.
    """
    light, unit, shape = gray(picture), geometry.interocular(points), front.shape[:2]
    frames = framed(front, points)
    above = forehead(points, shape)
    for half, share in zip(_HALVES, geometry.visible_share(points).tolist(), strict=True):
        far = cv2.dilate(geometry.hulls(points, (half,), shape), disc(0.3 * unit))
        doubt = 1 - np.where(above, smoothstep(*_PROFILE, share), smoothstep(*_TURNED, share))
        front = np.asarray(front * (1 - doubt * (far / np.float32(255)) * (frames == 0)), np.float32)
    hairy = np.asarray(geometry.hulls(points, (BEARD, *geometry.BROWS), shape), np.float32)
    size = disc(_RIDGE * unit)
    dark = np.asarray(cv2.morphologyEx(light, cv2.MORPH_BLACKHAT, size), np.float32)
    bright = np.asarray(cv2.morphologyEx(light, cv2.MORPH_TOPHAT, size), np.float32)
    lids = cv2.dilate(geometry.hulls(points, geometry.EYES, shape), disc(_LIDS * unit)) > 0
    front = np.where(lids & (frames == 0), front * smoothstep(*_PAINT, front), front).astype(np.float32)
    near = np.asarray(cv2.dilate(front * np.maximum(frames, 1), disc(_NEAR * unit)), np.float32)
    lines = smoothstep(10, 30, np.maximum(dark, bright)) * smoothstep(0.2, 0.45, near)
    return np.asarray(np.maximum(front, lines * (1 - blur(hairy / np.float32(255), 0.04 * unit))), np.float32)


def before(front: Float32, picture: Float32, points: Float32) -> Float32:
    """What lies before the face of a picture, as `with_lines` says, and the whole of lenses that no eye is seen
    through: around both eyes all is much darker than the cheeks are."""
    lined = with_lines(front, picture, points)
    if not framed(front, points).any():
        return lined
    light, unit, shape = gray(picture), geometry.interocular(points), front.shape[:2]
    lenses = np.zeros(shape, np.uint8)
    for eye, cheek in zip(geometry.EYES, geometry.CHEEKS, strict=True):
        hull = geometry.hulls(points, (eye,), shape)
        around, near = (cv2.dilate(hull, disc(reach * unit)) > 0 for reach in _LENS)
        dark = _DARK_LENS * float(np.median(light[geometry.hulls(points, (cheek,), shape) > 0]))
        if not np.median(light[around & (hull == 0)]) < dark:
            return lined
        lenses |= ((light < dark) & near).astype(np.uint8)
    closed = cv2.morphologyEx(lenses, cv2.MORPH_CLOSE, disc(0.1 * unit))
    return np.asarray(np.maximum(lined, closed), np.float32)


def stays(front: Float32, left: Float32, guide: Float32, unit: float) -> Float32:
    """``(H, W)`` float32: 1 where the target's own pixel stays: something lies over its face, or over the source's.

    front: of the target, with its lines; left: what the source's face does not show, `uncover.Uncovered.left`; guide:
    ``(H, W, 3)`` float32 RGB 0..255, whose edges are those of what lies before it.
    """
    sharp = guided(gray(guide) / np.float32(255), front, max(1, round(0.04 * unit)), 1e-3)
    hidden = np.asarray(cv2.dilate(left, disc(0.04 * unit)), np.float32)
    return np.maximum(smoothstep(0.2, 0.7, sharp), smoothstep(0.25, 0.75, blur(hidden, 0.03 * unit)))
