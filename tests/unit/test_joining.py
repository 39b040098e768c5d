"""One server for each home."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import ray
from ray.exceptions import RaySystemError

from prosopon.pipelines.running import AlreadyServed, keep_last_logs, occupy


def test_a_home_is_one_servers_until_it_ends(tmp_path: Path) -> None:
    with occupy(tmp_path / "home"):
        with pytest.raises(AlreadyServed, match=f"process {os.getpid()} serves with"):
            occupy(tmp_path / "home")
        occupy(tmp_path / "other").close()
    occupy(tmp_path / "home").close()


def test_a_killed_server_leaves_its_home_free(tmp_path: Path) -> None:
    source = "import sys, time; from pathlib import Path; from prosopon.pipelines.running import occupy"
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


def test_what_is_written_is_for_the_user_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o755)  # As an earlier version made it.
    occupy(home).close()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    config = tmp_path / "serve_config.yaml"
    config.write_text(f"applications: [{{name: prosopon, args: {{state: {{home: {tmp_path / 'new'}}}}}}}]\n")
    command = [
        sys.executable,
        "-m",
        "prosopon.pipelines.cli",
        "keys",
        "create",
        "door",
        "--config",
        str(config),
    ]
    before = os.umask(0o022)
    try:
        subprocess.run(command, check=True, capture_output=True)
    finally:
        os.umask(before)
    written = [tmp_path / "new", *(tmp_path / "new").rglob("*")]
    assert len(written) > 1
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in written} == {0}


def test_of_rays_folders_those_of_this_start_and_the_last_are_kept(tmp_path: Path) -> None:
    home, other = tmp_path / "home", tmp_path / "ray" / "session_of_another"
    sessions = [tmp_path / "ray" / f"session_{number}" for number in range(4)]
    home.mkdir()
    (other / "logs").mkdir(parents=True)
    for session in sessions:
        (session / "logs").mkdir(parents=True)
        keep_last_logs(home, session)
    assert [session.exists() for session in sessions] == [False, False, True, True]
    assert other.exists()


def test_who_has_left_a_server_starts_no_ray_of_its_own() -> None:
    assert not ray.is_initialized()
    with pytest.raises(RaySystemError, match="not been started"):
        ray.put(b"what a thread still had to say")
    assert not ray.is_initialized()
