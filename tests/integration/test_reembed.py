"""From one embedder to another: what was enrolled and ingested is searched again after `prosopon reembed`."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from prosopon.configs.settings import StateSettings
from prosopon.deployments.state import schema
from prosopon.deployments.state.galleries.store import GalleryStore
from tests.benchmarks.embeddings import embedder
from tests.conformance.client import new_client, part
from tests.conformance.facecheck_client import FaceCheckClient, new_token
from tests.integration.test_ingestion import ingest, with_settings
from tests.paths import ROOT, smiling
from tests.support.in_process import in_process
from tests.weights import weights

pytestmark = pytest.mark.slow

PEOPLE = 6
OTHER = "dlib-resnet29"
APIS = {"apis": ["compreface", "facecheck"]}
CHANGED = {**APIS, "models": {"overrides": {"embedder": OTHER}}}


@pytest.fixture
def pictures(tmp_path: Path, london: list[Path]) -> Path:
    """A folder of neutral portraits."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for portrait in london[:PEOPLE]:
        (folder / portrait.name).write_bytes(portrait.read_bytes())
    return folder


def stored(home: Path) -> dict[str, bytes]:
    """Embeddings by the faces' ids, after a look whether the index has them all."""
    model, state = embedder(OTHER), StateSettings(home=home)
    store = GalleryStore(state, model.fingerprint, model.dim)
    try:
        with store.records.read() as db:
            rows = db.execute(sa.select(schema.faces)).all()
        assert (store.repaired.faces, store.repaired.added, store.repaired.removed) == (len(rows), 0, 0)
        assert {row.fingerprint for row in rows} == {model.fingerprint}
        return {str(row.image_id): row.embedding for row in rows}
    finally:
        store.close()


@pytest.mark.timeout(900)
def test_another_embedder_searches_after_prosopon_reembed_and_not_before(
    tmp_path: Path, london: list[Path], pictures: Path, models_mirror: None
) -> None:
    weights(OTHER)
    home = tmp_path / "home"
    enrolled = london[PEOPLE : PEOPLE + 2]
    _, token = new_token(home)
    with in_process(home, APIS) as running:
        client = new_client(running, "recognition")
        for person in enrolled:
            client.enrol(person.stem, person)
    assert ingest(home, pictures, "--config", str(with_settings(home, APIS))).status == 0

    def recognise(person: Path) -> tuple[int, dict[str, Any]]:
        answer = client.post("/recognition/recognize", files={"file": part(smiling(person))})
        return answer.status_code, answer.json()

    def searched(api: FaceCheckClient, *probes: Path) -> dict[str, Any]:
        return api.search(api.upload(*probes)["id_search"])

    with in_process(home, CHANGED) as running, running.connect() as http:
        client.http = http
        status, body = recognise(enrolled[0])
        assert (status, body["code"]) == (400, 36) and "prosopon reembed" in body["message"]
        refused = searched(FaceCheckClient(http, token), smiling(london[0]))
        assert "prosopon reembed" in refused["error"] and not refused.get("output")

    config = with_settings(home, CHANGED)
    command = [sys.executable, "-m", "prosopon.pipelines.cli", "reembed", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert f"{PEOPLE + len(enrolled)} faces embedded by {OTHER}" in done.stdout
    faces = stored(home)
    again = ingest(home, pictures, "--config", str(config))
    assert (again.status, stored(home)) == (0, faces), "what is in the index is not looked at again"

    with in_process(home, CHANGED) as running, running.connect() as http:
        client.http = http
        for person in enrolled:
            status, body = recognise(person)
            best = body["result"][0]["subjects"][0]
            assert (status, best["subject"]) == (200, person.stem) and best["similarity"] > 0.5
        api = FaceCheckClient(http, token)
        for person in london[:PEOPLE]:
            items = searched(api, smiling(person))["output"]["items"]
            assert items[0]["url"].endswith(person.name) and items[0]["score"] >= 83
            assert all(item["score"] < 83 for item in items[1:])
        assert searched(api, *map(smiling, enrolled))["error"] is None
