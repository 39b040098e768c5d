"""The last step of every swapper: a new face blended into the frame at its full resolution, strip by strip."""

from collections.abc import Callable

import cv2
import numpy as np

from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.swap import detail
from prosopon.models.swap.region import Region
from prosopon.models.swap.toning import toning

Window = tuple[int, int, int, int]
"""top, bottom, left, right in pixels of a region."""
Renderer = Callable[[Window, float], Float32]
"""The new face in a window at a scale: ``(round(scale * H), round(scale * W), 3)`` float32 RGB 0..255."""

_STRIP = 1 << 19
"""Pixels that are painted at a time: bounds the memory that a huge face takes."""
_HALO = 8
_NOTHING = 1 / 512


def paint(frame: RGBImage, region: Region, alpha: Float32, render: Renderer, scale: float) -> None:
    """Blend a face into `frame`, in place.

    alpha: small raster of the region, 0..1; scale: at which rendering loses nothing, at most 1 (a face that comes from
    fewer pixels than it covers is rendered small and enlarged). Where alpha is 0 no pixel changes. The face gets the
    frame's sharpness, its grain and, where the frame is grey or sepia, its tone.
    """
    top, bottom, left, right = region.window_of(alpha, _NOTHING)
    if top >= bottom:
        return
    part, tone = region.of(frame), toning(region.shrunk(frame))
    rows = max(32, _STRIP // (right - left))

    def rendered(first: int, last: int) -> Float32:
        picture = render((first, last, left, right), scale)
        if scale >= 1:
            return picture
        size = (right - left, last - first)
        return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC), np.float32)

    middle = (top + bottom) // 2
    sampled = max(top, middle - rows // 2), min(bottom, middle + rows // 2)
    weights = region.enlarged(alpha, (*sampled, left, right))
    matched = detail.match(
        detail.measure(part[sampled[0] : sampled[1], left:right].astype(np.float32), weights),
        detail.measure(rendered(*sampled), weights),
    )
    for start in range(top, bottom, rows):
        end = min(bottom, start + rows)
        first, last = max(top, start - _HALO), min(bottom, end + _HALO)
        fresh = tone.apply(matched.apply(rendered(first, last), first)[start - first : end - first])
        weight = region.enlarged(alpha, (start, end, left, right))[..., None]
        old = part[start:end, left:right].astype(np.float32)
        blended = old + weight * (fresh - old)
        part[start:end, left:right] = np.clip(blended + 0.5, 0, 255).astype(np.uint8)
