"""Films: frames to mp4, gif or webp, one frame at a time and the same bytes for the same frames.

FFmpeg does the work (through imageio and PyAV), one thread to a film: with several, x264's output depends on their
number.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol

import av
import av.container
import av.filter
import av.video
import imageio
import numpy as np
from imageio.core.request import Request
from imageio.plugins.pyav import PyAVPlugin
from numpy.typing import NDArray

from prosopon.models.faces.detections import FilmFormat, RGBImage

MEDIA_TYPES: dict[FilmFormat, str] = {"mp4": "video/mp4", "gif": "image/gif", "webp": "image/webp"}

VERSION = f"films-3-imageio-{imageio.__version__}-" + "-".join(
    f"{name}-{'.'.join(map(str, version))}" for name, version in sorted(av.library_versions.items())
)
"""Changes whenever the same frames may give other bytes."""

_X264 = {
    "preset": "medium",
    "threads": "1",
    # Better than this nobody sees: a still film does not have to fill the bit rate.
    "qmin": "10",
}
_WEBP = {"quality": "85", "compression_level": "2"}
_BITEXACT = {"fflags": "+bitexact"}
_GIF_DITHER = "sierra2_4a:diff_mode=rectangle"


class Spool:
    """Frames kept on disk, to be shown again. A context manager: the file is gone with it."""

    def __init__(self, dim: int) -> None:
        self._shape = (dim, dim, 3)
        self._size = dim * dim * 3
        self._file = tempfile.TemporaryFile(prefix="prosopon-film-")  # noqa: SIM115 - closed by __exit__
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, frame: RGBImage) -> None:
        self._file.seek(self._count * self._size)
        self._file.write(np.ascontiguousarray(frame).data)
        self._count += 1

    def __getitem__(self, index: int) -> RGBImage:
        if not 0 <= index < self._count:
            raise IndexError(index)
        self._file.seek(index * self._size)
        return np.frombuffer(self._file.read(self._size), np.uint8).reshape(self._shape)

    def __enter__(self) -> "Spool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


class FilmWriter:
    """Makes one film. A context manager: what it holds on disk is gone with it.

    Pictures are added as they are made; `order` says which picture each frame shows. A frame is encoded as soon as
    its picture is there (a gif's when the last picture is, because its palette is that of all of them). Pictures that
    are shown again come from disk, so that memory holds a few frames however long the film is.
    """

    def __init__(
        self, format: FilmFormat, dim: int, fps: int, order: Sequence[int], kbitrate: int = 2400
    ) -> None:
        """dim: of the square frames, in pixels. kbitrate: of an mp4, in 1000 bits a second, at most.

        order: picture of each frame; picture k is shown for the first time before picture k + 1.
        """
        self._pictures = len(set(order))
        if format == "gif" and fps > _FASTEST_GIF:
            order, fps = _thinned(order, fps), _FASTEST_GIF
        self._dim, self._fps, self._order = dim, fps, order
        self._evens = format == "mp4"
        self._shown = 0
        self._spool = Spool(dim)
        self._folder = tempfile.TemporaryDirectory(prefix="prosopon-film-")
        self._path = Path(self._folder.name) / f"film.{format}"
        self._palette = Palette(dim, dim) if format == "gif" else None
        open_sink: dict[FilmFormat, Callable[[], Sink]] = {
            "mp4": lambda: _mp4(self._path, fps, kbitrate),
            "gif": lambda: _gif(self._path, fps),
            "webp": lambda: _webp(self._path, fps),
        }
        self._sink = open_sink[format]()

    def add(self, picture: RGBImage) -> None:
        """The next picture, ``(dim, dim, 3)`` uint8 RGB."""
        if picture.shape != (self._dim, self._dim, 3):
            raise ValueError(f"the film has {self._dim} x {self._dim} pixels, not {picture.shape}")
        again = self._palette is not None or self._pictures < len(self._order)
        if again:
            self._spool.append(picture)
        if self._palette is not None:
            self._palette.add(picture)
            if len(self._spool) == self._pictures:
                self._sink.convert_by(PaletteUse(self._palette.finish()))
                self._show_spooled()
        else:
            self._show(picture)
            if again:
                self._show_spooled()

    def finish(self) -> bytes:
        """The file, once every picture has been added."""
        if self._shown != len(self._order):
            raise ValueError(f"{self._shown} of {len(self._order)} frames are there")
        self._sink.close()
        return self._path.read_bytes()

    def _show_spooled(self) -> None:
        """Every frame whose picture is there already."""
        while self._shown < len(self._order) and self._order[self._shown] < len(self._spool):
            self._show(self._spool[self._order[self._shown]])

    def _show(self, picture: RGBImage) -> None:
        self._sink.write_frame(evened(picture) if self._evens else picture)
        self._shown += 1

    def __enter__(self) -> "FilmWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sink.close()
        self._spool.__exit__(kind, error, trace)
        self._folder.cleanup()


_FASTEST_GIF = 50
"""Frames a second: browsers show what is to stay for less than 20 ms for 100 ms."""


def _thinned(order: Sequence[int], fps: int) -> list[int]:
    """The frames that are on show at the ticks of a gif that is as fast as it may be, for the same time in all."""
    count = max(1, round(len(order) * _FASTEST_GIF / fps))
    return [order[min(len(order) - 1, tick * fps // _FASTEST_GIF)] for tick in range(count)]


def evened(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``(H, W, 3)`` with even sides: in H.264 two pixels share a colour, and one more of the last is what an odd side
    lacks."""
    height, width = frame.shape[:2]
    if height % 2 or width % 2:
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
    return frame


class Sink(PyAVPlugin):
    """imageio's writer of a container with one video stream, with what its interface leaves out: FFmpeg's options of
    the encoder, and what is done to every frame before it. The protected names are imageio's, as of 2.38."""

    def __init__(
        self,
        path: Path,
        format: str,
        codec: str,
        fps: int,
        *,
        pixels: str,
        codec_options: dict[str, str],
        container_options: dict[str, str],
        bit_rate: int | None = None,
        convert: "Conversion | None" = None,
        clock: Fraction | None = None,
    ) -> None:
        """clock: seconds of a tick, in which `write_at` counts; None is one for each frame."""
        super().__init__(
            Request(str(path), "w"), container=format, options={**_BITEXACT, **container_options}
        )
        self.init_video_stream(codec, fps=fps, pixel_format=pixels)
        stream = self._video_stream
        assert isinstance(stream, av.video.VideoStream)
        self.context = context = stream.codec_context
        context.options = codec_options
        context.time_base = clock or Fraction(1, fps)
        if clock is not None:
            stream.time_base = clock
        context.thread_count = 1
        context.flags |= av.codec.context.Flags.bitexact
        if bit_rate:
            context.bit_rate = bit_rate
        if convert is not None:
            self.convert_by(convert)
        self._open = True

    def close(self) -> None:
        """Once: imageio would collect garbage each time."""
        if self._open:
            self._open = False
            super().close()

    def write_at(self, frame: NDArray[np.uint8], moment: int) -> None:
        """frame: ``(H, W, 3)`` or ``(H, W, 4)`` uint8 RGB; moment: in ticks, later than the last one's."""
        self.frames_written = moment
        self.write_frame(frame, pixel_format="rgb24" if frame.shape[2] == 3 else "rgba")

    def tell_bt709(self) -> None:
        """Say in the file what its numbers mean: colours of BT.709, limited range."""
        context = self.context
        context.color_primaries = context.color_trc = context.colorspace = 1
        context.color_range = 1

    def convert_by(self, convert: "Conversion") -> None:
        """What is done to frames from now on."""
        self._video_filter = convert  # type: ignore[assignment]  # Its type is what imageio begins with: None.


class Conversion(Protocol):
    """What imageio asks of a filter: a frame for each frame, and what it held back at the end."""

    def send(self, frame: av.VideoFrame) -> av.VideoFrame: ...
    def __iter__(self) -> Iterator[av.VideoFrame]: ...


class Yuv420:
    """Limited range: what decoders assume."""

    def __init__(self, colours: av.video.reformatter.Colorspace) -> None:
        self._colours = colours

    def send(self, frame: av.VideoFrame) -> av.VideoFrame:
        converted = frame.reformat(
            format="yuv420p",
            dst_colorspace=self._colours,
            dst_color_range=av.video.reformatter.ColorRange.MPEG,
        )
        converted.pts, converted.time_base = frame.pts, frame.time_base
        return converted

    def __iter__(self) -> Iterator[av.VideoFrame]:
        return iter(())


def _mp4(path: Path, fps: int, kbitrate: int) -> Sink:
    """H.264 in yuv420p, BT.709."""
    sink = Sink(
        path,
        "mp4",
        "libx264",
        fps,
        pixels="yuv420p",
        codec_options={**_X264, "maxrate": f"{2 * kbitrate}k", "bufsize": f"{4 * kbitrate}k"},
        container_options={"movflags": "+faststart"},
        bit_rate=kbitrate * 1000,
        convert=Yuv420(av.video.reformatter.Colorspace.ITU709),
    )
    sink.tell_bt709()
    return sink


def _gif(path: Path, fps: int) -> Sink:
    """Loops for ever. A gif's clock ticks 100 times a second: each frame stays until the next one's rounded time."""
    return Sink(path, "gif", "gif", fps, pixels="pal8", codec_options={}, container_options={"loop": "0"})


def _webp(path: Path, fps: int) -> Sink:
    """Loops for ever. A webp's colours are those of BT.601 (RFC 9649)."""
    return Sink(
        path,
        "webp",
        "libwebp_anim",
        fps,
        pixels="yuv420p",
        codec_options=_WEBP,
        container_options={"loop": "0"},
        convert=Yuv420(av.video.reformatter.Colorspace.ITU601),
    )


class Palette:
    """The 256 colours that serve all pictures best (FFmpeg's palettegen: median cut over their histogram)."""

    def __init__(self, width: int, height: int, *, transparent: bool = False) -> None:
        """transparent: pictures have alpha, and one of the colours is none."""
        graph = av.filter.Graph()
        self._format = "rgba" if transparent else "rgb24"
        source = graph.add_buffer(
            width=width, height=height, format=av.VideoFormat(self._format), time_base=Fraction(1, 100)
        )
        generate = graph.add("palettegen", f"reserve_transparent={int(transparent)}")
        sink = graph.add("buffersink")
        source.link_to(generate)
        generate.link_to(sink)
        graph.configure()
        self._graph, self._source, self._sink, self._count = graph, source, sink, 0

    def add(self, picture: NDArray[np.uint8]) -> None:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=self._format)
        frame.pts, frame.time_base = self._count, Fraction(1, 100)
        self._count += 1
        self._source.push(frame)

    def finish(self) -> av.VideoFrame:
        self._source.push(None)
        frame = self._sink.pull()
        assert isinstance(frame, av.VideoFrame)
        return frame


class PaletteUse:
    """Frames in the colours of one palette, with error diffusion (FFmpeg's paletteuse)."""

    def __init__(self, palette: av.VideoFrame, dither: str = _GIF_DITHER) -> None:
        """dither: as paletteuse takes it."""
        self._palette, self._dither = palette, dither
        self._graph: av.filter.Graph | None = None

    def send(self, frame: av.VideoFrame) -> av.VideoFrame:
        if self._graph is None:
            self._start(frame)
        self._source.push(frame)
        coloured = self._sink.pull()
        assert isinstance(coloured, av.VideoFrame)
        coloured.pts, coloured.time_base = frame.pts, frame.time_base
        return coloured

    def __iter__(self) -> Iterator[av.VideoFrame]:
        return iter(())

    def _start(self, frame: av.VideoFrame) -> None:
        self._graph = graph = av.filter.Graph()
        palette, tick = self._palette, frame.time_base
        self._source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=tick
        )
        colours = graph.add_buffer(
            width=palette.width, height=palette.height, format=palette.format, time_base=tick
        )
        use = graph.add("paletteuse", f"dither={self._dither}")
        self._sink = graph.add("buffersink")
        self._source.link_to(use, 0, 0)
        colours.link_to(use, 0, 1)
        use.link_to(self._sink)
        graph.configure()
        palette.pts, palette.time_base = 0, tick
        colours.push(palette)
        colours.push(None)
