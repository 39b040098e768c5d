"""Films: readable, of the right length and size, looping, the same bytes twice, and never whole in memory."""

import io
import tracemalloc
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image, ImageSequence

from prosopon.models.faces.detections import FilmFormat, RGBImage
from prosopon.models.generation.latents import Morph
from prosopon.models.pictures.video import FilmWriter, Spool
from tests.paths import DATA, require

FORMATS: list[FilmFormat] = ["mp4", "gif", "webp"]


def portrait(dim: int) -> RGBImage:
    path = sorted(require(DATA / "london").glob("*_neutral.jpg"))[0]
    pixels = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    return np.asarray(cv2.resize(pixels, (dim, dim), interpolation=cv2.INTER_AREA), np.uint8)


def pictures(dim: int, morph: Morph) -> list[RGBImage]:
    """A portrait that fades into its mirror image."""
    start = portrait(dim).astype(np.float32)
    end = start[::-1]
    return [(amount * start + (1 - amount) * end).astype(np.uint8) for amount in morph.amounts]


def film(format: FilmFormat, dim: int, morph: Morph, fps: int = 16, kbitrate: int = 2400) -> bytes:
    with FilmWriter(format, dim, fps, morph.order, kbitrate) as writer:
        for picture in pictures(dim, morph):
            writer.add(picture)
        return writer.finish()


def frames_of(data: bytes, format: FilmFormat) -> list[RGBImage]:
    if format == "mp4":
        with av.open(io.BytesIO(data)) as container:
            return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    image = Image.open(io.BytesIO(data))
    frames = []
    for number in range(image.n_frames):
        image.seek(number)
        frames.append(np.asarray(image.convert("RGB")))
    return frames


def psnr(a: RGBImage, b: RGBImage) -> float:
    return float(10 * np.log10(255**2 / max(1e-9, np.mean((a.astype(float) - b) ** 2))))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("dim", [101, 128])
def test_a_film_shows_its_pictures_in_order_and_in_their_colours(format: FilmFormat, dim: int) -> None:
    morph = Morph.of(10)
    made = pictures(dim, morph)
    shown = frames_of(film(format, dim, morph), format)
    assert len(shown) == 10
    for frame, picture in zip(shown, morph.order, strict=True):
        assert psnr(frame[:dim, :dim], made[picture]) > 35
    # Frame i and frame n - i are one picture.
    assert psnr(shown[1], shown[9]) > 30


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_pictures_make_the_same_bytes(format: FilmFormat) -> None:
    morph = Morph.of(8)
    assert film(format, 64, morph) == film(format, 64, morph)


@pytest.mark.parametrize("dim", [10, 11, 101, 128])
def test_an_mp4_is_h264_that_browsers_play(dim: int) -> None:
    data = film("mp4", dim, Morph.of(12), fps=6)
    assert data.find(b"moov") < data.find(b"mdat"), "faststart"
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.codec_context.width == stream.codec_context.height == dim + dim % 2
        assert stream.frames == 12 and stream.average_rate == 6
        assert float(stream.duration * stream.time_base) == pytest.approx(2, abs=0.02)


@pytest.mark.parametrize("fps", [1, 16, 30, 100])
def test_a_gif_and_a_webp_loop_and_last_as_long_as_they_should(fps: int) -> None:
    for format in ("gif", "webp"):
        image = Image.open(io.BytesIO(film(format, 32, Morph.of(20), fps=fps)))  # type: ignore[arg-type]
        assert image.info["loop"] == 0, "for ever"
        total = 0.0
        for number in range(image.n_frames):
            image.seek(number)
            image.load()
            total += image.info["duration"]
        assert total == pytest.approx(20_000 / fps, abs=1000 / fps + 10), format


def test_a_bit_rate_is_kept() -> None:
    sizes = [len(film("mp4", 256, Morph.of(16), fps=16, kbitrate=rate)) for rate in (100, 800, 2400)]
    assert sizes[0] < sizes[1] < sizes[2]
    assert sizes[0] * 8 < 100_000 * 2, "a second of 100 kbit/s, and the headers"


def test_frames_that_do_not_fit_or_are_missing_are_errors() -> None:
    with FilmWriter("mp4", 32, 16, (0, 1)) as writer:
        with pytest.raises(ValueError, match="32"):
            writer.add(np.zeros((31, 32, 3), np.uint8))
        writer.add(np.zeros((32, 32, 3), np.uint8))
        with pytest.raises(ValueError, match="1 of 2"):
            writer.finish()


@pytest.mark.parametrize("format", FORMATS)
def test_an_abandoned_film_leaves_nothing_on_disk(
    format: FilmFormat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(RuntimeError), FilmWriter(format, 32, 16, (0, 1, 0)) as writer:
        writer.add(np.zeros((32, 32, 3), np.uint8))
        assert list(tmp_path.iterdir())
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_memory_does_not_grow_with_the_film() -> None:
    morph = Morph.of(60)
    picture = portrait(512)
    with FilmWriter("mp4", 512, 16, morph.order) as writer:
        tracemalloc.start()
        for _ in morph.amounts:
            writer.add(picture)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 6 * picture.nbytes, "31 pictures are kept, all of them on disk"


def test_a_spool_gives_back_what_it_was_given() -> None:
    kept = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    with Spool(8) as spool:
        for frame in kept:
            spool.append(frame)
        for number in (2, 0, 1):
            np.testing.assert_array_equal(spool[number], kept[number])
        with pytest.raises(IndexError):
            spool[3]


@pytest.mark.parametrize("fps", [51, 60, 100])
def test_a_gif_has_no_delay_that_browsers_stretch_and_keeps_its_time(fps: int) -> None:
    for frames in (3, 20, 101):
        image = Image.open(io.BytesIO(film("gif", 32, Morph.of(frames, linear=True), fps=fps)))
        delays = [frame.info["duration"] for frame in ImageSequence.Iterator(image)]
        assert min(delays) >= 20
        assert sum(delays) == pytest.approx(1000 * frames / fps, abs=20)
