"""Films whose frames have times and sizes of their own: a film that was changed, written as the kind of file it was."""

import tempfile
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np
from av.video.reformatter import Colorspace
from numpy.typing import NDArray

from prosopon.models.pictures.film_headers import FilmHeader
from prosopon.models.pictures.video import Palette, PaletteUse, Sink, Yuv420, evened

_GIF, _WEBP = Fraction(1, 100), Fraction(1, 1000)
"""Seconds of a tick of these formats."""
# Hardly to be told from what was there; an mp4 also says which colours its numbers mean.
_X264 = {"preset": "medium", "threads": "1", "crf": "18"}
_LIBWEBP = {"quality": "90", "compression_level": "2"}


class TimedFilm:
    """A context manager: what it holds on disk is gone with it. Frames are encoded as they come."""

    def __init__(self, header: FilmHeader, clock: Fraction, *, transparent: bool) -> None:
        """header: of the film that this one is like; clock: seconds of a tick; transparent: frames have alpha."""
        self._header, self._clock, self._transparent = header, clock, transparent
        self._folder = tempfile.TemporaryDirectory(prefix="prosopon-film-")
        self._path = Path(self._folder.name) / f"film.{header.media_type.partition('/')[2]}"
        kinds = {"image/gif": self._gif, "image/webp": self._webp, "video/mp4": self._mp4}
        self._sink, self._tick = kinds[header.media_type]()
        self._last = -1

    def add(self, frame: NDArray[np.uint8], moment: int) -> None:
        """frame: ``(H, W, 3)`` or, with alpha, ``(H, W, 4)`` uint8 RGB; moment: when it is shown, in ticks."""
        if self._transparent and frame.shape[2] == 3:
            frame = np.dstack([frame, np.full(frame.shape[:2], 255, np.uint8)])
        if self._header.media_type == "image/gif":
            # Each frame has a palette of its own, as the face has colours that the film's has not.
            palette = Palette(frame.shape[1], frame.shape[0], transparent=self._transparent)
            palette.add(frame)
            self._sink.convert_by(PaletteUse(palette.finish(), _DITHER))
        if self._header.media_type == "video/mp4":
            frame = evened(frame)
        self._last = max(self._last + 1, round(moment * self._clock / self._tick))
        self._sink.write_at(frame, self._last)

    def finish(self) -> bytes:
        """The file."""
        self._sink.close()
        data = self._path.read_bytes()
        if self._header.media_type == "image/webp":
            data = _completed(data, self._header.durations[-1], transparent=self._transparent)
        return data

    def __enter__(self) -> "TimedFilm":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sink.close()
        self._folder.cleanup()

    @property
    def _rate(self) -> int:
        """Frames a second in the mean, for encoders that plan by it."""
        return max(1, round(self._header.frames / max(self._header.seconds, 0.01)))

    def _gif(self) -> tuple[Sink, Fraction]:
        options = {"loop": str(self._header.loop), "final_delay": str(self._header.durations[-1] // 10)}
        sink = Sink(
            self._path, "gif", "gif", self._rate, pixels="pal8", codec_options={}, container_options=options,
            clock=_GIF,
        )  # fmt: skip
        return sink, _GIF

    def _webp(self) -> tuple[Sink, Fraction]:
        sink = Sink(
            self._path, "webp", "libwebp_anim", self._rate, pixels="bgra" if self._transparent else "yuv420p",
            codec_options=_LIBWEBP, container_options={"loop": str(self._header.loop)}, clock=_WEBP,
            convert=None if self._transparent else Yuv420(Colorspace.ITU601),
        )  # fmt: skip
        return sink, _WEBP

    def _mp4(self) -> tuple[Sink, Fraction]:
        sink = Sink(
            self._path, "mp4", "libx264", self._rate, pixels="yuv420p", codec_options=_X264,
            container_options={"movflags": "+faststart"}, clock=self._clock, convert=Yuv420(Colorspace.ITU709),
        )  # fmt: skip
        sink.tell_bt709()
        return sink, self._clock


_FLAGS, _ALPHA = 20, 0x10
"""Where a webp's features are told, and the bit of alpha."""
_DITHER = "sierra2_4a"
"""Errors spread from the face alone: the colours around it are in the palette."""


def _completed(data: bytes, milliseconds: int, *, transparent: bool) -> bytes:
    """An animated webp with what FFmpeg's writer does not say (RFC 9649, 2.7): for how long the last frame is shown,
    and that there are holes where no frame has any and none covers the whole."""
    film = bytearray(data)
    film[_FLAGS] |= _ALPHA * transparent
    position, last = 12, 0
    while position + 8 <= len(film):
        if film[position : position + 4] == b"ANMF":
            last = position
        length = int.from_bytes(film[position + 4 : position + 8], "little")
        position += 8 + length + length % 2
    film[last + 20 : last + 23] = milliseconds.to_bytes(3, "little")
    return bytes(film)
