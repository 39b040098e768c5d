"""An attribute of somebody else's, in a table of its own: deployed, asked for over HTTP, answered."""

import sys
from collections.abc import Iterator
from io import BytesIO
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
from tests.benchmarks.serving import free_port
from tests.faces import detector
from tests.unit import test_face_models
from tests.unit.test_face_models import CHIP, TABLE, darker, mouth_net

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", params=["apart", "in the detector's replica"])
def client(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, models_mirror: None
) -> Iterator[httpx.Client]:
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
    # What the test declares is in no package: its processes get it by value.
    cloudpickle.register_pickle_by_value(test_face_models)
    port = free_port()
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, namespace="serve")
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(application(settings, TABLE), name="prosopon", route_prefix="/")
        _, secret = KeyStore(Records(settings.state.database)).create("test", ("detection",))
        headers = {"x-api-key": secret}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as http:
            yield http
    finally:
        serve.shutdown()
        ray.shutdown()
        cloudpickle.unregister_pickle_by_value(sys.modules[test_face_models.__name__])


def test_it_is_served_under_its_name(client: httpx.Client, london: list[Path]) -> None:
    names = set(serve.status().applications["prosopon"].deployments)
    assert "shadow" not in names or "expression" not in names, "one network is one deployment"
    for portrait in london[:3]:
        params = {"face_plugins": "expression", "status": "true"}
        files = {"file": (portrait.name, portrait.read_bytes())}
        answer = client.post("/api/v1/detection/detect", params=params, files=files)
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
