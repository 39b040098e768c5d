"""The wheel in an environment of its own: it serves from a folder whose own code must not be run, and from its first
moment nobody is told that it is ready while a model is still being loaded."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.benchmarks.serving import Server, launch, wait_for
from tests.conformance.client import new_client, part
from tests.paths import ROOT
from tests.soak.kills import replicas

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

HELD = ("Detector", "age", "quality", "mask", "FaceIndex")
"""Of the deployments of a CompreFace server, those whose processes are made to stand still while they start."""
PATHS = ("/healthz", "/readyz")
_SECONDS = 120


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel, made from a copy of what git knows; the packages that it needs are those of
    this one, for which nothing is downloaded."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    known = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(known, cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    there = b"\0".join(name for name in names if os.path.lexists(os.fsencode(ROOT) + b"/" + name))
    packed = ["tar", "--create", "--null", "--files-from=-"]
    archive = subprocess.run(packed, cwd=ROOT, input=there, capture_output=True, check=True).stdout
    subprocess.run(["tar", "--extract"], cwd=source, input=archive, check=True)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    subprocess.run(build, check=True)
    (wheel,) = folder.glob("prosopon-*.whl")
    python = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(python)], check=True)
    into = [
        *pip,
        "--python",
        str(python / "bin" / "python"),
        "install",
        "--no-deps",
        "--no-index",
        str(wheel),
    ]
    subprocess.run(into, check=True)
    (packages,) = (python / "lib").glob("python*/site-packages")
    others = [path for path in sys.path if path.endswith("-packages")]
    (packages / "others.pth").write_text("\n".join(others))
    return python


@pytest.fixture(scope="module")
def trap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with packages of the names that the project's own floors have."""
    folder = tmp_path_factory.mktemp("trap")
    for name in ("models", "configs", "pipelines", "deployments", "prosopon"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise RuntimeError('code of the folder was run')\n")
    return folder


def test_the_wheel_is_one_package_without_what_trains(environment: Path, trap: Path) -> None:
    (packages,) = (environment / "lib").glob("python*/site-packages")
    ours = {path.name for path in packages.iterdir()} - {"others.pth", "__pycache__"}
    assert {name for name in ours if not name.startswith(("_virtualenv", "pip", "setuptools"))} == {
        "prosopon",
        next(name for name in ours if name.endswith(".dist-info")),
    }
    assert {path.name for path in (packages / "prosopon").iterdir()} - {"__pycache__"} == {
        "__init__.py",
        "configs",
        "models",
        "deployments",
        "pipelines",
        "serve_config.yaml",  # What `prosopon init` writes.
    }
    assert not (packages / "prosopon" / "models" / "training").exists()
    listing = subprocess.run(
        [environment / "bin" / "prosopon", "settings"], cwd=trap, capture_output=True, text=True, check=True
    ).stdout
    assert listing == (ROOT / "docs" / "configuration.md").read_text()


@pytest.fixture(scope="module")
def launched(
    environment: Path, trap: Path, tmp_path_factory: pytest.TempPathFactory, models_mirror: None
) -> Iterator[Server]:
    program = (str(environment / "bin" / "prosopon"),)
    settings = {"apis": ["compreface"], "detection": {"colocated": ["embedder"]}}
    running = launch(tmp_path_factory.mktemp("home"), settings, program, trap)
    try:
        yield running
    finally:
        running.kill()


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
        for pid, name in replicas(server).items():
            if name in HELD and name not in found:
                os.kill(pid, signal.SIGSTOP)
                found[name] = pid
        time.sleep(0.02)
    return found


def test_a_server_is_not_ready_before_every_model_is_warm(launched: Server, london: list[Path]) -> None:
    with Watch(launched) as watch:
        waiting = held(launched)
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
    client, before = new_client(launched, "detection"), sum(launched.processor_seconds().values())
    answer = client.post(
        "/detection/detect", params={"face_plugins": "gender,mask"}, files={"file": part(london[0])}
    )
    assert answer.status_code == 200, answer.text
    used = sum(launched.processor_seconds().values()) - before
    assert used < 2, f"{used:.1f} s of processor time: nothing is left to be loaded"


@pytest.fixture(scope="module")
def server(launched: Server) -> Server:
    return wait_for(launched)


def test_it_serves_from_a_folder_whose_code_is_not_run(
    server: Server, environment: Path, london: list[Path]
) -> None:
    with httpx.Client(base_url=server.url, headers={"x-api-key": server.key}, timeout=60) as client:
        answer = client.post(
            "/api/v1/recognition/recognize",
            params={"face_plugins": "age,mask"},
            files={"file": ("face.jpg", london[0].read_bytes())},
        )
    assert answer.status_code == 200, answer.text
    (face,) = answer.json()["result"]
    assert face["subjects"] == [] and face["mask"]["value"] == "without_mask"
    replicas = [pid for pid in server.pids() if b"ray::" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert replicas
    for pid in replicas:
        assert Path(f"/proc/{pid}/exe").exists()
        mapped = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        assert not any(one.startswith(b"PYTHONPATH=") and str(ROOT).encode() in one for one in mapped)
