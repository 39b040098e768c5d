"""The process that `film` starts: decodes one film that comes over its standard input, as often as it is asked, and
gives its sound to another. It has the memory and, for each pass, the processor's time that it is told."""

import heapq
import io
import json
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import av
import av.container
import av.video
import numpy as np
from av.video.reformatter import Colorspace
from numpy.typing import NDArray
from PIL import Image

from prosopon.configs.settings import FilmLimits
from prosopon.models.pictures.errors import ImageError, RejectionReason
from prosopon.models.pictures.film import ANSWER, BLOB, DONE, ERROR, FRAMES, HEAD, SIZE, SOUND
from prosopon.models.pictures.film_headers import FilmHeader, read_film
from prosopon.models.pictures.headers import damaged
from prosopon.models.pictures.killable import READY, end_with_parent, give, say

_CODECS = ("h264", "hevc", "mpeg4", "vp9", "libvpx-vp9", "av1", "libdav1d", "mjpeg", "prores")
"""FFmpeg's decoders of an mp4's pictures. Only these see them."""
_UNTOLD = 2
"""The code (ISO/IEC 23091-2) of colours that a film does not tell."""
_HD = 720
"""From this height on these are taken for BT.709, below for BT.601."""
_BITEXACT = {"fflags": "+bitexact", "movflags": "+faststart"}

_SLACK = 0.1
"""Seconds by which a film may be longer than its header says."""

Frames = Iterator[tuple[NDArray[np.uint8] | None, int]]
"""``(H, W, 3)`` or ``(H, W, 4)`` uint8 RGB or RGBA, and when it is shown, in ticks of the clock; at last None and when
the film ends."""


def main() -> None:
    end_with_parent()
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    say(answers, READY)
    memory, seconds, limits_size, size = HEAD.unpack(requests.read(HEAD.size))
    limits = FilmLimits.model_validate_json(requests.read(limits_size))
    data = requests.read(size)
    give(memory, seconds)
    try:
        _serve(requests, answers, data, limits, seconds)
    except Exception as error:  # Decoders raise nearly anything when bytes lie to them.
        fault = error if isinstance(error, ImageError) else _fault(error)
        told = json.dumps([fault.reason.value, str(fault)]).encode()
        say(answers, ANSWER.pack(ERROR, 0, 0, len(told)), told)


def _fault(error: Exception) -> ImageError:
    if isinstance(error, MemoryError):
        return ImageError(RejectionReason.TOO_MANY_PIXELS, "The film takes too much memory to decode.")
    return ImageError(RejectionReason.CORRUPT, f"The film is damaged or incomplete: {error}")


def _serve(requests: BinaryIO, answers: BinaryIO, data: bytes, limits: FilmLimits, seconds: float) -> None:
    header = read_film(data, limits)
    if header is None:
        raise damaged("it is no film")
    moving = header.media_type == "video/mp4"
    told = json.dumps(_described(data) if moving else {"clock": [1, 1000], "sound": False}).encode()
    say(answers, ANSWER.pack(BLOB, 0, 0, len(told)), told)
    while order := requests.read(1):
        signal.setitimer(signal.ITIMER_PROF, seconds)
        if order == FRAMES:
            for pixels, moment in (_mp4 if moving else _animation)(data, header):
                if pixels is None:
                    say(answers, ANSWER.pack(DONE, 0, 0, moment))
                else:
                    height, width, channels = pixels.shape
                    head = ANSWER.pack(channels, height, width, moment)
                    say(answers, head, np.ascontiguousarray(pixels).reshape(-1).data)
        elif order == SOUND:
            (size,) = SIZE.unpack(requests.read(SIZE.size))
            film = _with_sound(data, requests.read(size))
            say(answers, ANSWER.pack(BLOB, 0, 0, len(film)), film)


def _animation(data: bytes, header: FilmHeader) -> Frames:
    """A gif or an animated webp, whole frames as they are shown."""
    image = Image.open(io.BytesIO(data), formats=[header.media_type.removeprefix("image/").upper()])
    moment = 0
    for index, duration in enumerate(header.durations):
        image.seek(index)
        if image.size != (header.width, header.height):
            raise damaged("its frames are of several sizes")
        pixels = np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
        opaque = bool((pixels[..., 3:] == 255).all())
        yield pixels[..., :3] if opaque else pixels, moment
        moment += duration
    yield None, moment


def _opened(data: bytes) -> av.container.InputContainer:
    return av.open(io.BytesIO(data), format="mp4")


def _described(data: bytes) -> dict[str, object]:
    with _opened(data) as film:
        clock = film.streams.video[0].time_base
        return {"clock": [clock.numerator, clock.denominator], "sound": bool(film.streams.audio)}


def _mp4(data: bytes, header: FilmHeader) -> Frames:
    with _opened(data) as film:
        stream = film.streams.video[0]
        codec = stream.codec_context
        if codec.name not in _CODECS:
            raise ImageError(RejectionReason.NOT_AN_IMAGE, f"Films in {codec.name} are not taken.")
        codec.thread_count = 1
        first = last = size = None
        end = 0
        for count, frame in enumerate(film.decode(stream)):
            if count >= header.frames:
                raise damaged("it has more frames than its header says")
            if frame.pts is None or (last is not None and frame.pts <= last):
                raise damaged("its frames have no order")
            first = frame.pts if first is None else first
            if (frame.pts - first) * stream.time_base > header.seconds + _SLACK:
                raise damaged("it is longer than its header says")
            pixels = _upright(frame, header)
            if size not in (None, pixels.shape):
                raise damaged("its frames are of several sizes")
            size, last = pixels.shape, frame.pts
            end = frame.pts + (frame.duration or round(header.seconds / header.frames / stream.time_base))
            yield pixels, frame.pts
        if last is None:
            raise damaged("it has no frames")
        yield None, end


def _upright(frame: av.video.VideoFrame, header: FilmHeader) -> NDArray[np.uint8]:
    if frame.width * frame.height > header.width * header.height:
        raise damaged("its frames are larger than its header says")
    colours = None
    if frame.colorspace == _UNTOLD:
        colours = Colorspace.ITU709 if frame.height >= _HD else Colorspace.ITU601
    pixels = frame.to_ndarray(format="rgb24", src_colorspace=colours)
    # Counterclockwise, as a phone that was held upright writes it.
    return np.asarray(np.rot90(pixels, round(frame.rotation / 90) % 4), np.uint8)


def _with_sound(data: bytes, silent: bytes) -> bytes:
    """The pictures of one mp4 with the sound of another, both as they are."""
    with tempfile.TemporaryDirectory(prefix="prosopon-film-") as folder:
        path = Path(folder) / "film.mp4"
        with (
            _opened(data) as heard,
            _opened(silent) as seen,
            av.open(str(path), "w", format="mp4", options=_BITEXACT) as film,
        ):
            ways = [
                (container, stream, film.add_stream_from_template(stream))
                for container, stream in ((seen, seen.streams.video[0]), (heard, heard.streams.audio[0]))
            ]

            def packets(index: int) -> Iterator[tuple[float, int, av.Packet]]:
                container, stream, _ = ways[index]
                for packet in container.demux(stream):
                    if packet.dts is not None:
                        yield float(packet.dts * packet.time_base), index, packet

            for _, index, packet in heapq.merge(packets(0), packets(1), key=lambda item: item[:2]):
                packet.stream = ways[index][2]
                film.mux(packet)
        return path.read_bytes()


if __name__ == "__main__":
    main()
