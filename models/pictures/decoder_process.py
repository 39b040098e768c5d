"""The process that `apart` starts: decodes what comes over its standard input, within the memory and the time that each
picture is given."""

import json
import select
import signal
import sys

import numpy as np

from prosopon.configs.settings import ImageLimits
from prosopon.models.pictures.apart import ANSWER, REQUEST
from prosopon.models.pictures.decoding import decode_here
from prosopon.models.pictures.errors import ImageError
from prosopon.models.pictures.killable import READY, end_with_parent, give, say

_IDLE_SECONDS = 30


def main() -> None:
    """Answer requests from standard input until it ends or nothing comes."""
    end_with_parent()
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    say(answers, READY)
    while select.select([requests], [], [], _IDLE_SECONDS)[0]:
        head = requests.read(REQUEST.size)
        if len(head) < REQUEST.size:
            return
        limits_size, reduce, keep_alpha, size = REQUEST.unpack(head)
        limits = ImageLimits.model_validate_json(requests.read(limits_size))
        data = requests.read(size)
        give(limits.decode_bytes, limits.decode_seconds)
        try:
            picture = decode_here(data, limits, reduce, keep_alpha=keep_alpha)
            signal.setitimer(signal.ITIMER_PROF, 0)
        except ImageError as error:
            told = json.dumps([error.reason.value, str(error)]).encode()
            say(answers, ANSWER.pack(0, False, len(told), 0, 0), told)
        else:
            height, width, channels = picture.pixels.shape
            head = ANSWER.pack(channels, picture.grey, height, width, len(picture.profile))
            say(answers, head, np.ascontiguousarray(picture.pixels).reshape(-1).data, picture.profile)
            del picture


if __name__ == "__main__":
    main()
