"""Searches give way: their threads do not wait for one another where others use the cores."""

import subprocess
import sys
import time
from contextlib import ExitStack

import psutil
import pytest

from prosopon.models.runtime import sharing
from prosopon.models.runtime.sharing import free_threads


def test_one_thread_works_where_others_use_the_cores() -> None:
    with ExitStack() as stack:
        for _ in range(3 * (psutil.cpu_count() or 1)):
            busy = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(busy.kill)
        time.sleep(0.5)
        assert min(free_threads(psutil.cpu_count() or 1) for _ in range(3)) == 1


def test_all_work_where_each_gets_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "_share", lambda number: 0.95)
    assert free_threads(2) == 2
    monkeypatch.setattr(sharing, "_share", lambda number: (0.95, 0.5)[number])
    assert free_threads(2) == 1


def test_one_thread_is_not_asked_about() -> None:
    assert free_threads(1) == 1
