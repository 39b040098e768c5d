"""What the header of a film says, read without any decoder: how long and how large it is.

Layouts: GIF89a, WebP (RFC 9649), MP4 (ISO/IEC 14496-12).
"""

import itertools
import struct
from dataclasses import dataclass

from prosopon.configs.settings import FilmLimits
from prosopon.models.pictures.errors import ImageError, RejectionReason
from prosopon.models.pictures.headers import Parts, boxes, damaged, int24, media_type, palette_size

_PIECE = 64
"""A legitimate file's parts have as many bytes in the mean, or more."""
_SHOWN, _SHORTEST = 100, 20
"""Milliseconds for which browsers show a frame of a gif that is to be shown for less than the shortest time."""


@dataclass(frozen=True, slots=True)
class FilmHeader:
    """width, height: in pixels, as stored. seconds: until the last frame ends. durations: of each frame in
    milliseconds, where the header has them (not of an mp4). loop: how often it is shown, as FFmpeg's writer of the
    format takes it; None where the format does not say."""

    media_type: str
    width: int
    height: int
    frames: int
    seconds: float
    durations: tuple[int, ...] = ()
    loop: int | None = None


def read_film(data: bytes, limits: FilmLimits) -> FilmHeader | None:
    """None for what is no film: a picture, also one in a format that could move.

    Takes tenths of a second at most. Raises `ImageError` for a film that is damaged or past the limits.
    """
    read = _READERS.get(media_type(data)) or (_mp4 if data[4:8] == b"ftyp" else None)
    if read is None or media_type(data) in ("image/heic", "image/avif"):
        return None
    parts = Parts(2000 + len(data) // _PIECE)
    try:
        header = read(data, parts, limits)
    except (struct.error, IndexError):
        raise damaged("it ends in its header") from None
    if header is None:
        return None
    if not limits.max_seconds:
        raise ImageError(RejectionReason.NOT_AN_IMAGE, "Films are not taken here.")
    if len(data) > limits.max_bytes:
        raise ImageError(
            RejectionReason.TOO_LARGE,
            f"The film has {len(data):,} bytes; at most {limits.max_bytes:,} are accepted.",
        )
    if header.frames > limits.max_frames:
        raise _frames(header.frames, limits)
    if header.seconds > limits.max_seconds:
        raise _too_much(f"is {header.seconds:.1f} s long; at most {limits.max_seconds:g} s")
    if min(header.width, header.height) < 1:
        raise damaged(f"its frames are {header.width} x {header.height} pixels")
    if header.width * header.height > limits.max_pixels:
        raise _too_much(
            f"has {header.width} x {header.height} pixels; at most {limits.max_pixels:,} in a frame"
        )
    return header


def _frames(count: int, limits: FilmLimits) -> ImageError:
    return _too_much(f"has {count:,} frames; at most {limits.max_frames:,}")


def _too_much(what: str) -> ImageError:
    return ImageError(RejectionReason.TOO_MANY_PIXELS, f"The film {what} are accepted.")


# ----------------------------------------------------------------------------------------------------------- GIF


def _gif(data: bytes, parts: Parts, _: FilmLimits) -> FilmHeader | None:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + palette_size(flags)
    durations: list[int] = []
    delay, loop = 0, -1  # Without a word it is shown once.
    while position < len(data) and data[position] != 0x3B:
        parts.one()
        if data[position] == 0x2C:
            durations.append(_SHOWN if delay < _SHORTEST else delay)
            delay = 0
            position += 10 + palette_size(data[position + 9]) + 1
        elif data[position] == 0x21:
            kind, size = data[position + 1], data[position + 2]
            body = data[position + 3 : position + 3 + size]
            if kind == 0xF9 and size >= 4:  # Graphic control.
                delay = 10 * struct.unpack_from("<H", body, 1)[0]
            if kind == 0xFF and body == b"NETSCAPE2.0" and data[position + 14 : position + 16] == b"\3\1":
                (loop,) = struct.unpack_from("<H", data, position + 16)
            position += 2
        else:
            position += 1  # Pillow passes over what it does not know.
            continue
        while data[position]:
            parts.one()
            position += 1 + data[position]
        position += 1
    if len(durations) < 2:
        return None
    seconds = sum(durations) / 1000
    return FilmHeader("image/gif", width, height, len(durations), seconds, tuple(durations), loop)


# ---------------------------------------------------------------------------------------------------------- WebP


def _webp(data: bytes, parts: Parts, _: FilmLimits) -> FilmHeader | None:
    if data[12:16] != b"VP8X" or not data[20] & 0x02:
        return None
    width, height = 1 + int24(data, 24), 1 + int24(data, 27)
    position, loop, durations = 12, 0, []
    while position + 8 <= len(data):
        parts.one()
        kind, length = struct.unpack_from("<4sI", data, position)
        body = position + 8
        if kind == b"ANIM":
            (loop,) = struct.unpack_from("<H", data, body + 4)
        elif kind == b"ANMF":
            durations.append(max(1, int24(data, body + 12)))
        position = body + length + length % 2
    if len(durations) < 2:
        return None
    seconds = sum(durations) / 1000
    return FilmHeader("image/webp", width, height, len(durations), seconds, tuple(durations), loop)


# ----------------------------------------------------------------------------------------------------------- MP4


def _mp4(data: bytes, parts: Parts, limits: FilmLimits) -> FilmHeader | None:
    """The first track of pictures."""

    def found(span: tuple[int, int], *path: bytes) -> list[tuple[int, int]]:
        """Where the contents of the boxes on a path begin and end."""
        spans = [span]
        for name in path:
            inside = [box for one in spans for box in boxes(data, *one, parts)]
            spans = [(start, stop) for kind, start, stop in inside if kind == name]
        return spans

    def only(span: tuple[int, int], *path: bytes) -> int:
        return (found(span, *path) or [(len(data), 0)])[0][0]

    whole = 0, len(data)
    if found(whole, b"moov", b"mvex"):
        raise damaged("an mp4 in fragments is not taken: write it with its index in one piece")
    media = next(
        (
            media
            for media in found(whole, b"moov", b"trak", b"mdia")
            if any(data[start + 8 : start + 12] == b"vide" for start, _ in found(media, b"hdlr"))
        ),
        None,
    )
    if media is None:
        raise damaged("it has no moving pictures")
    clock, table = only(media, b"mdhd"), b"stbl"
    (scale,) = struct.unpack_from(">I", data, clock + (20 if data[clock] == 1 else 12))
    # A sample's description: 8 bytes of the list's head, then 32 until the size of the pictures.
    width, height = struct.unpack_from(">HH", data, only(media, b"minf", table, b"stsd") + 8 + 32)
    times = only(media, b"minf", table, b"stts")
    (entries,) = struct.unpack_from(">I", data, times + 4)
    if entries > limits.max_frames:
        raise _frames(entries, limits)
    runs = [struct.unpack_from(">II", data, times + 8 + 8 * index) for index in range(entries)]
    frames = sum(count for count, _ in runs)
    if not frames or not scale:
        raise damaged("it has no moving pictures")
    if frames > limits.max_frames:
        raise _frames(frames, limits)
    # Frames are stored in the order of decoding; `ctts` says how much later each is shown.
    decoded = itertools.accumulate((step for count, step in runs for _ in range(count)), initial=0)
    later = [0] * frames
    if offsets := found(media, b"minf", table, b"ctts"):
        later = _later(data, offsets[0][0], frames)
    shown = sorted(moment + offset for moment, offset in zip(decoded, later, strict=False))
    last = (shown[-1] - shown[0]) // (frames - 1) if frames > 1 else runs[-1][1]
    return FilmHeader("video/mp4", width, height, frames, (shown[-1] - shown[0] + last) / scale)


def _later(data: bytes, start: int, frames: int) -> list[int]:
    (entries,) = struct.unpack_from(">I", data, start + 4)
    offsets: list[int] = []
    for index in range(min(entries, frames)):
        count, offset = struct.unpack_from(">Ii", data, start + 8 + 8 * index)
        offsets += [offset] * min(count, frames - len(offsets))
    return offsets + [0] * (frames - len(offsets))


_READERS = {"image/gif": _gif, "image/webp": _webp}
