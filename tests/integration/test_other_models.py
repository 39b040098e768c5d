"""Models other than the default pack's, through the application that they serve."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from prosopon.models.weights.catalogue import CATALOGUE
from prosopon.pipelines.cli import app
from tests.conformance.client import Client, new_client, part
from tests.paths import smiling
from tests.support.in_process import in_process
from tests.weights import insightface_pack_of_two, weights

pytestmark = pytest.mark.slow

PEOPLE = 4


MEASURED = "arcface-d1d13b9a8dc4b7ec-1"
"""The same network as the pack's, in the form that it is published in."""


def calibrate_like(fingerprint: str, models: dict[str, Any]) -> None:
    """As the error of a server that does not know its embedder says."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as config:
        yaml.safe_dump({"applications": [{"args": {"models": models}}]}, config)
        config.flush()
        command = ["calibrate", "--like", fingerprint, "--config", config.name]
        done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output


@pytest.fixture(scope="module", params=["yunet", "face-reidentification-retail-0095", "insightface"])
def client(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, models_mirror: None
) -> Iterator[Client]:
    """Of an application with another detector, another embedder, or another pack."""
    models: dict[str, Any]
    if request.param == "insightface":
        models = {"pack": f"insightface/{insightface_pack_of_two(tmp_path_factory.mktemp('pack'))}"}
        calibrate_like(MEASURED, models)
    else:
        weights(request.param)
        models = {"overrides": {CATALOGUE[request.param].role: request.param}}
    home = tmp_path_factory.mktemp(request.param)
    with in_process(home, {"apis": ["compreface"], "models": models}) as running:
        yield new_client(running, "recognition", "detection")


def test_people_are_recognised(client: Client, london: list[Path]) -> None:
    for person in london[:PEOPLE]:
        client.enrol(person.stem, person)
    for person in london[:PEOPLE]:
        answer = client.post(
            "/recognition/recognize",
            params={"prediction_count": PEOPLE, "face_plugins": "landmarks"},
            files={"file": part(smiling(person))},
        )
        assert answer.status_code == 200, answer.text
        (face,) = answer.json()["result"]
        best, *others = face["subjects"]
        assert best["subject"] == person.stem
        assert best["similarity"] > 0.5 > max(other["similarity"] for other in others)
        box = face["box"]
        for x, y in face["landmarks"]:
            assert box["x_min"] < x < box["x_max"]
            assert box["y_min"] < y < box["y_max"]
