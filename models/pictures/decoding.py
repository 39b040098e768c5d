"""Decoding pictures that strangers sent: bounded before a decoder sees them, upright 8-bit RGB afterwards."""

import contextlib
import io
import logging
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from prosopon.configs.settings import ImageLimits
from prosopon.models.faces.detections import RGBImage
from prosopon.models.pictures.apart import decode_apart
from prosopon.models.pictures.errors import ImageError, RejectionReason
from prosopon.models.pictures.headers import Header, media_type, read_header, too_many_pixels
from prosopon.models.pictures.picture import Picture

__all__ = [
    "FORMATS",
    "ImageError",
    "RejectionReason",
    "check",
    "check_size",
    "decode",
    "decode_here",
    "decode_picture",
    "is_costly",
    "media_type",
]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "ICO", "AVIF", "HEIF")
"""Pillow's names of what is decoded. Only these parsers ever see the bytes."""

_ROWS = 1 << 22
"""Pixels that are converted at a time, so that not all of a picture is there in several modes."""
_GREY = re.compile(r"1|LA?|[IF](;.*)?")
"""Pillow's modes without colours."""
_LAST_ROWS = 0.05
"""Of a JPEG whose end is missing, the part of its rows that may be."""
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

logger = logging.getLogger("ray.serve")


def decode(data: bytes, limits: ImageLimits, reduce: int = 1) -> RGBImage:
    """A file's bytes to ``(H, W, 3)`` uint8 RGB, upright as its EXIF orientation says.

    Of an animation the first frame is taken, of an icon the largest. Channels of 16 bits are scaled to 8;
    what is transparent lies over white. reduce: 2, 4 or 8 decodes a JPEG at that fraction of its sides, which
    costs less than shrinking it later (other formats are decoded in full). Of a JPEG without its last bytes what is
    missing is grey. What may take long or much memory is decoded in a process of its own (`apart`), for which this
    waits.

    Raises `ImageError`: empty, larger than the limits (judged from the header, before decoding), in no format
    of `FORMATS`, damaged, or past the limits' time or memory.
    """
    return _decode(data, limits, reduce, keep_alpha=False).pixels


def decode_picture(data: bytes, limits: ImageLimits) -> Picture:
    """`decode` for a picture that is to be written again: with its alpha, and what else its file says of it."""
    return _decode(data, limits, 1, keep_alpha=True)


def _decode(data: bytes, limits: ImageLimits, reduce: int, *, keep_alpha: bool) -> Picture:
    check_size(data, limits)
    if read_header(data, limits).costly:
        return decode_apart(data, limits, reduce, keep_alpha=keep_alpha)
    return decode_here(data, limits, reduce, keep_alpha=keep_alpha)


def decode_here(data: bytes, limits: ImageLimits, reduce: int = 1, *, keep_alpha: bool = False) -> Picture:
    """`decode`, or `decode_picture` with keep_alpha, in this process, whatever it costs."""
    check_size(data, limits)
    known = read_header(data, limits)
    with _told(limits):
        if known.media_type == "image/heic":
            _read_heic()
        header = Image.open(io.BytesIO(data), formats=FORMATS)
        _check_pixels(*header.size, limits)
        pixels = _decode_jpeg(data, known, header, reduce)
        if pixels is None:
            pixels = _to_rgb(header, limits, keep_alpha)
        # Asked for only now: Pillow turns a TIFF itself as it loads it, and a PNG may say it at its end.
        upright = _turn_upright(pixels, _orientation(header))
        return Picture(
            upright, _GREY.fullmatch(header.mode) is not None, header.info.get("icc_profile") or b""
        )


@cache
def _read_heic() -> None:
    """Teach Pillow the format, in the one process that needs it."""
    import pillow_heif

    pillow_heif.register_heif_opener(thumbnails=False)


def is_costly(data: bytes, limits: ImageLimits) -> bool:
    """Whether `decode` would wait for another process. Raises `ImageError` as it does for a header."""
    check_size(data, limits)
    return read_header(data, limits).costly


def check(data: bytes, limits: ImageLimits) -> str:
    """The media type of a file whose header promises a picture within the limits; nothing is decoded, so it may yet be
    damaged. Takes milliseconds. Raises `ImageError` as `decode` does."""
    check_size(data, limits)
    return read_header(data, limits).media_type


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
            "The file is not an image in a supported format (jpeg, png, webp, bmp, gif, tiff, ico, heic, avif).",
        ) from None
    except Image.DecompressionBombError:
        raise too_many_pixels(limits) from None
    except MemoryError:
        raise ImageError(
            RejectionReason.TOO_MANY_PIXELS, "The image takes too much memory to decode."
        ) from None
    except Exception as error:  # Decoders raise nearly anything when bytes lie to them.
        raise ImageError(RejectionReason.CORRUPT, f"The image is damaged or incomplete: {error}") from error


def _check_pixels(width: int, height: int, limits: ImageLimits) -> None:
    if width < 1 or height < 1:
        raise ImageError(RejectionReason.CORRUPT, f"The image is {width} x {height} pixels.")
    if width * height > limits.max_pixels:
        raise too_many_pixels(limits, f"{width} x {height} pixels")


def _orientation(header: Image.Image) -> int:
    try:
        return int(header.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # Damaged metadata is no reason to refuse the picture.
        return 1


def _decode_jpeg(data: bytes, known: Header, header: Image.Image, reduce: int) -> RGBImage | None:
    """OpenCV's decoder, which gives Pillow's very pixels in about half the time; CMYK is left to Pillow.

    It also gives half a picture, grey below, where the other half is missing. That is an error here unless what is
    missing is the very end.
    """
    if header.format not in ("JPEG", "MPO") or header.mode not in ("RGB", "L"):
        return None
    if not known.refined:
        raise ImageError(RejectionReason.CORRUPT, "The image is damaged or incomplete: scans are missing.")
    flags = {
        1: cv2.IMREAD_COLOR_RGB,
        # The reduced flags are for BGR alone.
        2: cv2.IMREAD_REDUCED_COLOR_2,
        4: cv2.IMREAD_REDUCED_COLOR_4,
        8: cv2.IMREAD_REDUCED_COLOR_8,
    }[reduce]
    whole = data if known.complete else data + b"\xff\xd9"
    pixels = cv2.imdecode(np.frombuffer(whole, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        return None
    if not known.complete:
        missing = _grey_rows(pixels) / len(pixels)
        if missing > _LAST_ROWS:
            raise ImageError(
                RejectionReason.CORRUPT,
                f"The image is damaged or incomplete: {missing:.0%} of it is missing.",
            )
        logger.warning(f"a JPEG without its last bytes: {missing:.1%} of it is missing")
    rgb: RGBImage = pixels if reduce == 1 else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return rgb


def _grey_rows(pixels: RGBImage) -> int:
    """Rows at the end in which libjpeg had nothing more to decode somewhere: there it puts coefficients of zero, a grey
    of 128 on eight pixels and more. In the row of blocks where the file ends that is so at the right edge alone."""
    edge = pixels[:, -8:].reshape(len(pixels), -1)
    coloured = np.flatnonzero((edge != 128).any(axis=1))
    return len(pixels) - (int(coloured[-1]) + 1 if len(coloured) else 0)


def _to_rgb(image: Image.Image, limits: ImageLimits, keep_alpha: bool) -> RGBImage:
    """Any mode of Pillow's to 8-bit RGB, some rows at a time. keep_alpha: to RGBA where something is transparent."""
    image.load()
    _check_pixels(*image.size, limits)
    if image.mode.startswith(("I", "F")):
        gray = _to_8_bits(np.asarray(image))
        return np.repeat(gray[..., None], 3, axis=2)
    mode = "RGBA" if keep_alpha and image.has_transparency_data else "RGB"
    pixels = np.empty((image.height, image.width, len(mode)), np.uint8)
    step = max(1, _ROWS // image.width)
    for top in range(0, image.height, step):
        rows = image.crop((0, top, image.width, min(top + step, image.height)))
        if mode == "RGB" and rows.has_transparency_data:
            over = Image.new("RGBA", rows.size, "white")
            over.alpha_composite(rows.convert("RGBA"))
            rows = over
        pixels[top : top + step] = np.asarray(rows.convert(mode))
    return pixels


def _to_8_bits(gray: NDArray[Any]) -> NDArray[np.uint8]:
    """One channel of 16 or 32 bits, or of floats, scaled to 0..255; Pillow's own conversion would clip it."""
    if gray.dtype == np.uint16:
        return (gray >> 8).astype(np.uint8)
    rows = range(0, len(gray), max(1, _ROWS // gray.shape[1]))
    step = rows.step
    top = max(float(_finite(gray[start : start + step]).max()) for start in rows)
    # Neither type tells its white: the smallest usual one that covers the values is assumed.
    white = next((white for white in (1, 255, 65535) if top <= white), top)
    if gray.dtype.kind in "iu":
        white = max(white, 255)
    scaled = np.empty(gray.shape, np.uint8)
    for start in rows:
        part = _finite(gray[start : start + step]) * (255 / white)
        scaled[start : start + step] = np.clip(part, 0, 255).round()
    return scaled


def _finite(values: NDArray[Any]) -> NDArray[np.float64]:
    return np.nan_to_num(values.astype(np.float64), posinf=0, neginf=0)


def _turn_upright(pixels: RGBImage, orientation: int) -> RGBImage:
    turn = _UPRIGHT.get(orientation)
    if turn is None:
        return pixels
    return np.array(Image.fromarray(pixels).transpose(turn))
