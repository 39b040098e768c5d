"""Processes that decode what strangers sent: they can be killed, and take no more memory and time than they are given.

Who needs one starts it, speaks with it over its standard input and output and ends it; what runs in it bounds itself
before it looks at anything. It ends with the process that started it.
"""

import contextlib
import ctypes
import os
import resource
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

_START_SECONDS = 30
_PR_SET_PDEATHSIG = 1
READY = b"\0"
"""What a process says once it reads."""
PATIENCE = 3
"""Times the processor's seconds that work may take, where others take the processor."""


class Gone(Exception):
    """The process has ended."""


class Late(Exception):
    """The process did not answer in time."""


# ------------------------------------------------------------------------------------------- of who needs a process


def started(module: str) -> "subprocess.Popen[bytes]":
    """A process that runs a module and is ready. Raises `Gone` and `Late`."""
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    memory = {
        "MALLOC_ARENA_MAX": "1",
        "MALLOC_TRIM_THRESHOLD_": "1048576",
        "MALLOC_MMAP_THRESHOLD_": "1048576",
    }
    package = str(Path(sys.modules["prosopon"].__file__ or "").parents[1])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        env={**os.environ, **threads, **memory, "PYTHONPATH": path},
    )
    try:
        read(process, bytearray(len(READY)), time.monotonic() + _START_SECONDS)
    except BaseException:
        ended(process)
        raise
    return process


def ended(process: "subprocess.Popen[bytes]") -> int:
    """How the process ended, if it had not to be ended."""
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    return process.wait()


def write(process: "subprocess.Popen[bytes]", *pieces: bytes) -> None:
    """Raises `Gone`."""
    assert process.stdin is not None
    for piece in pieces:
        rest = memoryview(piece)
        while rest:
            try:
                rest = rest[os.write(process.stdin.fileno(), rest) :]
            except BrokenPipeError:
                raise Gone from None


def read(process: "subprocess.Popen[bytes]", into: bytearray | memoryview, until: float) -> None:
    """Fill a buffer. until: by the monotonic clock. Raises `Late` and `Gone`."""
    assert process.stdout is not None
    rest = memoryview(into)
    while rest:
        if not select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))[0]:
            raise Late
        count = os.readv(process.stdout.fileno(), [rest])
        if not count:
            raise Gone
        rest = rest[count:]


# ---------------------------------------------------------------------------------------------- of the process itself


def say(answers: BinaryIO, *pieces: "bytes | memoryview") -> None:
    for piece in pieces:
        answers.write(piece)
    answers.flush()


def end_with_parent() -> None:
    with contextlib.suppress(OSError, AttributeError):  # Not Linux.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def give(memory: int, seconds: float) -> None:
    """So many bytes more than the process has mapped by now, and so many seconds of a processor's time: then a signal
    (SIGPROF) ends it, wherever it is."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    for kind, most in (
        (resource.RLIMIT_AS, mapped + memory),
        (resource.RLIMIT_CORE, 0),
    ):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, (most, resource.getrlimit(kind)[1]))
    signal.setitimer(signal.ITIMER_PROF, seconds)
