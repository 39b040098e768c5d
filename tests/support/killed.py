"""Programs that are killed at their work."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from tests.paths import ROOT


def said_until_killed(program: str, arguments: Sequence[str], least: int, pause: float) -> list[str]:
    """What a Python program says on whole lines between `ready` and kill -9, which comes a pause, in seconds, after it
    has said so many lines. However busy the machine is, it has done something by then."""
    child = subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, cwd=ROOT)
    assert child.stdout is not None
    with child.stdout as said:
        assert select.select([said], [], [], 60)[0]
        assert said.readline() == b"ready\n"
        lines = [said.readline() for _ in range(least)]
        time.sleep(pause)
        os.kill(child.pid, signal.SIGKILL)
        lines += said.read().splitlines(keepends=True)
        child.wait()
    return [line.decode() for line in lines if line.endswith(b"\n")]
