"""From a server's first moment: nobody is told that it is ready while a model is still being loaded."""

import contextlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.benchmarks.elasticity import pids_of
from tests.benchmarks.serving import Server, launch
from tests.conformance.client import new_client, part

HELD = ("Detector", "age", "quality", "mask", "FaceIndex")
"""Of the deployments of a CompreFace server, those whose processes are made to stand still while they start."""
PATHS = ("/healthz", "/readyz")
_SECONDS = 120


@pytest.fixture
def starting(tmp_path: Path, models_mirror: None) -> Iterator[Server]:
    server = launch(tmp_path, {"apis": ["compreface"], "detection": {"colocated": ["embedder"]}})
    try:
        yield server
    finally:
        server.kill()


class Watch:
    """What a probe is told from now on. Of each path: how often which status, 0 where nobody answers."""

    def __init__(self, server: Server) -> None:
        self.answers = {path: Counter[int]() for path in PATHS}
        self._url, self._over = server.url, threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        with httpx.Client(base_url=self._url, timeout=2) as http:
            while not self._over.wait(0.05):
                for path, answers in self.answers.items():
                    try:
                        answers[http.get(path).status_code] += 1
                    except httpx.TransportError:
                        answers[0] += 1

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def answered(self) -> set[int]:
        return set().union(*self.answers.values())


def held(server: Server) -> dict[str, int]:
    """Deployment -> the process of its replica, stopped as soon as it is there: its model is not loaded by then."""
    found: dict[str, int] = {}
    deadline = time.monotonic() + _SECONDS
    while len(found) < len(HELD):
        assert time.monotonic() < deadline and server.process.poll() is None, server.log.read_text()[-2000:]
        for name in set(HELD) - set(found):
            for pid in pids_of(server, name):
                os.kill(pid, signal.SIGSTOP)
                found[name] = pid
        time.sleep(0.02)
    return found


@pytest.mark.slow
def test_a_server_is_not_ready_before_every_model_is_warm(starting: Server, london: list[Path]) -> None:
    with Watch(starting) as watch:
        waiting = held(starting)
        try:
            for name in HELD:
                time.sleep(1)
                assert 200 not in watch.answered(), f"{name} is not warm"
                os.kill(waiting.pop(name), signal.SIGCONT)
            deadline = time.monotonic() + _SECONDS
            while not all(answers[200] for answers in watch.answers.values()):
                assert time.monotonic() < deadline, watch.answers
                time.sleep(0.1)
        finally:
            for pid in waiting.values():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
    print(watch.answers)
    started = time.monotonic()
    answer = new_client(starting, "detection").post(
        "/detection/detect", params={"face_plugins": "gender,mask"}, files={"file": part(london[0])}
    )
    assert answer.status_code == 200, answer.text
    assert time.monotonic() - started < 5, "nothing is left to be loaded"
