"""The process that `apart` starts: decodes what comes over its standard input, within the memory and the time that each
picture is given."""

import contextlib
import ctypes
import json
import resource
import select
import signal
import sys
from pathlib import Path
from typing import BinaryIO

import numpy as np

from prosopon.configs.settings import ImageLimits
from prosopon.models.pictures.apart import ANSWER, REQUEST
from prosopon.models.pictures.decoding import decode_here
from prosopon.models.pictures.errors import ImageError

_IDLE_SECONDS = 30
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Answer requests from standard input until it ends or nothing comes."""
    _end_with_parent()
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    _say(answers, b"\0")
    while select.select([requests], [], [], _IDLE_SECONDS)[0]:
        head = requests.read(REQUEST.size)
        if len(head) < REQUEST.size:
            return
        limits_size, reduce, keep_alpha, size = REQUEST.unpack(head)
        limits = ImageLimits.model_validate_json(requests.read(limits_size))
        data = requests.read(size)
        _give(limits.decode_bytes, limits.decode_seconds)
        try:
            picture = decode_here(data, limits, reduce, keep_alpha=keep_alpha)
            signal.setitimer(signal.ITIMER_PROF, 0)
        except ImageError as error:
            told = json.dumps([error.reason.value, str(error)]).encode()
            _say(answers, ANSWER.pack(0, False, len(told), 0, 0), told)
        else:
            height, width, channels = picture.pixels.shape
            head = ANSWER.pack(channels, picture.grey, height, width, len(picture.profile))
            _say(answers, head, np.ascontiguousarray(picture.pixels).reshape(-1).data, picture.profile)
            del picture


def _say(answers: BinaryIO, *pieces: "bytes | memoryview") -> None:
    for piece in pieces:
        answers.write(piece)
    answers.flush()


def _end_with_parent() -> None:
    with contextlib.suppress(OSError, AttributeError):  # Not Linux.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _give(memory: int, seconds: float) -> None:
    """So many bytes more than the process has mapped without a picture, and so many seconds of a processor's time: then
    a signal ends it, wherever it is."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    for kind, most in (
        (resource.RLIMIT_AS, mapped + memory),
        (resource.RLIMIT_CORE, 0),
    ):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, (most, resource.getrlimit(kind)[1]))
    signal.setitimer(signal.ITIMER_PROF, seconds)


if __name__ == "__main__":
    main()
