"""Pictures out: pixels to files, the same bytes for the same pixels."""

import io

import cv2
import numpy as np
from PIL import Image
from PIL import __version__ as pillow_version

from prosopon.models.faces.detections import PictureFormat, RGBImage

MEDIA_TYPES: dict[PictureFormat, str] = {"jpg": "image/jpeg", "webp": "image/webp", "png": "image/png"}
_PILLOW: dict[PictureFormat, tuple[str, dict[str, object]]] = {
    "jpg": ("JPEG", {"quality": 90, "optimize": True}),
    "webp": ("WEBP", {"quality": 90, "method": 4}),
    "png": ("PNG", {"compress_level": 6}),
}

VERSION = f"pictures-2-pillow-{pillow_version}"
"""Changes whenever the same pixels may give other bytes."""


def encode_picture(pixels: RGBImage, format: PictureFormat) -> bytes:
    """``(H, W, 3)`` uint8 RGB to a file's bytes."""
    name, options = _PILLOW[format]
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, name, **options)
    return stream.getvalue()


def resized(pixels: RGBImage, dim: int) -> RGBImage:
    """A square picture at ``dim`` pixels: the mean over the area of each pixel where it shrinks, cubic where not."""
    if len(pixels) == dim:
        return pixels
    interpolation = cv2.INTER_AREA if dim < len(pixels) else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, (dim, dim), interpolation=interpolation), np.uint8)
