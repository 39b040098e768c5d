"""`prosopon serve`: what it refuses before anything is started, and what it says when it is ready."""

import os
import random
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from prosopon.configs.settings import HttpSettings, Settings
from prosopon.pipelines import running
from prosopon.pipelines.cli import app
from prosopon.pipelines.commands import serve
from prosopon.pipelines.commands.serve import _free_block, first_steps, is_ready, ray_environment


def test_a_taken_port_is_refused_before_the_home_is_touched(tmp_path: Path) -> None:
    home = tmp_path / "home"
    config = tmp_path / "serve_config.yaml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config.write_text(
            f"http_options: {{host: 127.0.0.1, port: {port}}}\n"
            f"applications: [{{name: prosopon, args: {{state: {{home: {home}}}}}}}]\n"
        )
        result = CliRunner().invoke(app, ["serve", str(config)])
    assert result.exit_code == 1
    assert f"127.0.0.1:{port} is taken" in result.output and "http_options.port" in result.output
    assert not home.exists()


URL = "http://127.0.0.1:8000"
SECRET = "01234567-89ab-4def-8123-456789abcdef"


def test_a_newcomer_reads_the_new_key_last_and_where_to_use_it() -> None:
    steps = first_steps(URL, Settings().apis, SECRET)
    assert list(steps)[-1] == "key" and steps["key"].startswith(SECRET)
    assert steps["console"] == f"{URL}/console" and steps["a face"].startswith(f"{URL}/api/face/")
    assert f"-H 'x-api-key: {SECRET}'" in steps["detection"]


def test_a_later_start_says_how_to_make_another_key() -> None:
    steps = first_steps(URL, Settings().apis, None)
    assert "keys create NAME" in steps["key"] and "'x-api-key: KEY'" in steps["detection"]


def test_rays_dashboard_is_named_where_there_is_one() -> None:
    steps = first_steps(URL, ("facecheck",), SECRET, "http://127.0.0.1:8265, with a token")
    assert steps["dashboard"].startswith("http://127.0.0.1:8265")


def test_only_what_is_served_is_to_be_tried() -> None:
    assert set(first_steps(URL, ("facecheck",), SECRET)) == {"console", "documents", "key"}


@pytest.mark.parametrize("status", [200, 503])
def test_readiness_is_asked_of_the_server_itself(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert is_ready(f"http://127.0.0.1:{server.server_port}") == (status == 200)
        server.shutdown()
    assert not is_ready(f"http://127.0.0.1:{server.server_port}"), "nobody listens"


@pytest.mark.parametrize("killed", [False, True])
def test_a_start_leaves_no_folder_behind(killed: bool) -> None:
    """One that was killed leaves its folder to the next."""
    make = (
        "from prosopon.pipelines.commands.serve import _temporary_folder as make; print(make(), flush=True); "
    )
    end = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)" if killed else ""
    run = subprocess.run([sys.executable, "-c", make + end], capture_output=True, text=True, check=not killed)
    folder = Path(run.stdout.strip())
    assert folder.exists() == killed
    if killed:
        subprocess.run([sys.executable, "-c", make], capture_output=True, check=True)
        assert not folder.exists()


def test_the_ingress_learns_who_asks_from_the_proxy_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """HAProxy connects from the address where the server listens; without one, strangers connect themselves."""
    http = HttpSettings.model_validate({"trusted_proxies": ["192.0.2.0/24"]})
    believed = ray_environment(http, "198.51.100.7")["FORWARDED_ALLOW_IPS"].split(",")
    assert believed == ["127.0.0.1", "::1", "198.51.100.7"]
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "0")
    assert ray_environment(http, "198.51.100.7")["FORWARDED_ALLOW_IPS"] == "192.0.2.0/24"
    assert ray_environment(HttpSettings(), "127.0.0.1")["FORWARDED_ALLOW_IPS"] == ""


@pytest.mark.parametrize("failures", [1, 2])
def test_a_start_of_ray_that_a_busy_machine_cut_short_is_tried_once_more(
    failures: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ray gives up on its node after 30 s; what it has begun is ended before it is asked again."""
    import ray

    done: list[str] = []

    def init(**options: Any) -> SimpleNamespace:
        done.append("init")
        if done.count("init") <= failures:
            raise Exception("the current node timed out during startup")
        return SimpleNamespace(address_info={"session_dir": str(tmp_path / "session")}, dashboard_url=None)

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: done.append("shutdown"))
    monkeypatch.setattr(running, "announce", lambda home: done.append("announce"))
    if failures == 1:
        assert serve._start_ray(tmp_path, dashboard=False) is None
        assert done == ["init", "shutdown", "init", "announce"]
    else:
        with pytest.raises(Exception, match="timed out"):
            serve._start_ray(tmp_path, dashboard=False)
        assert done == ["init", "shutdown", "init", "shutdown"]
    assert "trying once more" in capsys.readouterr().err


def test_servers_that_start_at_the_same_time_take_ports_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither listens yet when the other chooses."""
    offered: list[int] = []
    choose = random.randrange

    def twice(*bounds: int) -> int:
        offered.append(offered[-1] if len(offered) % 2 else choose(*bounds))
        return offered[-1]

    monkeypatch.setattr(random, "randrange", twice)
    first, second = _free_block(), _free_block()
    assert not set(first) & set(second)
    assert len(first) == len(second) > 90


def test_a_process_that_works_has_no_threads_that_spin() -> None:
    """BLAS would keep one for every other core."""
    program = (
        "import os, numpy as np\n"
        "np.ones((64, 20_000)) @ np.ones(20_000)\n"
        "print(len(os.listdir('/proc/self/task')))"
    )
    bare = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    command = [sys.executable, "-c", program]
    told = subprocess.run(
        command, env=bare | running.PROCESS_ENVIRONMENT, capture_output=True, check=True, text=True
    )
    assert told.stdout.strip() == "1"
