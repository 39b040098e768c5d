"""Pictures that are made to cost: refused by their headers, or decoded where they can be stopped."""

import io
import logging
import os
import socket
import struct
import sys
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import repeat
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from prosopon.configs.settings import ImageLimits
from prosopon.models.pictures import apart
from prosopon.models.pictures.apart import decode_apart
from prosopon.models.pictures.decoding import (
    ImageError,
    RejectionReason,
    check,
    decode,
    decode_here,
    is_costly,
    media_type,
)
from tests.paths import DATA, require

LIMITS = ImageLimits()
REFUSED_WITHIN = 0.25
"""Seconds of this process. The worst of these took 24 before their headers were bounded."""


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def heic(image: Image.Image, **options: object) -> bytes:
    """By libheif, without teaching Pillow of this process the format."""
    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer, quality=90, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    return Image.open(require(DATA / "faker") / "female_0.jpg").convert("RGB").resize((256, 320))


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, 2 + len(body)) + body


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def after_first(data: bytes, size: int, inserted: bytes) -> bytes:
    return data[:size] + inserted + data[size:]


def gif_comments(data: bytes, count: int) -> bytes:
    """A comment in pieces of one byte before the first frame."""
    return after_first(data, 13 + (3 << (data[10] & 7) + 1), b"!\xfe" + b"\x01a" * count + b"\0")


def boxes(count: int) -> bytes:
    return struct.pack(">I4s4sI4s4s", 24, b"ftyp", b"avif", 0, b"avif", b"mif1") + b"\0\0\0\x08free" * count


def tiff(*tags: tuple[int, int, int]) -> bytes:
    """A little-endian TIFF of one page without pixels; each tag with its type and its only value."""
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return struct.pack("<4sIH", b"II*\0", 8, len(tags)) + entries + bytes(4)


HOSTILE: dict[str, Callable[[Image.Image], bytes]] = {
    "exif": lambda p: after_first(encoded(p, "jpeg"), 2, segment(0xE1, b"Exif\0\0" + b"a" * 10) * 250_000),
    "comments": lambda p: after_first(encoded(p, "jpeg"), 2, segment(0xFE, b"") * 1_000_000),
    "padding": lambda p: after_first(encoded(p, "jpeg"), 2, b"\xff" * 5_000_000),
    "stuffing": lambda p: after_first(encoded(p, "jpeg"), 2, b"\xff\x00" * 2_500_000),
    "restarts": lambda p: after_first(encoded(p, "jpeg"), 2, b"\xff\xd0" * 2_500_000),
    "scans": lambda p: with_scans(p, 7_000),
    "tables": lambda p: (
        encoded(p, "jpeg", progressive=True)[:-2] + segment(0xFE, b"") * 1_000_000 + b"\xff\xd9"
    ),
    "chunks": lambda p: after_first(encoded(p, "png"), 33, chunk(b"teSt", b"") * 400_000),
    "gif": lambda p: gif_comments(encoded(p.quantize(256), "gif"), 2_500_000),
    "webp": lambda p: after_first(encoded(p, "webp"), 12, b"teSt\0\0\0\0" * 600_000),
    "boxes": lambda _: boxes(600_000),
    "icons": lambda _: b"\0\0\1\0\xff\xff" + bytes(16) * 65_535,
    "tiles": lambda _: tiff((256, 4, 64), (257, 4, 64), (322, 4, 23_152), (323, 4, 23_152), (324, 4, 8)),
    "samples": lambda _: tiff((256, 4, 64), (257, 4, 64), (277, 3, 60_000)),
    "sample kinds": lambda _: tiff((256, 4, 64), (257, 4, 64), (339, 3, 6)),
    "narrow": lambda _: (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 50_000_000, 8, 6, 0, 0, 0))
    ),
}


def with_scans(image: Image.Image, count: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    data = encoded(image, "jpeg", progressive=True, quality=30)
    last = data.rfind(b"\xff\xda")
    return data[:-2] + data[last:-2] * (count - data.count(b"\xff\xda")) + b"\xff\xd9"


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_a_header_gives_away_is_refused_before_a_decoder_sees_it(
    portrait: Image.Image, kind: str
) -> None:
    data = HOSTILE[kind](portrait)
    limits = ImageLimits(max_bytes=max(len(data), LIMITS.max_bytes))
    for look in (check, decode):
        began = time.process_time()
        with pytest.raises(ImageError):
            look(data, limits)
        assert time.process_time() - began < REFUSED_WITHIN, look.__name__


def test_ordinary_pictures_are_decoded_where_they_are(portrait: Image.Image) -> None:
    big = Image.effect_noise((4000, 3000), 30).convert("RGB")
    for data in (
        encoded(portrait, "png"),
        encoded(portrait, "webp"),
        encoded(portrait, "gif"),
        encoded(portrait, "bmp"),
        encoded(big, "jpeg", quality=30),
        encoded(big.resize((3000, 2000)), "jpeg", quality=30, progressive=True),
    ):
        assert not is_costly(data, LIMITS)


@pytest.mark.parametrize("kind", ["tiff", "ico", "avif"])
def test_rare_formats_are_decoded_apart_to_the_same_pixels(portrait: Image.Image, kind: str) -> None:
    data = encoded(portrait, kind)
    assert is_costly(data, LIMITS)
    assert (decode(data, LIMITS) == decode_here(data, LIMITS).pixels).all()


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_phones_heic_is_upright_rgb(portrait: Image.Image, orientation: int) -> None:
    """As phones store it: turned, with the turn in a property of the file (and in its EXIF too)."""
    stored = portrait.transpose(Image.Transpose.ROTATE_90) if orientation == 6 else portrait
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = heic(stored, exif=exif.tobytes())
    assert media_type(data) == check(data, LIMITS) == "image/heic"
    pixels = decode(data, LIMITS)
    assert pixels.shape == (320, 256, 3)
    assert np.abs(pixels.astype(int) - np.asarray(portrait)).mean() < 4


def test_a_heic_that_says_it_is_small_is_judged_by_what_it_holds(portrait: Image.Image) -> None:
    """The size in the properties (box ``ispe``) is a claim: the stream has its own."""
    data = bytearray(heic(portrait))
    at = data.index(b"ispe") + 8
    assert struct.unpack_from(">II", data, at) == portrait.size
    struct.pack_into(">II", data, at, 16, 16)
    limits = LIMITS.model_copy(update={"max_pixels": 32 * 32})
    try:
        assert decode(bytes(data), limits).size <= 3 * 32 * 32
    except ImageError as error:
        assert error.reason in (RejectionReason.CORRUPT, RejectionReason.TOO_MANY_PIXELS)


def test_a_heic_that_says_it_is_huge_is_refused_by_its_header(portrait: Image.Image) -> None:
    data = bytearray(heic(portrait))
    struct.pack_into(">II", data, data.index(b"ispe") + 8, 60_000, 60_000)
    with pytest.raises(ImageError) as caught:
        check(bytes(data), LIMITS)
    assert caught.value.reason is RejectionReason.TOO_MANY_PIXELS


@pytest.mark.parametrize("format", ["jpeg", "png", "webp", "gif", "bmp", "tiff", "avif"])
def test_the_media_type_is_pillows(portrait: Image.Image, format: str) -> None:
    data = encoded(portrait, format)
    assert media_type(data) == check(data, LIMITS) == Image.MIME[format.upper()]


def test_a_decode_that_takes_too_long_is_ended_and_the_next_is_not_hurt(portrait: Image.Image) -> None:
    slow = with_scans(portrait.resize((4000, 3000)), 400)
    limits = ImageLimits(decode_seconds=0.3, max_bytes=len(slow) + 1)
    decode(encoded(portrait, "tiff"), LIMITS)  # The process is there.
    with pytest.raises(ImageError, match=r"more than 0\.3 s"):
        decode(slow, limits)
    assert decode(encoded(portrait, "tiff"), LIMITS).shape == (320, 256, 3)


def test_a_decode_that_takes_too_much_memory_is_refused_and_takes_none_here() -> None:
    numbers = Image.fromarray(np.zeros((4000, 4000), np.int32))
    data = encoded(numbers, "tiff", compression="tiff_adobe_deflate")
    before = resident()
    with pytest.raises(ImageError, match="memory"):
        decode(data, ImageLimits(decode_bytes=1 << 26, decode_seconds=60))
    assert resident() - before < 10 << 20
    assert decode(data, ImageLimits(decode_seconds=60)).shape == (4000, 4000, 3)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_a_decoder_that_was_killed_is_started_again(portrait: Image.Image) -> None:
    data = encoded(portrait, "tiff")
    first = decode_apart(data, LIMITS).pixels
    assert apart._process is not None
    apart._process.kill()
    apart._process.wait()
    assert (decode_apart(data, LIMITS).pixels == first).all()


@pytest.mark.skipif(
    sys.platform != "linux", reason="the count of a whole machine is kept with Linux' sockets"
)
def test_decodes_of_all_processes_of_a_machine_are_counted_together(portrait: Image.Image) -> None:
    data = encoded(portrait, "tiff")
    other_process = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    other_process.bind(f"\0prosopon-decode-{os.getuid()}-0")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(decode, data, LIMITS)
        assert not wait([waiting], timeout=1).done
        other_process.close()
        assert waiting.result(timeout=60).shape == (320, 256, 3)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_last_bytes_is_decoded_with_a_warning(
    portrait: Image.Image, progressive: bool, caplog: pytest.LogCaptureFixture
) -> None:
    data = encoded(portrait, "jpeg", quality=90, progressive=progressive)
    whole = decode(data, LIMITS).astype(int)
    for missing in (1, 2, 3, 20, 40):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "ray.serve"):
            cut = decode(data[:-missing], LIMITS).astype(int)
        assert "without its last bytes" in caplog.text
        assert cut.shape == whole.shape and (cut == whole).mean() > 0.97


def test_a_real_cut_off_snapshot_is_decoded() -> None:
    assert decode(require(DATA / "malformed" / "truncated.jpg").read_bytes(), LIMITS).shape == (225, 225, 3)


@pytest.mark.parametrize(
    ("progressive", "share"), [(False, 0.2), (False, 0.5), (False, 0.9), (True, 0.2), (True, 0.5)]
)
def test_half_a_jpeg_is_none(portrait: Image.Image, progressive: bool, share: float) -> None:
    """Of a progressive one the last bit of the details is a quarter of the bytes."""
    data = encoded(portrait, "jpeg", quality=90, progressive=progressive)
    with pytest.raises(ImageError) as caught:
        decode(data[: int(len(data) * share)], LIMITS)
    assert caught.value.reason is RejectionReason.CORRUPT


def test_every_beginning_of_every_format_is_a_picture_or_an_image_error(portrait: Image.Image) -> None:
    small = portrait.resize((64, 80))
    for kind in ("jpeg", "png", "webp", "gif", "bmp", "tiff", "ico", "avif", "heic"):
        data = heic(small) if kind == "heic" else encoded(small, kind)
        for length, limits in zip(range(1, min(len(data), 700)), repeat(LIMITS)):
            try:
                check(data[:length], limits)
            except ImageError as error:
                assert str(error)
