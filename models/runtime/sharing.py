"""How many threads a search gets while others use the cores as well."""

import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

_SECONDS = 0.06
_GIVEN = 0.8
"""The least share of its time that a thread must have had a core for."""
_BLOCK = bytes(1 << 16)


def free_threads(most: int) -> int:
    """`most` where so many threads get cores at this moment, else 1.

    Threads that share the work on a layer wait for one another at its end. On a busy machine each of these waits is for
    a turn on a core, thousands of them in a step: two threads may then take minutes for what one does in seconds.
    """
    if most == 1:
        return 1
    with ThreadPoolExecutor(most) as threads:
        return most if min(threads.map(_share, range(most))) >= _GIVEN else 1


def _share(number: int) -> float:
    """Of the time of a thread that works: how much of it the thread had a core for."""
    began, spent = time.monotonic(), time.thread_time()
    while time.monotonic() - began < _SECONDS:
        sha256(_BLOCK)  # Other threads of Python go on meanwhile.
    return (time.thread_time() - spent) / (time.monotonic() - began)
