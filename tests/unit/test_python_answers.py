"""What the Python handles take as a picture, and what a connection says of itself."""

import asyncio
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prosopon.deployments.serving.calls import Overloaded
from prosopon.pipelines.python.answers import Image as AnyPicture
from prosopon.pipelines.python.answers import read
from prosopon.pipelines.python.connection import Closed, Loop

PIXELS = np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)


def pixels_of(picture: AnyPicture) -> np.ndarray:
    with Image.open(io.BytesIO(asyncio.run(read(picture)))) as decoded:
        return np.asarray(decoded.convert("RGB"))


def test_a_file_is_taken_however_it_is_given(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    Image.fromarray(PIXELS).save(path)
    data = path.read_bytes()
    with path.open("rb") as file:
        given = [data, bytearray(data), memoryview(data), path, str(path), io.BytesIO(data), file]
        assert [asyncio.run(read(one)) for one in given] == [data] * len(given)  # type: ignore[arg-type]


def test_pixels_stay_what_they_are() -> None:
    np.testing.assert_array_equal(pixels_of(PIXELS), PIXELS)
    np.testing.assert_array_equal(pixels_of(Image.fromarray(PIXELS)), PIXELS)
    np.testing.assert_array_equal(pixels_of(PIXELS[:, :, 0]), np.repeat(PIXELS[:, :, :1], 3, axis=2))
    # A view that is neither contiguous nor the right way round in memory, as OpenCV's BGR turned to RGB.
    np.testing.assert_array_equal(pixels_of(PIXELS[::2, ::-1, ::-1]), PIXELS[::2, ::-1, ::-1])


def test_a_picture_of_pillows_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    path, exif = tmp_path / "turned.png", Image.Exif()
    exif[0x0112] = 6  # EXIF 2.32: row 0 of what is stored is the right-hand side, column 0 the top.
    Image.fromarray(PIXELS).save(path, exif=exif)
    with Image.open(path) as picture:
        np.testing.assert_array_equal(pixels_of(picture), np.rot90(PIXELS, -1))


def test_a_mode_that_png_lacks_is_taken_too() -> None:
    assert pixels_of(Image.fromarray(PIXELS).convert("CMYK")).shape == PIXELS.shape


@pytest.mark.parametrize(
    ("picture", "error", "says"),
    [
        (PIXELS.astype(np.float32), ValueError, r"this array is \(24, 32, 3\) float32"),
        (PIXELS[:, :, :2], ValueError, r"this array is \(24, 32, 2\) uint8"),
        (7, TypeError, "no int"),
        (io.StringIO("text"), TypeError, "open it with the mode 'rb'"),
    ],
)
def test_what_is_no_picture_is_said_so(picture: AnyPicture, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        asyncio.run(read(picture))


def test_a_closed_connection_answers_nothing_and_says_so_at_once() -> None:
    loop = Loop(max_in_flight=1, patience=1)

    async def number() -> int:
        return 7

    async def endless() -> None:
        await asyncio.Event().wait()

    waiting = loop.submit(endless)
    assert "under way" in repr(waiting)
    loop.close()
    assert repr(waiting) == "<Answer, cancelled>"
    with pytest.raises(Closed):
        loop.submit(number)
    loop.close()  # Again is no error.


def test_an_answer_shows_what_it_is() -> None:
    loop = Loop(max_in_flight=2, patience=1)

    async def number() -> int:
        return 7

    async def failing() -> int:
        raise ValueError("no")

    answer, failed = loop.submit(number), loop.submit(failing)
    answer.result()
    with pytest.raises(ValueError):
        failed.result()
    assert (repr(answer), repr(failed)) == ("<Answer: 7>", "<Answer, failed: ValueError('no')>")
    loop.close()


def test_what_is_overloaded_is_asked_again_until_patience_ends() -> None:
    asked = 0

    async def busy(times: int) -> int:
        nonlocal asked
        asked += 1
        if asked <= times:
            raise Overloaded("busy")
        return asked

    loop = Loop(1, patience=0.8)
    try:
        assert loop.submit(lambda: busy(2)).result(10) == 3, "after 0.1 and 0.2 s"
        asked = 0
        with pytest.raises(Overloaded):
            loop.submit(lambda: busy(100)).result(10)
        assert 2 <= asked <= 4, "a pause that would pass 0.8 s is not begun"
    finally:
        loop.close()
