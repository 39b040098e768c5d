"""Films made for tests by Pillow and FFmpeg."""

import io
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
from PIL import Image

from prosopon.models.faces.detections import RGBImage

RATE = 44_100


def moved(face: RGBImage, count: int, shift: tuple[float, float] = (3.0, 1.0)) -> list[RGBImage]:
    """A picture that moves by so many pixels from frame to frame."""
    picture = Image.fromarray(face)
    return [
        np.asarray(picture.transform(picture.size, Image.Transform.AFFINE, (1, 0, -shift[0] * i, 0, 1, -shift[1] * i)))
        for i in range(count)
    ]  # fmt: skip


def animation(
    frames: Sequence[Image.Image], format: str, durations: Sequence[int], **options: object
) -> bytes:
    stream = io.BytesIO()
    frames[0].save(
        stream, format, save_all=True, append_images=frames[1:], duration=list(durations), **options
    )
    return stream.getvalue()


def mp4(frames: Sequence[RGBImage], moments: Sequence[int], *, sound: bool = False, **options: str) -> bytes:
    """H.264 and AAC (a tone). moments: of the frames, in milliseconds."""
    stream, tick = io.BytesIO(), Fraction(1, 1000)
    with av.open(stream, "w", format="mp4", options=options) as film:
        video = film.add_stream("libx264", rate=25, options={"crf": "12", "threads": "1"})
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt, video.time_base, video.codec_context.time_base = "yuv420p", tick, tick
        audio = film.add_stream("aac", rate=RATE, layout="mono") if sound else None
        for frame, moment in zip(frames, moments, strict=True):
            shown = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            shown.pts, shown.time_base = moment, tick
            film.mux(video.encode(shown))
        film.mux(video.encode())
        if audio is not None:
            count = RATE * moments[-1] // 1000
            tone = (8000 * np.sin(np.arange(count) * 2 * np.pi * 440 / RATE)).astype(np.int16)
            heard = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
            heard.rate, heard.pts = RATE, 0
            film.mux(audio.encode(heard))
            film.mux(audio.encode())
    return stream.getvalue()


def shown(data: bytes) -> tuple[list[RGBImage], list[float]]:
    """The frames of an mp4 and when they are shown, in seconds, as FFmpeg decodes them."""
    with av.open(io.BytesIO(data)) as film:
        frames = [(frame.to_ndarray(format="rgb24"), float(frame.time)) for frame in film.decode(video=0)]
    return [pixels for pixels, _ in frames], [moment for _, moment in frames]


def heard(data: bytes) -> list[tuple[int, bytes]]:
    """When each packet of an mp4's sound is played, and what is in it."""
    with av.open(io.BytesIO(data)) as film:
        stream = film.streams.audio[0]
        return [(int(p.pts), bytes(p)) for p in film.demux(stream) if p.pts is not None]
