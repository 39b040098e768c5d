"""A stranger's film, decoded in a process of its own that can be killed: frame by frame, so that few are in memory."""

import contextlib
import json
import signal
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from prosopon.configs.settings import FilmLimits, ImageLimits
from prosopon.models.pictures import killable
from prosopon.models.pictures.errors import ImageError, RejectionReason
from prosopon.models.pictures.film_headers import FilmHeader

HEAD = struct.Struct("<QdIQ")
"""Most bytes of memory, seconds of a pass, bytes of the limits as JSON, and of the film: both follow."""
FRAMES, SOUND = b"F", b"S"
"""What the process is asked: all frames; the film that follows (its size as `SIZE`) with this one's sound."""
SIZE = struct.Struct("<Q")
ANSWER = struct.Struct("<BIIq")
"""Channels of a frame, its height and width and when it is shown; its pixels follow. Or one of these and, of the first
two, how many bytes follow:"""
ERROR, BLOB, DONE = 255, 254, 253


@dataclass(frozen=True, slots=True, eq=False)
class FilmFrame:
    """pixels: ``(H, W, 3)`` or, with alpha, ``(H, W, 4)`` uint8 RGB, upright; moment: in ticks of the film's clock."""

    pixels: NDArray[np.uint8]
    moment: int


class Film:
    """A context manager: its process ends with it. clock: seconds of a tick; end: when the last frame has been shown,
    in ticks, known after a pass; sound: whether it has any."""

    def __init__(self, data: bytes, header: FilmHeader, limits: ImageLimits, films: FilmLimits) -> None:
        """header: of `read_film`. Raises `ImageError`."""
        self.header, self._limits, self._lasts = header, limits, limits.decode_seconds * (1 + header.seconds)
        self.end = 0
        told = films.model_dump_json().encode()
        self._process = killable.started("prosopon.models.pictures.film_process")
        try:
            with self._told():
                head = HEAD.pack(limits.decode_bytes, self._lasts, len(told), len(data))
                killable.write(self._process, head, told, data)
            known = json.loads(self._blob())
        except BaseException:
            self.close()
            raise
        self.clock, self.sound = Fraction(*known["clock"]), bool(known["sound"])

    def frames(self) -> Iterator[FilmFrame]:
        """One pass, to its end: then there may be another. Raises `ImageError`."""
        self._ask(FRAMES)
        while True:
            kind, height, width, moment = self._answer()
            if kind == DONE:
                self.end = moment
                return
            pixels = np.empty((height, width, kind), np.uint8)
            self._read(pixels.reshape(-1).data)
            yield FilmFrame(pixels, moment)

    def with_sound(self, silent: bytes) -> bytes:
        """An mp4 without sound with this one's, at the same times. Raises `ImageError`."""
        self._ask(SOUND, SIZE.pack(len(silent)), silent)
        return self._blob()

    def close(self) -> None:
        """Once; then it can be asked nothing."""
        killable.ended(self._process)

    def __enter__(self) -> "Film":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, *pieces: bytes) -> None:
        with self._told():
            killable.write(self._process, *pieces)

    def _answer(self) -> tuple[int, int, int, int]:
        head = bytearray(ANSWER.size)
        self._read(head)
        kind, height, width, number = ANSWER.unpack(head)
        if kind == ERROR:
            told = bytearray(number)
            self._read(told)
            reason, message = json.loads(told)
            raise ImageError(RejectionReason(reason), message)
        return kind, height, width, number

    def _blob(self) -> bytes:
        blob = bytearray(self._answer()[3])
        self._read(blob)
        return bytes(blob)

    def _read(self, into: bytearray | memoryview) -> None:
        with self._told():
            killable.read(self._process, into, time.monotonic() + killable.PATIENCE * self._lasts)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """The process's end, as `ImageError`."""
        try:
            yield
        except (killable.Gone, killable.Late) as error:
            late = isinstance(error, killable.Late) or killable.ended(self._process) == -signal.SIGPROF
            what = f"more than {self._lasts:g} s" if late else "too much memory"
            raise ImageError(RejectionReason.TOO_MANY_PIXELS, f"The film takes {what} to decode.") from None
