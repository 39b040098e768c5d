"""The README's examples, run as a newcomer would run them: pasted into a shell."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.benchmarks.serving import Server
from tests.paths import ROOT

DEFAULT_PORT = "127.0.0.1:8000"


def blocks() -> list[str]:
    """The shell blocks in which something is fetched from the server."""
    found = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    return [block for block in found if "curl " in block]


@pytest.fixture
def desk(tmp_path: Path, server: Server) -> Path:
    """A folder with the pictures that the project ships; curl finds the server where the README has it."""
    shutil.copytree(ROOT / "docs" / "pictures", tmp_path / "docs" / "pictures")
    host, port = DEFAULT_PORT.split(":")
    (tmp_path / ".curlrc").write_text(
        f'fail-with-body\nsilent\nshow-error\nconnect-to = "{host}:{port}:{server.address}"\n'
    )
    return tmp_path


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_examples_run_as_they_are_pasted(desk: Path, server: Server) -> None:
    environment = {**os.environ, "CURL_HOME": str(desk), "KEY": server.key}
    lines = "\n".join(blocks()).replace("KEY=...", ":")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", lines],
        cwd=desk,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert '"subject":"Ann"' in done.stdout.replace(" ", "")
    assert '"searchedFaces"' in done.stdout, "the search has been done"
    assert '"task_id"' in done.stdout
    made = re.findall(r"-o (\S+)", lines)
    assert made and all((desk / "docs" / "pictures" / name).stat().st_size > 1000 for name in made)


def test_there_is_an_example_of_every_api() -> None:
    lines = "\n".join(blocks())
    bases = ("/api/v1/", "/v1/", "/api/face/", "/api/upload_pic", "/api/aifaceswap/v1/")
    assert [base for base in bases if f"{DEFAULT_PORT}{base}" not in lines] == []
