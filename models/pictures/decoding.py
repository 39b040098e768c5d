"""Decoding pictures that strangers sent: bounded before a pixel is touched, upright 8-bit RGB afterwards."""

import contextlib
import io
import struct
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from prosopon.configs.settings import ImageLimits
from prosopon.models.faces.detections import RGBImage

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "ICO")
"""Pillow's names of what is decoded. Only these parsers ever see the bytes."""

_ICO_ENTRY = struct.Struct("<12xI")
_JPEG_END = b"\xff\xd9"
# Flipping and turning that brings a picture upright, by EXIF orientation (EXIF 2.32, tag 0x0112).
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class RejectionReason(StrEnum):
    EMPTY = "empty"
    TOO_LARGE = "too_large"
    TOO_MANY_PIXELS = "too_many_pixels"
    NOT_AN_IMAGE = "not_an_image"
    CORRUPT = "corrupt"


class ImageError(ValueError):
    """A picture that is not decoded. The message says why and is fit for the client."""

    def __init__(self, reason: RejectionReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def decode(data: bytes, limits: ImageLimits, reduce: int = 1) -> RGBImage:
    """A file's bytes to ``(H, W, 3)`` uint8 RGB, upright as its EXIF orientation says.

    Of an animation the first frame is taken, of an icon the largest. Channels of 16 bits are scaled to 8;
    what is transparent lies over white. reduce: 2, 4 or 8 decodes a JPEG at that fraction of its sides, which
    costs less than shrinking it later (other formats are decoded in full).

    Raises `ImageError`: empty, larger than the limits (judged from the header, before decoding), in no format
    of `FORMATS`, or damaged.
    """
    check_size(data, limits)
    with _told(limits):
        header = _open(data, limits)
        _check_pixels(*header.size, limits)
        pixels = _decode_jpeg(data, header, reduce)
        if pixels is None:
            pixels = _to_rgb(header, limits)
        # Asked for only now: Pillow turns a TIFF itself as it loads it, and a PNG may say it at its end.
        return _turn_upright(pixels, _orientation(header))


def check(data: bytes, limits: ImageLimits) -> str:
    """The media type of a file whose header promises a picture within the limits; nothing is decoded, so it may yet be
    damaged. Raises `ImageError` as `decode` does."""
    check_size(data, limits)
    with _told(limits):
        header = _open(data, limits)
        _check_pixels(*header.size, limits)
        return Image.MIME.get(header.format or "", "application/octet-stream")


def media_type(data: bytes) -> str:
    """The media type (``image/jpeg``) of a file that `decode` accepts, from its header."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as header:
        return Image.MIME.get(header.format or "", "application/octet-stream")


def check_size(data: bytes, limits: ImageLimits) -> None:
    """Raises `ImageError` for a file without bytes or with too many."""
    if not data:
        raise ImageError(RejectionReason.EMPTY, "The file is empty (0 bytes).")
    if len(data) > limits.max_bytes:
        raise ImageError(
            RejectionReason.TOO_LARGE,
            f"The file has {len(data):,} bytes; at most {limits.max_bytes:,} are accepted.",
        )


@contextlib.contextmanager
def _told(limits: ImageLimits) -> Iterator[None]:
    """Whatever a decoder raises, as `ImageError`."""
    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(
            RejectionReason.NOT_AN_IMAGE,
            "The file is not an image in a supported format (jpeg, png, webp, bmp, gif, tiff, ico).",
        ) from None
    except Image.DecompressionBombError:
        raise _too_many_pixels(limits) from None
    except Exception as error:  # Decoders raise nearly anything when bytes lie to them.
        raise ImageError(RejectionReason.CORRUPT, f"The image is damaged or incomplete: {error}") from error


def _open(data: bytes, limits: ImageLimits) -> Image.Image:
    """Read the header. An icon's header does not tell the size of the pictures inside: look at these."""
    if data[:4] == b"\0\0\1\0":
        for i in range(struct.unpack_from("<H", data, 4)[0]):
            (offset,) = _ICO_ENTRY.unpack_from(data, 6 + 16 * i)
            if data[offset : offset + 8] == b"\x89PNG\r\n\x1a\n":
                width, height = struct.unpack_from(">II", data, offset + 16)
                _check_pixels(width, height, limits)
            else:
                width, doubled_height = struct.unpack_from("<ii", data, offset + 4)
                _check_pixels(abs(width), abs(doubled_height) // 2, limits)
    return Image.open(io.BytesIO(data), formats=FORMATS)


def _check_pixels(width: int, height: int, limits: ImageLimits) -> None:
    if width < 1 or height < 1:
        raise ImageError(RejectionReason.CORRUPT, f"The image is {width} x {height} pixels.")
    if width * height > limits.max_pixels:
        raise _too_many_pixels(limits, f"{width} x {height} pixels")


def _too_many_pixels(limits: ImageLimits, size: str = "too many pixels") -> ImageError:
    return ImageError(
        RejectionReason.TOO_MANY_PIXELS,
        f"The image has {size}; at most {limits.max_pixels:,} pixels are accepted.",
    )


def _orientation(header: Image.Image) -> int:
    try:
        return int(header.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # Damaged metadata is no reason to refuse the picture.
        return 1


def _decode_jpeg(data: bytes, header: Image.Image, reduce: int) -> RGBImage | None:
    """OpenCV's decoder, which gives Pillow's very pixels in about half the time.

    It also gives half a picture where the other half is missing, so a file that does not end as a JPEG should
    is left to Pillow, like CMYK.
    """
    whole = _JPEG_END in data[-64:]
    if header.format not in ("JPEG", "MPO") or header.mode not in ("RGB", "L") or not whole:
        return None
    flags = {
        1: cv2.IMREAD_COLOR_RGB,
        # The reduced flags are for BGR alone.
        2: cv2.IMREAD_REDUCED_COLOR_2,
        4: cv2.IMREAD_REDUCED_COLOR_4,
        8: cv2.IMREAD_REDUCED_COLOR_8,
    }[reduce]
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        return None
    rgb: RGBImage = pixels if reduce == 1 else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return rgb


def _to_rgb(image: Image.Image, limits: ImageLimits) -> RGBImage:
    """Any mode of Pillow's to 8-bit RGB."""
    image.load()
    _check_pixels(*image.size, limits)
    if image.mode.startswith(("I", "F")):
        return np.repeat(_to_8_bits(np.asarray(image))[..., None], 3, axis=2)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        over = Image.new("RGBA", rgba.size, "white")
        over.alpha_composite(rgba)
        image = over
    return np.array(image.convert("RGB"))


def _to_8_bits(gray: NDArray[Any]) -> NDArray[np.uint8]:
    """One channel of 16 or 32 bits, or of floats, scaled to 0..255; Pillow's own conversion would clip it."""
    if gray.dtype == np.uint16:
        return (gray >> 8).astype(np.uint8)
    values = np.nan_to_num(gray.astype(np.float64), posinf=0, neginf=0)
    top = values.max()
    # Neither type tells its white: the smallest usual one that covers the values is assumed.
    white = next((white for white in (1, 255, 65535) if top <= white), top)
    if gray.dtype.kind in "iu":
        white = max(white, 255)
    return np.clip(values * (255 / white), 0, 255).round().astype(np.uint8)


def _turn_upright(pixels: RGBImage, orientation: int) -> RGBImage:
    turn = _UPRIGHT.get(orientation)
    if turn is None:
        return pixels
    return np.array(Image.fromarray(pixels).transpose(turn))
