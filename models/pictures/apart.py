"""Decoding in a process of its own: one that can be killed, and that cannot take more memory than it is given.

The process is started with the first picture that needs it and ends when nothing has come for a while. On the whole
machine no more of them are at work than the settings say; who comes later waits.
"""

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from prosopon.configs.settings import ImageLimits
from prosopon.models.faces.detections import RGBImage
from prosopon.models.pictures.errors import ImageError, RejectionReason

_REQUEST = struct.Struct("<IIQ")
"""Bytes of the limits as JSON, the fraction to decode at, and bytes of the picture."""
_ANSWER = struct.Struct("<BII")
"""Whether it is a picture; its height and width, or the bytes of an error as JSON."""
_IDLE_SECONDS = 30
_START_SECONDS = 30
_NICENESS = 5
"""Ordinary pictures go first."""
_PR_SET_PDEATHSIG = 1
_LOOK_SECONDS = 0.02


class _Gone(Exception):
    """The process has ended."""


class _Late(Exception):
    """The process did not answer in time."""


def decode_apart(data: bytes, limits: ImageLimits, reduce: int = 1) -> RGBImage:
    """As `decoding.decode`; blocks until there is room for one more decode on this machine, then at most as long as
    the limits say. Raises `ImageError`, also for a picture that takes too long or too much memory."""
    with _lock, _slot(limits.costly_decodes):
        for again in (True, False):
            process = _running()
            try:
                return _ask(process, data, limits, reduce)
            except (
                _Gone,
                OSError,
            ):  # It may have ended just now because nothing came, or the kernel killed it.
                _end(process)
                if not again:
                    message = "The image takes too much memory to decode."
                    raise ImageError(RejectionReason.TOO_MANY_PIXELS, message) from None
            except _Late:
                _end(process)
                message = f"The image takes more than {limits.decode_seconds:g} s to decode."
                raise ImageError(RejectionReason.TOO_MANY_PIXELS, message) from None
    raise AssertionError("unreachable")


_lock = threading.Lock()
_process: subprocess.Popen[bytes] | None = None


def _running() -> subprocess.Popen[bytes]:
    global _process
    if _process is None or _process.poll() is not None:
        threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
        memory = {
            "MALLOC_ARENA_MAX": "1",
            "MALLOC_TRIM_THRESHOLD_": "1048576",
            "MALLOC_MMAP_THRESHOLD_": "1048576",
        }
        package = str(Path(sys.modules["prosopon"].__file__ or "").parents[1])
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
        _process = subprocess.Popen(
            [sys.executable, "-m", "prosopon.models.pictures.apart"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={**os.environ, **threads, **memory, "PYTHONPATH": path},
        )
        _read(_process, bytearray(1), time.monotonic() + _START_SECONDS)
    return _process


def _end(process: subprocess.Popen[bytes]) -> None:
    global _process
    _process = None
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


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


def _ask(process: subprocess.Popen[bytes], data: bytes, limits: ImageLimits, reduce: int) -> RGBImage:
    assert process.stdin is not None
    until = time.monotonic() + limits.decode_seconds
    told = limits.model_dump_json().encode()
    for piece in (_REQUEST.pack(len(told), reduce, len(data)), told, data):
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(process.stdin.fileno(), rest) :]
    answer = bytearray(_ANSWER.size)
    _read(process, answer, until)
    is_picture, height, width = _ANSWER.unpack(answer)
    if is_picture:
        pixels = np.empty((height, width, 3), np.uint8)
        _read(process, pixels.reshape(-1).data, until + limits.decode_seconds)
        return pixels
    error = bytearray(height)
    _read(process, error, until)
    reason, message = json.loads(error)
    raise ImageError(RejectionReason(reason), message)


def _read(process: subprocess.Popen[bytes], into: bytearray | memoryview, until: float) -> None:
    """Fill a buffer. Raises `_Late` and `_Gone`."""
    assert process.stdout is not None
    rest = memoryview(into)
    while rest:
        if not select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))[0]:
            raise _Late
        count = os.readv(process.stdout.fileno(), [rest])
        if not count:
            raise _Gone
        rest = rest[count:]


# ------------------------------------------------------------------------------------------------- the process itself


def main() -> None:
    """Answer requests from standard input until it ends or nothing comes."""
    _end_with_parent()
    from prosopon.models.pictures.decoding import decode_here

    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    _say(answers, b"\0")
    while select.select([requests], [], [], _IDLE_SECONDS)[0]:
        head = requests.read(_REQUEST.size)
        if len(head) < _REQUEST.size:
            return
        limits_size, reduce, size = _REQUEST.unpack(head)
        limits = ImageLimits.model_validate_json(requests.read(limits_size))
        data = requests.read(size)
        _give_memory(limits.decode_bytes)
        try:
            pixels = decode_here(data, limits, reduce)
        except ImageError as error:
            told = json.dumps([error.reason.value, str(error)]).encode()
            _say(answers, _ANSWER.pack(0, len(told), 0), told)
        else:
            height, width = pixels.shape[:2]
            _say(answers, _ANSWER.pack(1, height, width), np.ascontiguousarray(pixels).reshape(-1).data)
            del pixels


def _say(answers: BinaryIO, *pieces: "bytes | memoryview") -> None:
    for piece in pieces:
        answers.write(piece)
    answers.flush()


def _end_with_parent() -> None:
    os.nice(_NICENESS)
    with contextlib.suppress(OSError, AttributeError):  # Not Linux.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _give_memory(most: int) -> None:
    """So many bytes more than the process has mapped without a picture."""
    with contextlib.suppress(OSError, ValueError):
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + most, resource.getrlimit(resource.RLIMIT_AS)[1]))


if __name__ == "__main__":
    main()
