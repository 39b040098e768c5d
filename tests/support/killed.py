"""Programs that are killed at their work."""

import multiprocessing
import os
import select
import sys
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection

KILLS = 6
"""How often a test kills what it tries. Each takes a second to open its state again; `make soak` kills a
whole server for as long as it is told."""

_FORKS = multiprocessing.get_context("forkserver")
# What the programs need is imported once, in the process that they are forked from.
_FORKS.set_forkserver_preload(["prosopon.deployments.state.galleries.enrollments"])


def said_until_killed(program: str, arguments: Sequence[str], least: int, pause: float) -> list[str]:
    """What a Python program says on whole lines between `ready` and kill -9, which comes a pause, in seconds, after it
    has said so many lines. However busy the machine is, it has done something by then."""
    here, there = _FORKS.Pipe(duplex=False)
    child = _FORKS.Process(target=_run, args=(program, arguments, there), daemon=True)
    child.start()
    there.close()
    with os.fdopen(os.dup(here.fileno()), "rb") as said:
        here.close()
        assert select.select([said], [], [], 60)[0]
        assert said.readline() == b"ready\n"
        lines = [said.readline() for _ in range(least)]
        time.sleep(pause)
        child.kill()
        lines += said.read().splitlines(keepends=True)
        child.join()
    return [line.decode() for line in lines if line.endswith(b"\n")]


def _run(program: str, arguments: Sequence[str], said: Connection) -> None:
    """As `python -c` does."""
    sys.argv = ["-c", *arguments]
    with os.fdopen(os.dup(said.fileno()), "w") as sys.stdout:
        exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})
