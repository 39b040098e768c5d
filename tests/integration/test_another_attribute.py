"""An attribute of somebody else's, in a table of its own: deployed, asked for over HTTP, answered."""

import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from multiprocessing.connection import Connection
from pathlib import Path

import httpx
import numpy as np
import pytest
import ray
from PIL import Image
from ray import cloudpickle, serve

from prosopon.configs.settings import Settings
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.keys import KeyStore
from prosopon.models.pictures.crops import cut
from prosopon.pipelines.app import application
from prosopon.pipelines.running import lean
from tests.benchmarks.serving import free_port
from tests.faces import detector
from tests.unit import test_face_models
from tests.unit.test_face_models import CHIP, TABLE, darker, mouth_net

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def _serve(port: int, told: Connection) -> None:
    """In a process of its own: serve with the tests' table under the settings that are sent, one after the other, and
    answer which deployments there are; None ends it."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
        os.environ.pop(name, None)  # Of a server that this process' parent joined.
    # As `prosopon serve`: a busy machine takes its time, and Ray's workers would have to wait for everybody else.
    os.environ |= {
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
        "RAY_worker_niceness": "0",
        "RAY_preload_python_modules": "prosopon.deployments.serving.preload",
    }
    # What the test declares is in no package: its processes get it by value.
    cloudpickle.register_pickle_by_value(test_face_models)
    with lean():
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, namespace="serve")
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        while settings := told.recv():
            serve.run(application(settings, TABLE), name="prosopon", route_prefix="/")
            told.send(set(serve.status().applications["prosopon"].deployments))
    finally:
        ray.shutdown()  # All its processes at once: Serve alone would drain its ingress for half a minute.


@dataclass(frozen=True)
class Serving:
    client: httpx.Client
    deployments: set[str]


@pytest.fixture(scope="module")
def server(models_mirror: None) -> Iterator[tuple[str, Connection]]:
    """The URL of what will serve, and whom to send settings.

    A process knows one Ray alone, and that of the tests may have joined others: so the server has its own.
    """
    port, spawn = free_port(), multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(port, there))
    process.start()
    there.close()
    try:
        yield f"http://127.0.0.1:{port}", here
        here.send(None)
    finally:
        here.close()
        process.join(60)
        process.kill()


@pytest.fixture(scope="module", params=["apart", "in the detector's replica"])
def serving(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    server: tuple[str, Connection],
) -> Iterator[Serving]:
    """A server of CompreFace alone, with two roles more than the project declares; one network serves both."""
    home = tmp_path_factory.mktemp("home")
    weights = str(mouth_net(home / "mouth.onnx"))
    settings = Settings.model_validate(
        {
            "apis": ["compreface"],
            "state": {"home": str(home)},
            "models": {"overrides": {"expression": weights, "shadow": weights}},
            "detection": {"colocated": ["embedder", "expression" if request.param != "apart" else "age"]},
            "deployments": {"expression": {"num_cpus": 0.05, "max_batch_size": 4}},
        }
    )
    url, there = server
    there.send(settings)
    deployments = there.recv()  # EOFError: it ended, and said why.
    _, secret = KeyStore(Records(settings.state.database)).create("test", ("detection",))
    with httpx.Client(base_url=url, headers={"x-api-key": secret}, timeout=60) as http:
        yield Serving(http, deployments)


def test_it_is_served_under_its_name(serving: Serving, london: list[Path]) -> None:
    names = serving.deployments
    assert names, "nothing is deployed"
    assert "shadow" not in names or "expression" not in names, "one network is one deployment"
    for portrait in london[:3]:
        params = {"face_plugins": "expression", "status": "true"}
        files = {"file": (portrait.name, portrait.read_bytes())}
        answer = serving.client.post("/api/v1/detection/detect", params=params, files=files)
        assert answer.status_code == 200, answer.text
        (face,) = answer.json()["result"]
        assert answer.json()["plugins_versions"]["expression"] == "mouth"
        assert face["execution_time"]["expression"] > 0
        pixels = np.asarray(Image.open(BytesIO(portrait.read_bytes())).convert("RGB"))
        found = detector().detect([pixels], 0.5)[0]
        chip = cut(pixels, found.boxes[0], found.landmarks[0], CHIP).pixels
        chance = 1 / (1 + np.exp(-darker(chip[None])[0] / 10))
        given = face["expression"]
        served = given["probability"] if given["value"] == "open" else 1 - given["probability"]
        assert served == pytest.approx(chance, abs=0.02)
