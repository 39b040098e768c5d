"""Decoding: every format and colour mode gives the same upright RGB, and hostile bytes an `ImageError`."""

import io
import resource
import struct
import time
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prosopon.configs.settings import ImageLimits
from prosopon.models.faces.detections import RGBImage
from prosopon.models.pictures.decoding import ImageError, RejectionReason, decode
from tests.paths import DATA, require

LIMITS = ImageLimits()
MALFORMED = DATA / "malformed"


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    """A photograph of a person, 256 x 320, with a different shape and content in every direction."""
    return Image.open(require(DATA / "faker") / "female_0.jpg").convert("RGB").resize((256, 320))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def difference(a: RGBImage, b: Image.Image) -> float:
    """Mean absolute difference in grey levels."""
    assert a.shape == (b.height, b.width, 3) and a.dtype == np.uint8
    return float(np.abs(a.astype(int) - np.asarray(b.convert("RGB")).astype(int)).mean())


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff"])
def test_lossless_formats_are_exact(portrait: Image.Image, kind: str) -> None:
    assert difference(decode(encoded(portrait, kind), LIMITS), portrait) == 0


@pytest.mark.parametrize(
    ("kind", "options"), [("jpeg", {"quality": 95}), ("webp", {"quality": 95}), ("gif", {})]
)
def test_lossy_formats_are_close(portrait: Image.Image, kind: str, options: dict[str, object]) -> None:
    assert difference(decode(encoded(portrait, kind, **options), LIMITS), portrait) < 4


def test_the_fast_jpeg_decoder_gives_pillows_pixels(portrait: Image.Image) -> None:
    data = encoded(portrait, "jpeg", quality=80)
    assert difference(decode(data, LIMITS), Image.open(io.BytesIO(data))) == 0


@pytest.mark.parametrize("mode", ["L", "LA", "1", "P", "CMYK", "YCbCr", "LAB", "RGBA", "I;16", "I", "F"])
def test_every_mode_becomes_rgb(portrait: Image.Image, mode: str) -> None:
    gray = np.asarray(portrait.convert("L"))
    wide = {
        "I;16": gray.astype(np.uint16) * 257,
        "I": gray.astype(np.int32) * 257,
        "F": gray / np.float32(255),
    }
    image = Image.fromarray(wide[mode]) if mode in wide else portrait.convert(mode)
    reference = portrait.convert("L") if mode in (*wide, "L", "LA") else image
    assert difference(decode(encoded(image, "tiff"), LIMITS), reference) < 1


def test_a_16_bit_png_is_scaled_and_not_clipped(portrait: Image.Image) -> None:
    gray = portrait.convert("L")
    deep = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    assert difference(decode(encoded(deep, "png"), LIMITS), gray) < 1


def test_a_cmyk_jpeg_has_its_colours(portrait: Image.Image) -> None:
    data = encoded(portrait.convert("CMYK"), "jpeg", quality=95)
    assert difference(decode(data, LIMITS), portrait) < 4


def test_what_is_transparent_lies_over_white(portrait: Image.Image) -> None:
    transparent = portrait.convert("RGBA")
    transparent.putalpha(0)
    assert (decode(encoded(transparent, "png"), LIMITS) == 255).all()
    palette = portrait.quantize(16)
    data = encoded(palette, "png", transparency=palette.getpixel((0, 0)))
    assert (decode(data, LIMITS)[0, 0] == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff"])
def test_exif_orientation_is_applied(portrait: Image.Image, orientation: int, kind: str) -> None:
    # How a camera stores the upright picture under each orientation (EXIF 2.32): the inverse transposition.
    stored = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }.get(orientation)
    image = portrait.transpose(stored) if stored is not None else portrait
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert difference(decode(encoded(image, kind, exif=exif, quality=95), LIMITS), portrait) < 3


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "tiff"])
def test_of_an_animation_the_first_frame_is_taken(portrait: Image.Image, kind: str) -> None:
    others = [Image.new("RGB", portrait.size, colour) for colour in ("red", "blue")]
    data = encoded(portrait, kind, save_all=True, append_images=others)
    assert difference(decode(data, LIMITS), portrait) < 6


def test_a_jpeg_can_be_decoded_at_a_fraction_of_its_size(portrait: Image.Image) -> None:
    data = encoded(portrait, "jpeg", quality=95)
    for reduce in (2, 4, 8):
        half = portrait.resize((portrait.width // reduce, portrait.height // reduce), Image.Resampling.BOX)
        assert difference(decode(data, LIMITS, reduce), half) < 4


@pytest.mark.parametrize("kind", ["bmp", "gif", "ico", "jpeg", "png", "tiff", "webp"])
def test_the_same_portrait_in_every_format(kind: str) -> None:
    reference = Image.open(require(MALFORMED) / "einstein.png")
    assert difference(decode((MALFORMED / f"einstein.{kind}").read_bytes(), LIMITS), reference) < 6


def rejection(data: bytes, limits: ImageLimits = LIMITS) -> RejectionReason:
    with pytest.raises(ImageError) as caught:
        decode(data, limits)
    assert str(caught.value)
    return caught.value.reason


def test_no_bytes() -> None:
    assert rejection(b"") is RejectionReason.EMPTY


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("corrupted.png", RejectionReason.NOT_AN_IMAGE),
        ("empty.png", RejectionReason.NOT_AN_IMAGE),
    ],
)
def test_malformed_files(name: str, reason: RejectionReason) -> None:
    assert rejection(require(MALFORMED / name).read_bytes()) is reason


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "bmp", "gif", "tiff", "ico"])
@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.95])
def test_a_truncated_file_is_refused_in_every_format(portrait: Image.Image, kind: str, share: float) -> None:
    data = encoded(portrait, kind)
    assert rejection(data[: int(len(data) * share)]) in (
        RejectionReason.CORRUPT,
        RejectionReason.NOT_AN_IMAGE,
        RejectionReason.EMPTY,
    )


def test_formats_that_nobody_asked_for_are_not_parsed(portrait: Image.Image) -> None:
    for kind in ("ppm", "tga", "pcx", "eps"):
        assert rejection(encoded(portrait, kind)) is RejectionReason.NOT_AN_IMAGE


def test_too_many_bytes_are_refused_before_they_are_looked_at() -> None:
    assert rejection(bytes(6 * 1024 * 1024)) is RejectionReason.TOO_LARGE


def png_bomb(side: int) -> bytes:
    """A black png of side x side pixels: 1.2 GB of pixels from about 1 MB where side is 20,000."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(1 + 3 * side)) for _ in range(side)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def icon_around(png: bytes) -> bytes:
    """An icon that claims 16 x 16 pixels and holds a png of another size."""
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(png), 22) + png


@pytest.mark.parametrize("wrap", [bytes, icon_around])
def test_a_bomb_is_refused_at_once_and_without_memory(wrap: type[bytes]) -> None:
    data = wrap(png_bomb(20_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    assert rejection(data, ImageLimits(max_bytes=10_000_000)) is RejectionReason.TOO_MANY_PIXELS
    assert time.process_time() - start < 0.5, "whatever else the machine does"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


def test_the_pixel_limit_is_the_operators(portrait: Image.Image) -> None:
    data = encoded(portrait, "png")
    assert rejection(data, ImageLimits(max_pixels=256 * 320 - 1)) is RejectionReason.TOO_MANY_PIXELS
    decode(data, ImageLimits(max_pixels=256 * 320))


@pytest.mark.parametrize("path", ["einstein.jpeg", "einstein.png", "einstein.webp", "einstein.gif"])
def test_random_damage_never_gives_anything_but_a_picture_or_an_image_error(path: str) -> None:
    data = require(MALFORMED / path).read_bytes()
    random = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(data)
        for position in random.integers(0, len(data), 8):
            damaged[position] = random.integers(0, 256)
        with suppress(ImageError):
            assert decode(bytes(damaged), LIMITS).dtype == np.uint8


def test_nothing_of_the_mask_set_is_lost() -> None:
    """Photographs from the web, with every oddity of real files."""
    paths = sorted(Path(require(DATA / "mask")).rglob("*.*"))[:200]
    for path in paths:
        picture = decode(path.read_bytes(), ImageLimits(max_bytes=20_000_000))
        assert picture.ndim == 3 and picture.shape[2] == 3
