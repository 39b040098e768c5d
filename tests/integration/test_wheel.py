"""The wheel in an environment of its own: it serves from a folder whose own code must not be run."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.benchmarks.serving import Server, launch, wait_for
from tests.paths import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


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
def server(environment: Path, trap: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    program = (str(environment / "bin" / "prosopon"),)
    running = launch(tmp_path_factory.mktemp("home"), {"apis": ["compreface"]}, program, trap)
    try:
        yield wait_for(running)
    finally:
        running.kill()


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
