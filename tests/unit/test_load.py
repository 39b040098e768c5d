"""Settings decide which model serves a role."""

import subprocess
import sys
from pathlib import Path

import pytest

from prosopon.configs.settings import DetectionSettings, ModelSettings, Role
from prosopon.models.faces.attributes.table import ATTRIBUTES
from prosopon.models.load import (
    ModelUnavailable,
    UnknownModel,
    load_detector,
    load_embedder,
    load_face_network,
    load_generator,
    load_mapper,
)
from prosopon.models.runtime.session import Compute
from tests.paths import ROOT
from tests.weights import default_embedder, model_settings, weights


def settings(**overrides: str) -> ModelSettings:
    return ModelSettings.model_validate({**model_settings().model_dump(), "overrides": overrides})


@pytest.mark.parametrize("name", ["centerface", "yunet"])
def test_a_detector_by_name_or_by_path(name: str) -> None:
    path = weights(name).path
    by_name, by_path = (
        load_detector(settings(detector=value), DetectionSettings(), Compute()) for value in (name, str(path))
    )
    assert by_name.name == by_path.name == name and by_name.fingerprint == by_path.fingerprint


@pytest.mark.parametrize(
    ("name", "dim"),
    [
        ("dlib-resnet29", 128),
        ("face-reidentification-retail-0095", 256),
        ("retail-0095-even", 256),
        ("mobilefacenet", 192),
        ("mobilefacenet-y1", 128),
    ],
)
def test_every_embedder_of_the_catalogue_opens(name: str, dim: int) -> None:
    weights(name)
    assert load_embedder(settings(embedder=name), Compute()).dim == dim


def test_weights_of_another_role_are_refused() -> None:
    weights("dlib-age")
    with pytest.raises(UnknownModel, match="for the role 'age', not for 'embedder'"):
        load_embedder(settings(embedder="dlib-age"), Compute())
    with pytest.raises(UnknownModel, match="cannot serve the role 'embedder'"):
        load_embedder(settings(embedder=str(weights("dlib-gender").path)), Compute())


def test_an_empty_folder_says_which_command_to_run(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="prosopon models pull centerface"):
        load_detector(ModelSettings(directory=tmp_path, mirror=None), DetectionSettings(), Compute())
    role: Role = "mask"
    missing = ModelSettings(directory=tmp_path, overrides={role: "nowhere.onnx"})
    with pytest.raises(UnknownModel, match="neither an artifact"):
        load_face_network(missing, ATTRIBUTES.roles[role], Compute())


def test_models_import_without_ray_torch_or_fastapi() -> None:
    """torch is needed to convert weights, not to serve them."""
    weights("centerface")
    default_embedder()
    weights("mobilestylegan-generator")
    load_embedder(settings(), Compute())
    load_mapper(settings(), Compute())
    load_generator(settings(), Compute())
    code = (
        "import sys; from tests.unit.test_load import settings; from prosopon.models.load import *;"
        "from prosopon.models.runtime.session import Compute; from prosopon.configs.settings import DetectionSettings;"
        "load_detector(settings(), DetectionSettings(), Compute()); load_embedder(settings(), Compute());"
        "load_mapper(settings(), Compute()); load_generator(settings(), Compute());"
        "print({'ray', 'torch', 'fastapi'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_application_is_built_without_what_takes_long_to_import() -> None:
    """The ingress imports all of it: torch would be a second and a half of each start, scipy.signal half a second. Ray
    Serve's pandas would be a third of one in each of a dozen processes, and can be had afterwards."""
    code = (
        "import sys; import prosopon.deployments.serving.preload; import prosopon.pipelines.app;"
        "print({'torch', 'pandas', 'scipy.signal'} & set(sys.modules)); import pandas; print(pandas.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["set()", "pandas"]


def test_who_calls_a_deployment_does_not_load_what_the_others_answer_with() -> None:
    code = (
        "import sys; import prosopon.deployments.courier;"
        "print({'cv2', 'scipy', 'av', 'faiss', 'onnxruntime'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
