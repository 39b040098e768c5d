"""Decoding in a process of its own: one that can be killed, and that cannot take more memory than it is given.

The process is started with the first picture that needs it and ends when nothing has come for a while. On the whole
machine no more of them are at work than the settings say; who comes later waits.
"""

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np

from prosopon.configs.settings import ImageLimits
from prosopon.models.pictures import killable
from prosopon.models.pictures.errors import ImageError, RejectionReason
from prosopon.models.pictures.picture import Picture

REQUEST = struct.Struct("<II?Q")
"""Bytes of the limits as JSON, the fraction to decode at, whether alpha is kept, and bytes of the picture."""
ANSWER = struct.Struct("<B?III")
"""Channels of the picture, whether it is grey, its height, width and bytes of its profile; or no channels and the bytes
of an error as JSON."""
_LOOK_SECONDS = 0.02


def decode_apart(data: bytes, limits: ImageLimits, reduce: int = 1, *, keep_alpha: bool = False) -> Picture:
    """As `decoding.decode_here`; blocks until there is room for one more decode on this machine, then at most as long
    as the limits say, and thrice that where the machine is busy.

    Raises `ImageError`, also for a picture that takes too long or too much memory.
    """
    with _lock, _slot(limits.costly_decodes):
        for again in (True, False):
            try:
                return _ask(_running(), data, limits, reduce, keep_alpha)
            except (killable.Gone, killable.Late) as error:
                if _end() == -signal.SIGPROF or isinstance(error, killable.Late):
                    raise _too_slow(limits) from None
                # It may have ended just now because nothing came, or the kernel killed it.
                if not again:
                    message = "The image takes too much memory to decode."
                    raise ImageError(RejectionReason.TOO_MANY_PIXELS, message) from None
    raise AssertionError("unreachable")


def _too_slow(limits: ImageLimits) -> ImageError:
    message = f"The image takes more than {limits.decode_seconds:g} s to decode."
    return ImageError(RejectionReason.TOO_MANY_PIXELS, message)


_lock = threading.Lock()
_process: subprocess.Popen[bytes] | None = None


def _running() -> subprocess.Popen[bytes]:
    global _process
    if _process is None or _process.poll() is not None:
        _process = killable.started("prosopon.models.pictures.decoder_process")
    return _process


def _end() -> int:
    """How the process ended, if it had not to be ended."""
    global _process
    process, _process = _process, None
    # Where it is None, it did not even start.
    return killable.ended(process) if process is not None else 0


@contextlib.contextmanager
def _slot(count: int) -> Iterator[None]:
    """One of so many on this machine: a name that only one socket can have, and none once its process has ended."""
    if sys.platform != "linux":
        yield
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as claim:
        while True:
            for index in range(count):
                with contextlib.suppress(OSError):
                    claim.bind(f"\0prosopon-decode-{os.getuid()}-{index}")
                    break
            else:
                time.sleep(_LOOK_SECONDS)
                continue
            break
        yield


def _ask(
    process: subprocess.Popen[bytes], data: bytes, limits: ImageLimits, reduce: int, keep_alpha: bool
) -> Picture:
    until = time.monotonic() + killable.PATIENCE * limits.decode_seconds
    told = limits.model_dump_json().encode()
    killable.write(process, REQUEST.pack(len(told), reduce, keep_alpha, len(data)), told, data)
    answer = bytearray(ANSWER.size)
    killable.read(process, answer, until)
    channels, grey, height, width, profile_size = ANSWER.unpack(answer)
    if channels:
        pixels, profile = np.empty((height, width, channels), np.uint8), bytearray(profile_size)
        killable.read(process, pixels.reshape(-1).data, until)
        killable.read(process, profile, until)
        return Picture(pixels, grey, bytes(profile))
    error = bytearray(height)
    killable.read(process, error, until)
    reason, message = json.loads(error)
    raise ImageError(RejectionReason(reason), message)
