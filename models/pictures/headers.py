"""What a picture's header says, read without any decoder: its format and size, what it will cost, and whether it is one
that a decoder should never see.

Layouts: JPEG (ITU-T T.81, annex B), PNG 3rd edition, GIF89a, BMP, TIFF 6.0, ICO, WebP (RFC 9649), HEIF (ISO/IEC
23008-12).
"""

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prosopon.configs.settings import ImageLimits
from prosopon.models.pictures.errors import ImageError, RejectionReason

_MAX_SIDE = 65_535
_MAX_PADDING = 4096
"""Bytes that fill the gaps between the segments of one JPEG."""
_SMALL = 12_500_000
_LARGE_BASELINE = 25_000_000
_MAX_WORK = 150_000_000
"""Pixels times scans that a progressive JPEG may have to be decoded where it is: about a second."""
_TIFF_TAGS = {0x100: "width", 0x101: "height", 0x102: "bits", 0x111: "strips", 0x115: "samples", 0x142: "tile_width",
              0x143: "tile_height", 0x144: "tiles", 0x153: "sample_format"}  # fmt: skip
_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}


@dataclass(frozen=True, slots=True)
class Header:
    """width, height: in pixels, as stored. costly: whether decoding may take long or much memory. complete: false
    where a JPEG's end is missing; refined: false where a whole scan may be."""

    media_type: str
    width: int
    height: int
    costly: bool
    complete: bool = True
    refined: bool = True


def read_header(data: bytes, limits: ImageLimits) -> Header:
    """Of a file that has at least one byte. Takes a few milliseconds at most, whatever the file is.

    Raises `ImageError`: in no known format, damaged, more pixels than the limits or longer on a side than 65,535, or
    with a header in more parts than the limits.
    """
    for matches, read in _READERS:
        if matches(data):
            try:
                header = read(data, limits)
            except (struct.error, IndexError):
                raise ImageError(
                    RejectionReason.CORRUPT, "The image is damaged or incomplete: it ends in its header."
                ) from None
            _check(header.width, header.height, limits)
            return header
    raise _unknown()


def media_type(data: bytes) -> str:
    """``image/jpeg``: by the first bytes alone; ``application/octet-stream`` for what is no picture."""
    return next((kind for kind, matches in _MAGIC.items() if matches(data)), "application/octet-stream")


def too_many_pixels(limits: ImageLimits, size: str = "too many pixels") -> ImageError:
    return ImageError(
        RejectionReason.TOO_MANY_PIXELS,
        f"The image has {size}; at most {limits.max_pixels:,} pixels are accepted.",
    )


def _check(width: int, height: int, limits: ImageLimits) -> None:
    if width < 1 or height < 1:
        raise ImageError(RejectionReason.CORRUPT, f"The image is {width} x {height} pixels.")
    if width * height > limits.max_pixels or max(width, height) > _MAX_SIDE:
        raise too_many_pixels(limits, f"{width} x {height} pixels")


def _unknown() -> ImageError:
    return ImageError(
        RejectionReason.NOT_AN_IMAGE,
        "The file is not an image in a supported format (jpeg, png, webp, bmp, gif, tiff, ico, heic, avif).",
    )


def damaged(why: str) -> ImageError:
    return ImageError(RejectionReason.CORRUPT, f"The image is damaged or incomplete: {why}.")


class Parts:
    """Counts the parts of a header. Raises `ImageError` where they are more than `most`."""

    def __init__(self, most: int) -> None:
        self._most = self._left = most

    def one(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise damaged(f"its header has more than {self._most:,} parts")


# ---------------------------------------------------------------------------------------------------------- JPEG


def _jpeg(data: bytes, limits: ImageLimits) -> Header:
    parts = Parts(limits.max_segments)
    position, padding, frame = 2, 0, None
    while True:
        marker, skipped, position = _next_marker(data, position)
        padding += skipped
        if padding > _MAX_PADDING:
            raise damaged("its segments lie too far apart")
        if marker in (0xD8, 0x01) or 0xD0 <= marker <= 0xD7:  # Markers without a length.
            parts.one()
            continue
        if marker == 0xD9:
            raise damaged("it ends before its pixels")
        (length,) = struct.unpack_from(">H", data, position)
        if length < 2:
            raise damaged("a segment has no length")
        parts.one()
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if frame is not None:
                raise damaged("it has two frame headers")
            height, width, components, first = struct.unpack_from(">HHBB", data, position + 3)
            frame = marker, width, height, components, first
        if marker == 0xDA:
            break
        position += length
    if frame is None:
        raise damaged("it has no frame header")
    kind, width, height, components, first = frame
    _check(width, height, limits)
    complete = data.rfind(b"\xff\xd9", position) >= 0
    scans = 1
    if kind == 0xC2 or data[position + 2] < components:
        # In what follows FF stands before 00 unless it begins a marker.
        scans += data.count(b"\xff\xda", position)
        if scans > limits.max_scans:
            raise damaged(f"it has {scans:,} scans; at most {limits.max_scans:,} are accepted")
        if (
            len(re.findall(rb"\xff[\xc4\xdb\xdd\xe0-\xef\xfe]", data[position:]))
            > limits.max_segments + 4 * scans
        ):
            raise damaged(f"it has more than {limits.max_segments:,} segments")
    pixels = width * height
    simple = kind in (0xC0, 0xC1) and scans <= 4 and pixels <= _LARGE_BASELINE
    progressive = kind == 0xC2 and scans * pixels <= _MAX_WORK and pixels <= _SMALL
    refined = complete or kind != 0xC2 or _refined(data, first)
    return Header("image/jpeg", width, height, not (simple or progressive), complete, refined)


def _next_marker(data: bytes, position: int) -> tuple[int, int, int]:
    """Its code, the bytes before it that only fill, and where what follows it begins."""
    start = position
    while data[position] == 0xFF and data[position + 1] in (0xFF, 0x00):
        position += 1 if data[position + 1] == 0xFF else 2
        if position - start > _MAX_PADDING:
            break
    if data[position] != 0xFF:
        raise damaged("there is no segment where one should begin")
    return data[position + 1], position - start, position + 2


_SEGMENT = re.compile(rb"\xff[\xc4\xdb\xdd\xe0-\xef\xfe]")
"""What may come between scans: tables, and what is not for decoders."""


def _refined(data: bytes, component: int) -> bool:
    """Whether the scan of this component's details that comes last, all 63 to the last bit, has begun."""
    scans = re.finditer(rb"\xff\xda\x00\x08\x01(.).(.)(.)(.)", data, re.DOTALL)
    return any(scan[1][0] == component and scan[3][0] == 63 and not scan[4][0] & 15 for scan in scans)


# ----------------------------------------------------------------------------------------------------------- PNG


def _png(data: bytes, limits: ImageLimits) -> Header:
    # Encoders cut the pixels into chunks of some kilobytes, so there may be as many as the file is long.
    parts = Parts(limits.max_segments + len(data) // 1024)
    if data[8:16] != b"\0\0\0\x0dIHDR":
        raise _unknown()
    width, height, depth = struct.unpack_from(">IIB", data, 16)
    position = 8
    while position + 8 <= len(data):
        parts.one()
        (length,) = struct.unpack_from(">I", data, position)
        if data[position + 4 : position + 8] == b"IEND":
            break
        position += 12 + length
    return Header("image/png", width, height, width * height * (2 if depth == 16 else 1) > _SMALL)


# ---------------------------------------------------------------------------------------------------------- WebP


def _webp(data: bytes, limits: ImageLimits) -> Header:
    parts = Parts(limits.max_segments)
    size: tuple[int, int] | None = None
    position = 12
    while position + 8 <= len(data):
        parts.one()
        kind, length = struct.unpack_from("<4sI", data, position)
        body = position + 8
        if kind == b"VP8X" and size is None:
            size = 1 + int24(data, body + 4), 1 + int24(data, body + 7)
        elif kind == b"VP8L" and size is None:
            (bits,) = struct.unpack_from("<I", data, body + 1)
            size = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        elif kind == b"VP8 " and size is None:
            width, height = struct.unpack_from("<HH", data, body + 6)
            size = width & 0x3FFF, height & 0x3FFF
        position = body + length + length % 2
    if size is None:
        raise damaged("it has no picture")
    return Header("image/webp", *size, costly=size[0] * size[1] > _SMALL)


def int24(data: bytes, position: int) -> int:
    """Of a webp, whose sizes have three bytes."""
    return data[position] | data[position + 1] << 8 | data[position + 2] << 16


# ----------------------------------------------------------------------------------------------------------- GIF


def _gif(data: bytes, limits: ImageLimits) -> Header:
    """Everything before the first frame, whose size counts where it reaches over the edge."""
    parts = Parts(limits.max_segments)
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + palette_size(flags)
    while data[position] != 0x2C:
        parts.one()
        if data[position] != 0x21:  # Pillow passes over what it does not know.
            position += 1
            continue
        position += 2  # An extension: a label, then pieces up to an empty one.
        while True:
            parts.one()
            length = data[position]
            position += 1 + length
            if not length:
                break
    left, top, frame_width, frame_height = struct.unpack_from("<HHHH", data, position + 1)
    width, height = max(width, left + frame_width), max(height, top + frame_height)
    return Header("image/gif", width, height, width * height > _SMALL)


def palette_size(flags: int) -> int:
    """Bytes of the palette that the flags of a gif or of one of its frames tell."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


# ----------------------------------------------------------------------------------------------------------- BMP


def _bmp(data: bytes, _: ImageLimits) -> Header:
    width, height, compression = _dib(data, 14)
    # Pillow unpacks run lengths in Python.
    return Header("image/bmp", width, height, compression in (1, 2) or width * height > _SMALL)


def _dib(data: bytes, position: int) -> tuple[int, int, int]:
    """Width, height and compression of a bitmap's own header."""
    (size,) = struct.unpack_from("<I", data, position)
    if size == 12:
        return *struct.unpack_from("<HH", data, position + 4), 0
    width, height, _, _, compression = struct.unpack_from("<iiHHI", data, position + 4)
    return abs(width), abs(height), compression


# ----------------------------------------------------------------------------------------------------------- ICO


def _ico(data: bytes, limits: ImageLimits) -> Header:
    """The directory does not tell the size of the pictures inside: look at these. The largest counts."""
    parts = Parts(min(256, limits.max_segments))
    largest = (0, 0)
    for index in range(struct.unpack_from("<H", data, 4)[0]):
        parts.one()
        (offset,) = struct.unpack_from("<I", data, 6 + 16 * index + 12)
        if data[offset : offset + 8] == _PNG:
            width, height = struct.unpack_from(">II", data, offset + 16)
        else:
            width, height, _ = _dib(data, offset)
            height //= 2  # The mask lies below the picture.
        _check(width, height, limits)
        largest = max(largest, (width, height), key=lambda size: size[0] * size[1])
    return Header("image/x-icon", *largest, costly=True)


# ---------------------------------------------------------------------------------------------------------- TIFF


def _tiff(data: bytes, limits: ImageLimits) -> Header:
    """The first page. libtiff allocates a whole tile, however little of it is picture."""
    order = "<" if data[:2] == b"II" else ">"
    (offset,) = struct.unpack_from(f"{order}I", data, 4)
    (entries,) = struct.unpack_from(f"{order}H", data, offset)
    if entries > limits.max_segments:
        raise damaged(f"its header has more than {limits.max_segments:,} parts")
    values: dict[str, tuple[int, ...]] = {}
    for index in range(entries):
        tag, kind, count = struct.unpack_from(f"{order}HHI", data, offset + 2 + 12 * index)
        if tag in _TIFF_TAGS:
            values[_TIFF_TAGS[tag]] = _tiff_values(data, order, offset + 2 + 12 * index + 8, kind, count)
    width, height = values.get("width", (0,))[0], values.get("height", (0,))[0]
    _check(width, height, limits)
    samples, bits = values.get("samples", (1,))[0], values.get("bits", (1,))
    if not 1 <= samples <= 6 or not bits or max(bits) > 64 or len(bits) > 6:
        raise damaged(f"it has {samples} samples of {max(bits, default=0)} bits in a pixel")
    if any(kind not in (1, 2, 3) for kind in values.get("sample_format", ())[:6]):
        raise damaged("its samples are of an unknown kind")
    tile = values.get("tile_width", (1,))[0], values.get("tile_height", (1,))[0]
    if min(tile) < 1 or tile[0] > max(2 * width, 1024) or tile[1] > max(2 * height, 1024):
        raise damaged(f"its tiles are {tile[0]} x {tile[1]} pixels and the picture {width} x {height}")
    pieces = max(len(values.get("strips", ())), len(values.get("tiles", ())))
    if pieces > samples * (height + limits.max_segments):
        raise damaged(f"it is in {pieces:,} pieces")
    return Header("image/tiff", width, height, costly=True)


def _tiff_values(data: bytes, order: str, position: int, kind: int, count: int) -> tuple[int, ...]:
    size = _TIFF_SIZES.get(kind, 1)
    if count * size > len(data):
        raise damaged("a list of its header is longer than the file")
    if count * size > 4:
        (position,) = struct.unpack_from(f"{order}I", data, position)
    letter = {3: "H", 4: "I", 16: "Q"}.get(kind, "B")
    return struct.unpack_from(f"{order}{count}{letter}", data, position)


# ---------------------------------------------------------------------------------------------------------- HEIF


def _heif(data: bytes, limits: ImageLimits) -> Header:
    """The largest size that any of its items declares (box ``ispe``)."""
    parts = Parts(limits.max_segments)
    sizes = [(0, 0)]
    end = len(data)
    for kind, start, stop in boxes(data, 0, end, parts):
        if kind == b"meta":
            for inner, inner_start, inner_stop in boxes(data, start + 4, stop, parts):
                if inner != b"iprp":
                    continue
                for container, first, last in boxes(data, inner_start, inner_stop, parts):
                    if container == b"ipco":
                        sizes += [
                            struct.unpack_from(">II", data, at + 4)
                            for name, at, _ in boxes(data, first, last, parts)
                            if name == b"ispe"
                        ]
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    media = "image/avif" if _MAGIC["image/avif"](data) else "image/heic"
    return Header(media, width, height, costly=True)


def boxes(data: bytes, position: int, end: int, parts: Parts) -> Iterator[tuple[bytes, int, int]]:
    """Kind, beginning and end of each box between two positions (ISO/IEC 14496-12)."""
    while position + 8 <= end:
        parts.one()
        size, kind = struct.unpack_from(">I4s", data, position)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, position + 8)
            head = 16
        stop = end if size == 0 else min(end, position + size)
        if stop < position + head:
            raise damaged("a box is shorter than its header")
        yield kind, position + head, stop
        position = stop


def _brands(data: bytes) -> Iterator[bytes]:
    """The file's own brand and those it is compatible with, the first dozen."""
    end = min(int.from_bytes(data[:4]), len(data), 64)
    yield data[8:12]
    yield from (data[at : at + 4] for at in range(16, end, 4))


_PNG = b"\x89PNG\r\n\x1a\n"
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis")
_MAGIC: dict[str, Callable[[bytes], bool]] = {
    "image/jpeg": lambda data: data[:3] == b"\xff\xd8\xff",
    "image/png": lambda data: data[:8] == _PNG,
    "image/webp": lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP",
    "image/gif": lambda data: data[:6] in (b"GIF87a", b"GIF89a"),
    "image/bmp": lambda data: data[:2] == b"BM",
    "image/tiff": lambda data: data[:4] in (b"II*\0", b"MM\0*"),
    "image/x-icon": lambda data: data[:4] == b"\0\0\1\0",
    "image/avif": lambda data: data[4:8] == b"ftyp" and not {b"avif", b"avis"}.isdisjoint(_brands(data)),
    "image/heic": lambda data: data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS,
}
_READERS = [
    (_MAGIC["image/jpeg"], _jpeg),
    (_MAGIC["image/png"], _png),
    (_MAGIC["image/webp"], _webp),
    (_MAGIC["image/gif"], _gif),
    (_MAGIC["image/bmp"], _bmp),
    (_MAGIC["image/tiff"], _tiff),
    (_MAGIC["image/x-icon"], _ico),
    (_MAGIC["image/heic"], _heif),
]
