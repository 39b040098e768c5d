"""One server for each home."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from prosopon.pipelines.running import AlreadyServed, occupy


def test_a_home_is_one_servers_until_it_ends(tmp_path: Path) -> None:
    with occupy(tmp_path / "home"):
        with pytest.raises(AlreadyServed, match=f"process {os.getpid()} serves with"):
            occupy(tmp_path / "home")
        occupy(tmp_path / "other").close()
    occupy(tmp_path / "home").close()


def test_a_killed_server_leaves_its_home_free(tmp_path: Path) -> None:
    source = "import sys, time; from pathlib import Path; from pipelines.running import occupy"
    source += "; lock = occupy(Path(sys.argv[1])); print('here', flush=True); time.sleep(60)"
    server = subprocess.Popen(
        [sys.executable, "-c", source, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    assert server.stdout.readline() == "here\n"
    with pytest.raises(AlreadyServed, match=f"process {server.pid} "):
        occupy(tmp_path)
    server.kill()
    server.wait()
    occupy(tmp_path).close()
