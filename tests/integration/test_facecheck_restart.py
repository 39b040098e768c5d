"""A server that is killed while it searches: every search is answered after the restart, and paid for once."""

import time
from pathlib import Path

import httpx
import pytest

from prosopon.deployments.state.galleries.face_archive import ArchivedFace
from tests.benchmarks.serving import start
from tests.conformance.facecheck_client import FaceCheckClient, balance, fill_archive, new_token
from tests.support.in_process import in_process

SEARCHES = 24
PRICE = 3
APIS = {"apis": ["facecheck"], "facecheck": {"concurrent_searches": 1}}

pytestmark = pytest.mark.slow


def test_a_restart_answers_the_searches_that_were_running(
    tmp_path: Path, london: list[Path], models_mirror: None
) -> None:
    fill_archive(tmp_path, [(path, ArchivedFace(f"https://example.org/{path.stem}")) for path in london[:8]])
    key, token = new_token(tmp_path, credits=SEARCHES * PRICE)
    server = start(tmp_path, APIS)
    try:
        with httpx.Client(base_url=server.url, timeout=60) as http:
            client = FaceCheckClient(http, token)
            searches = [client.upload(london[number % 8])["id_search"] for number in range(SEARCHES)]
            begun = [client.search(search, with_progress=True) for search in searches]
        server.kill()
        assert all(found["error"] is None for found in begun)
        left_over = sum(not found["output"] for found in begun)
        assert left_over > 1, "nothing was interrupted"
        server = start(tmp_path, APIS)
        with httpx.Client(base_url=server.url, timeout=60) as http:
            client = FaceCheckClient(http, token)
            for number, search in enumerate(searches):
                deadline = time.monotonic() + 60
                found = client.search(search, status_only=True)
                while not found["output"] and time.monotonic() < deadline:
                    assert found["error"] is None
                    time.sleep(0.1)
                    found = client.search(search, status_only=True)
                assert found["output"]["items"][0]["url"].endswith(london[number % 8].stem)
        assert balance(tmp_path, key) == 0
    finally:
        server.kill()


def test_what_has_expired_is_deleted_from_a_running_server(
    tmp_path: Path, london: list[Path], models_mirror: None
) -> None:
    _, token = new_token(tmp_path)
    short = {"apis": ["facecheck"], "facecheck": {"keep_hours": 2 / 3600}}
    with in_process(tmp_path, short) as running, running.connect() as http:
        client = FaceCheckClient(http, token)
        search = client.upload(*london[:3])["id_search"]
        assert len(files(tmp_path)) == 3
        time.sleep(2.1)
        assert client.search(search, status_only=True)["code"] == "UNKNOWN_SEARCH"
    with in_process(tmp_path, {"apis": ["facecheck"]}):
        deadline = time.monotonic() + 30
        while files(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert files(tmp_path) == []


def files(home: Path) -> list[Path]:
    return [path for path in (home / "blobs").rglob("*") if path.is_file()]
