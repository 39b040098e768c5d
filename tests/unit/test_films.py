"""Films of strangers: measured by their headers, decoded where they can be stopped, written with their times."""

import io
import struct
import time

import cv2
import numpy as np
import pytest
from PIL import Image

from prosopon.configs.settings import FilmLimits, ImageLimits
from prosopon.models.faces.detections import RGBImage
from prosopon.models.pictures.errors import ImageError, RejectionReason
from prosopon.models.pictures.film import Film
from prosopon.models.pictures.film_headers import FilmHeader, read_film
from prosopon.models.pictures.timed_film import TimedFilm
from tests.paths import DATA, require
from tests.support.films import animation, heard, moved, mp4, shown

LIMITS, FILMS = ImageLimits(), FilmLimits()
DURATIONS = (40, 70, 120, 500, 80)
MOMENTS = (0, 40, 110, 230, 730)


@pytest.fixture(scope="module")
def face() -> RGBImage:
    picture = Image.open(require(DATA / "faker") / "female_0.jpg").convert("RGB").resize((160, 192))
    return np.asarray(picture)


def header(data: bytes, films: FilmLimits = FILMS) -> FilmHeader:
    found = read_film(data, films)
    assert found is not None
    return found


def pictures(face: RGBImage, *, transparent: bool = False) -> list[Image.Image]:
    frames = [Image.fromarray(frame) for frame in moved(face, 5)]
    for frame in frames if transparent else []:
        frame.putalpha(
            Image.fromarray(np.repeat([[0], [255]], [48, 144], axis=0).repeat(160, 1).astype(np.uint8))
        )
    return frames  # fmt: skip


KINDS = {
    "gif": ("GIF", {"loop": 2}, False), "gif shown once": ("GIF", {}, False),
    "gif with holes": ("GIF", {"loop": 0, "disposal": 2}, True), "webp": ("WEBP", {"loop": 3}, False),
    "webp with alpha": ("WEBP", {"loop": 0, "lossless": True}, True),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_an_animation_comes_back_with_its_times_its_loops_and_its_holes(kind: str, face: RGBImage) -> None:
    format, options, transparent = KINDS[kind]
    data = animation(pictures(face, transparent=transparent), format, DURATIONS, **options)
    known = header(data)
    assert (known.frames, known.durations, known.seconds) == (5, DURATIONS, 0.81)
    with Film(data, known, LIMITS, FILMS) as film:
        assert [frame.moment for frame in film.frames()] == list(MOMENTS) and film.end == 810
        with TimedFilm(known, film.clock, transparent=transparent) as made:
            for frame in film.frames():
                made.add(frame.pixels, frame.moment)
            written = made.finish()
    before, after = Image.open(io.BytesIO(data)), Image.open(io.BytesIO(written))
    assert (after.format, after.n_frames) == (format, 5)  # type: ignore[attr-defined]
    assert after.info.get("loop", "once") == options.get("loop", "once")
    for index, duration in enumerate(DURATIONS):
        before.seek(index)
        after.seek(index)
        after.load()
        assert after.info["duration"] == duration
        old, new = (np.asarray(picture.convert("RGBA")).astype(int) for picture in (before, after))
        assert (old[..., 3] == new[..., 3]).all()
        apart = np.abs(old - new)[old[..., 3] > 0]
        # A gif's frame may have 257 colours here, of which two become one.
        assert (apart == 0).mean() > 0.98 if format == "GIF" else apart.mean() < 3


def test_a_film_comes_back_with_its_times_and_its_sound(face: RGBImage) -> None:
    data = mp4(moved(face, 5), MOMENTS, sound=True)
    known = header(data)
    assert (known.frames, known.width, known.height) == (5, 160, 192)
    old, moments = shown(data)
    with Film(data, known, LIMITS, FILMS) as film:
        assert film.sound
        frames = list(film.frames())
        assert [float(frame.moment * film.clock) for frame in frames] == pytest.approx(moments)
        assert all(np.abs(f.pixels.astype(int) - o).mean() < 2 for f, o in zip(frames, old, strict=True))
        with TimedFilm(known, film.clock, transparent=False) as made:
            for frame in frames:
                made.add(frame.pixels, frame.moment)
            written = film.with_sound(made.finish())
    new, times = shown(written)
    assert times == pytest.approx(moments)
    assert all(np.abs(n.astype(int) - o).mean() < 3 for n, o in zip(new, old, strict=True))
    assert heard(written) == heard(data)


def test_a_film_of_a_phone_held_upright_is_upright(face: RGBImage) -> None:
    """Turned by the track's matrix (ISO/IEC 14496-12, 8.3.2), as iPhones write it: by a quarter to the right."""
    turned = bytearray(mp4(moved(np.rot90(face).copy(), 2), (0, 40)))
    at = turned.index(b"tkhd") + 4 + 40
    struct.pack_into(">9i", turned, at, 0, 1 << 16, 0, -(1 << 16), 0, 0, 192 << 16, 0, 1 << 30)
    with Film(bytes(turned), header(bytes(turned)), LIMITS, FILMS) as film:
        first = next(film.frames()).pixels
    assert first.shape == face.shape and np.abs(first.astype(int) - face).mean() < 4


def test_pictures_are_no_films(face: RGBImage) -> None:
    picture = Image.fromarray(face)
    for format in ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF"):
        stream = io.BytesIO()
        picture.save(stream, format)
        assert read_film(stream.getvalue(), FILMS) is None, format
    assert read_film(animation([picture], "GIF", [40]), FILMS) is None
    assert read_film(b"", FILMS) is None


@pytest.mark.parametrize(
    ("bounds", "words", "reason"),
    [
        ({"max_seconds": 0.5}, r"0\.[89] s long; at most 0\.5 s", RejectionReason.TOO_MANY_PIXELS),
        ({"max_frames": 4}, "5 frames; at most 4", RejectionReason.TOO_MANY_PIXELS),
        ({"max_pixels": 1000}, "160 x 192 pixels", RejectionReason.TOO_MANY_PIXELS),
        ({"max_bytes": 100}, "at most 100 are accepted", RejectionReason.TOO_LARGE),
        ({"max_seconds": 0}, "not taken", RejectionReason.NOT_AN_IMAGE),
    ],
)
def test_what_is_over_a_bound_is_refused_by_its_header(
    bounds: dict[str, float], words: str, reason: RejectionReason, face: RGBImage
) -> None:
    for data in (
        animation(pictures(face), "GIF", DURATIONS),
        animation(pictures(face), "WEBP", DURATIONS),
        mp4(moved(face, 5), MOMENTS),
    ):
        with pytest.raises(ImageError, match=words) as caught:
            read_film(data, FilmLimits(**bounds))  # type: ignore[arg-type]
        assert caught.value.reason is reason


def test_an_mp4_in_fragments_or_without_pictures_is_refused(face: RGBImage) -> None:
    with pytest.raises(ImageError, match="fragments"):
        read_film(mp4(moved(face, 3), (0, 40, 80), movflags="frag_keyframe+empty_moov"), FILMS)
    with pytest.raises(ImageError, match="no moving pictures"):
        read_film(struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0), FILMS)


def test_a_film_that_hides_frames_is_found_out(face: RGBImage) -> None:
    """Its index says that there is one frame of 40 ms; the table of sizes has the others."""
    data = bytearray(mp4(moved(face, 30), range(0, 1200, 40)))
    at = data.index(b"stts") + 8
    struct.pack_into(">II", data, at, 1, 1)
    assert header(bytes(data)).seconds < 0.1
    with (
        Film(bytes(data), header(bytes(data)), LIMITS, FILMS) as film,
        pytest.raises(ImageError, match="more frames than its header says"),
    ):
        list(film.frames())


def test_frames_that_are_larger_than_the_header_says_are_not_decoded_further(face: RGBImage) -> None:
    data = bytearray(mp4(moved(face, 2), (0, 40)))
    struct.pack_into(">HH", data, data.index(b"avc1", data.index(b"stsd")) + 28, 16, 16)
    with (
        Film(bytes(data), header(bytes(data)), LIMITS, FILMS) as film,
        pytest.raises(ImageError, match="larger than its header says"),
    ):
        list(film.frames())


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("format", ["GIF", "WEBP", "MP4"])
def test_half_a_film_is_an_error_and_no_hang(format: str, share: float, face: RGBImage) -> None:
    data = mp4(moved(face, 5), MOMENTS) if format == "MP4" else animation(pictures(face), format, DURATIONS)
    data = data[: int(share * len(data))]
    began = time.monotonic()
    try:
        known = read_film(data, FILMS)
        if known is not None:
            with Film(data, known, LIMITS, FILMS) as film:
                assert len(list(film.frames())) <= 5
    except ImageError as error:
        assert error.reason is RejectionReason.CORRUPT
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("format", ["GIF", "WEBP"])
def test_a_header_of_many_parts_is_refused_at_once(format: str, face: RGBImage) -> None:
    data = bytearray(animation(pictures(face), format, DURATIONS))
    if format == "GIF":
        start = 13 + (3 << (data[10] & 7) + 1)
        data[start:start] = b"!\xfe" + b"\x01a" * 4_000_000 + b"\0"
    else:
        data += b"teSt\0\0\0\0" * 1_000_000
    began = time.process_time()
    with pytest.raises(ImageError, match="parts"):
        read_film(bytes(data), FILMS)
    assert time.process_time() - began < 1


def test_a_film_that_takes_too_long_is_ended_with_its_process() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (512, 512, 3), np.uint8)
    large = [cv2.resize(np.roll(noise, 7 * i, 1), (1024, 1024)) for i in range(20)]
    data = mp4(large, range(0, 800, 40))
    slow = ImageLimits(decode_seconds=0.05)
    began = time.process_time()
    with (
        pytest.raises(ImageError, match=r"more than 0\.\d+ s to decode"),
        Film(data, header(data), slow, FILMS) as film,
    ):
        list(film.frames())
    assert time.process_time() - began < 2


def test_a_film_that_takes_too_much_memory_is_refused() -> None:
    frames = [np.full((2160, 3840, 3), 50 * i, np.uint8) for i in range(3)]
    data, wide = mp4(frames, (0, 40, 80)), FilmLimits(max_pixels=3840 * 2160)
    with (
        Film(data, header(data, wide), ImageLimits(decode_bytes=1 << 26), wide) as film,
        pytest.raises(ImageError) as caught,
    ):
        list(film.frames())
    assert "memory" in str(caught.value) or "damaged" in str(caught.value)


def test_a_film_that_is_let_go_leaves_no_process(face: RGBImage) -> None:
    data = mp4(moved(face, 5), MOMENTS)
    with Film(data, header(data), LIMITS, FILMS) as film:
        next(film.frames())
        process = film._process
    assert process.poll() is not None
