"""Thumbnails of faces: what a result of a search shows, and enough to embed the face again."""

import io

from PIL import Image

from prosopon.models.faces.detections import RGBImage
from prosopon.models.pictures.crops import CropSpec

THUMBNAIL = CropSpec(160, scale=1.6, inside=True)
"""The box is 100 of its 160 pixels: about what an embedder's chip shows of a face, so that `prosopon reembed`
loses little where the thumbnail is all that was kept."""

MEDIA_TYPE = "image/webp"
_QUALITY = 80
_METHOD = 2


def encode_thumbnail(chip: RGBImage) -> bytes:
    """``(160, 160, 3)`` uint8 RGB to a webp file of 2 to 4 KB."""
    stream = io.BytesIO()
    Image.fromarray(chip).save(stream, "WEBP", quality=_QUALITY, method=_METHOD)
    return stream.getvalue()
