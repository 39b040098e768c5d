"""Hair over the face that is put in: its edge, its shade and its last strands, which a segmenter takes for skin."""

import cv2
import numpy as np
from numpy.typing import NDArray

from prosopon.models.faces.detections import Float32
from prosopon.models.swap import geometry, mask
from prosopon.models.swap.filters import blur, disc, gray, spread

Bits = NDArray[np.bool_]

# All distances are in those between the eyes.
_MASS = 0.055
"""Half the width from which hair is more than strands."""
_EDGE = 0.09
"""How far hair is widened: single hairs go on where a segmenter sees skin."""
_RIM = 0.06
"""How far inside the outline something lies that is surely before the face."""
_BROW, _INNER = 0.09, 0.12
"""Around the brows, where hair is theirs, and around all features, where the segmenter alone says what covers them."""
_SHADE, _DIM, _SMOOTH = 0.28, 0.92, 0.05
"""How far its shade and stubble reach, below which share of the light of skin that is farther off something is one of
these, and over which distance light is averaged to tell."""
_EVEN, _KNOWN, _LEAST = 0.3, 0.1, 0.05
"""Over which distance that light is averaged, which share of skin around makes it known, and how many square distances
of skin are wanted at all."""
_STRAND, _LOOSE, _WIDER = 0.035, 0.06, 0.012
"""Half the width of the widest strand, how far its pieces may be from one another and from the hair, and by how much
it is widened."""
_SEEN, _NOISE = 5.0, 3.0
"""Levels of 255 by which a strand stands out, above so many times what half of the skin does."""
_SLANTED = 0.5
"""Sine of the angle to the line between the eyes up to which a long line is a wrinkle."""


def forehead(points: Float32, size: tuple[int, int]) -> tuple[Bits, Bits]:
    """``(H, W)`` each: from the brows to the hairline, and the brows with what is around them. points: ``(82, 2)``."""
    unit = geometry.interocular(points)
    brows = cv2.dilate(geometry.hulls(points, geometry.BROWS, size), disc(_BROW * unit))
    return mask.forehead(points, size), brows > 0


def hair(chip: Float32, found: Bits, inside: Bits, points: Float32) -> tuple[Bits, Bits]:
    """``(H, W)`` each: where hair, or something else of its size, hangs into the forehead or a cheek, with its edge and
    its shade; and its strands beyond these.

    chip: ``(H, W, 3)`` float32 RGB 0..255; found: ``(H, W)``, what a segmenter sees before the face; inside: the face;
    points: ``(82, 2)`` vertices of it. What lies over eyes, nose and mouth is not looked at, nor where beards
    grow.
    """
    unit, size = geometry.interocular(points), found.shape
    above, brows = forehead(points, size)
    features = cv2.dilate(geometry.hulls(points, (range(17, 68),), size), disc(_INNER * unit)) > 0
    outer = (above | (inside & ~features)) & ~brows
    bare = outer & ~(geometry.hulls(points, (mask.BEARD,), size) > 0)
    # A face's outline is not known to a hair's breadth.
    deep = above | ~_grown(~inside, _RIM * unit)
    mass = np.where(inside, _opened(found, _MASS * unit) & bare & deep, above)
    covered = _grown(mass, _EDGE * unit) & bare
    far = bare & ~_grown(mass, _SHADE * unit)
    enough = _LEAST * unit * unit
    if far.sum() > enough:
        expected = gray(spread(chip, far.astype(np.float32), _EVEN * unit))
        # Strands are no shade.
        light = np.asarray(cv2.morphologyEx(gray(chip), cv2.MORPH_CLOSE, disc(_STRAND * unit)), np.float32)
        known = blur(far.astype(np.float32), _EVEN * unit) > _KNOWN
        dim = (blur(light, _SMOOTH * unit) < _DIM * expected) & known & bare & ~far
        covered = _grown(covered | _touching(dim, covered), 0.5 * _SMOOTH * unit) & bare
    free = bare & ~covered
    if not mass.any() or free.sum() < enough:
        return covered, np.zeros_like(free)
    return covered, _strands(chip, bare, covered, points) & free


def _strands(chip: Float32, bare: Bits, covered: Bits, points: Float32) -> Bits:
    """Narrow dark and bright lines on bare skin that begin where it is covered."""
    unit = geometry.interocular(points)
    light, reach = blur(gray(chip), 0.6), disc(_STRAND * unit)
    dark, bright = (cv2.morphologyEx(light, kind, reach) for kind in (cv2.MORPH_BLACKHAT, cv2.MORPH_TOPHAT))
    ridge = np.maximum(dark, bright)
    lines = (ridge > _SEEN + _NOISE * float(np.median(ridge[bare & ~covered]))) & bare
    joined = cv2.morphologyEx(lines.astype(np.uint8), cv2.MORPH_CLOSE, disc(0.5 * _LOOSE * unit)) > 0
    count, labels = cv2.connectedComponents(
        _touching(joined, _grown(covered, _LOOSE * unit)).astype(np.uint8)
    )
    across = points[45] - points[36]
    strands = np.zeros_like(bare)
    for label in range(1, count):
        piece = labels == label
        if not _is_wrinkle(piece, across):
            strands |= piece
    return _grown(strands, max(1.0, _WIDER * unit))


def _is_wrinkle(piece: Bits, across: Float32) -> bool:
    """Whether a line is much longer than wide and runs along with the eyes."""
    y, x = np.nonzero(piece)
    if len(x) < 3:
        return False
    values, axes = np.linalg.eigh(np.cov(np.stack([x, y])))
    slant = abs(axes[0, 1] * across[1] - axes[1, 1] * across[0]) / max(float(np.linalg.norm(across)), 1e-6)
    return bool(values[1] > 9 * max(float(values[0]), 1 / 12) and slant < _SLANTED)


def _grown(parts: Bits, radius: float) -> Bits:
    return np.asarray(cv2.dilate(parts.astype(np.uint8), disc(radius)) > 0)


def _opened(parts: Bits, radius: float) -> Bits:
    opened = cv2.morphologyEx(
        parts.astype(np.uint8), cv2.MORPH_OPEN, disc(radius), borderType=cv2.BORDER_REPLICATE
    )
    return np.asarray(opened > 0)


def _touching(parts: Bits, seed: Bits) -> Bits:
    """Those of the connected parts that lie at least in part where seed is."""
    labels = cv2.connectedComponents(parts.astype(np.uint8))[1]
    return np.asarray(np.isin(labels, np.setdiff1d(labels[seed], 0)))
