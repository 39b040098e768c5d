"""A server that is ingested into, and killed while it searches: every search is answered after the restart, and paid
for once."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks.serving import Server, serving_at
from tests.conformance.facecheck_client import FaceCheckClient, balance, new_token
from tests.integration.test_ingestion import folders, ingest, stored
from tests.paths import ROOT
from tests.support.in_process import in_process

SEARCHES = 24
PEOPLE = 6
PRICE = 3
APIS = {"apis": ["facecheck"], "facecheck": {"concurrent_searches": 1}}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, models_mirror: None) -> Iterator[Server]:
    with serving_at(tmp_path_factory.mktemp("home"), APIS) as running:
        yield running


def test_what_is_ingested_into_a_running_server_is_searched_at_once(
    server: Server, tmp_path: Path, london: list[Path], group_picture: Path
) -> None:
    with Nearest(server.home) as nearest:
        assert nearest.found() == []
        pictures = folders(tmp_path / "pictures", [*london[:PEOPLE], group_picture])
        config = server.home / "serve_config.yaml"
        run = ingest(server.home, pictures, "--folders-are-groups", "--config", str(config))
        assert run.status == 0, run.output
        found = nearest.found()
        assert len(found) == 12
        assert {subject for subject, distance in found if distance < 1e-3}


def test_a_restart_answers_the_searches_that_were_running(server: Server, london: list[Path]) -> None:
    """The last of this module: it ends the server. Those in its index are who the test before ingested."""
    home = server.home
    key, token = new_token(home, credits=SEARCHES * PRICE)
    with server.connect() as http:
        client = FaceCheckClient(http, token)
        searches = [client.upload(london[number % PEOPLE])["id_search"] for number in range(SEARCHES)]
        begun = [client.search(search, with_progress=True) for search in searches]
    server.kill()
    assert all(found["error"] is None for found in begun)
    left_over = sum(not found["output"] for found in begun)
    assert left_over > 1, "nothing was interrupted"
    with in_process(home, APIS) as restarted, restarted.connect() as http:
        client = FaceCheckClient(http, token)
        for number, search in enumerate(searches):
            deadline = time.monotonic() + 60
            found = client.search(search, status_only=True)
            while not found["output"] and time.monotonic() < deadline:
                assert found["error"] is None
                time.sleep(0.1)
                found = client.search(search, status_only=True)
            assert found["output"]["items"][0]["url"].endswith(london[number % PEOPLE].name)
    assert balance(home, key) == 0
    assert len(stored(home, searched=True)) == 12


class Nearest:
    """A process that has joined a server, and asks its index."""

    def __init__(self, home: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _NEAREST, str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def found(self) -> list[tuple[str, float]]:
        """What the index finds for a stored face, or for a vector while it has none."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return [tuple(one) for one in json.loads(self._process.stdout.readline())]

    def __enter__(self) -> "Nearest":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


_NEAREST = """
import asyncio, json, os, sys
from pathlib import Path
from prosopon.pipelines.running import HANDLE_ENVIRONMENT, join
os.environ.update(HANDLE_ENVIRONMENT)
import numpy as np, sqlalchemy as sa
home = Path(sys.argv[1])
join(home=home)
from ray import serve
from prosopon.configs.settings import StateSettings
from prosopon.deployments.state import schema
from prosopon.deployments.state.galleries.face_archive import archive_gallery
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.galleries.faces import Query
from tests.weights import embedding_dim
records = Records(StateSettings(home=home).database)
async def search():
    with records.read() as db:
        probe = db.execute(sa.select(schema.faces.c.embedding).limit(1)).scalar()
    probe = np.ones(embedding_dim(), np.float32) if probe is None else np.frombuffer(probe, np.float32)
    index = serve.get_deployment_handle("FaceIndex", "prosopon")
    return await index.search.remote([Query(archive_gallery(records), probe, 100, "face")])
with asyncio.Runner() as runner:
    for _ in sys.stdin:
        (matches,) = runner.run(search())
        print(json.dumps([[match.subject, match.distance] for match in matches]), flush=True)
"""


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
