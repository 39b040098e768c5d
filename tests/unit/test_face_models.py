"""An attribute that is declared beside its model is loaded, run and served by its declaration alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.numpy_helper import from_array

from prosopon.configs.settings import ModelSettings, Settings
from prosopon.deployments.serving.face_models import FaceModels
from prosopon.models.faces.attributes.declaration import FaceAttribute, FaceModel, FaceRole
from prosopon.models.faces.attributes.table import ATTRIBUTES
from prosopon.models.faces.detections import Float32
from prosopon.models.load import check_names, sharing
from prosopon.models.pictures.crops import CropSpec
from prosopon.models.roles import Chips
from prosopon.models.runtime.fingerprint import fingerprint
from prosopon.models.runtime.session import Compute, create_session, run
from prosopon.models.weights.registry import Weights

# A chip of 32 pixels whose mouth lies in rows 20..27, between its corners.
CHIP = CropSpec(32, ((10, 12), (22, 12), (16, 17), (11, 23), (21, 23)))


@dataclass(frozen=True, slots=True)
class Expression:
    """probability: of the value, 0..1."""

    value: Literal["open", "closed"]
    probability: float


class MouthNet:
    """ONNX: ``(N, 3, 32, 32)`` float32 RGB, 0..255, to ``(N, 1)``: how much darker the mouth is than the chip."""

    crop = CHIP
    loaded: ClassVar[int] = 0
    runs: ClassVar[int] = 0

    def __init__(self, path: Path, compute: Compute) -> None:
        MouthNet.loaded += 1
        self.name, self.fingerprint = "mouth", fingerprint("mouth", 1, path)
        self._session = create_session(path, compute)

    def outputs(self, chips: Chips) -> Float32:
        MouthNet.runs += 1
        pixels = np.ascontiguousarray(chips.transpose(0, 3, 1, 2), np.float32)
        return run(self._session, pixels)[0]

    def expressions(self, outputs: Float32) -> list[Expression]:
        chances = 1 / (1 + np.exp(-outputs[:, 0] / 10))
        return [
            Expression("open", float(p)) if p > 0.5 else Expression("closed", float(1 - p)) for p in chances
        ]

    def shadows(self, outputs: Float32) -> Float32:
        return outputs


def open_mouth_net(weights: Weights, compute: Compute) -> MouthNet:
    return MouthNet(weights.path, compute)


def serve_expressions(net: MouthNet) -> FaceModel:
    return FaceModel.of(net, (net.crop,), net.outputs, net.expressions)


def serve_shadows(net: MouthNet) -> FaceModel:
    return FaceModel.of(net, (net.crop,), net.outputs, net.shadows)


EXPRESSION = FaceAttribute(
    "expression",
    Expression,
    FaceRole("expression", {".onnx": open_mouth_net}, serve_expressions),
    called={"compreface": "expression"},
)
SHADOW = FaceAttribute("shadow", np.ndarray, FaceRole("shadow", {".onnx": open_mouth_net}, serve_shadows))
TABLE = ATTRIBUTES.plus(EXPRESSION, SHADOW)


def mouth_net(path: Path) -> Path:
    """One convolution over the whole chip: the mean of all pixels less the mean of the mouth's."""
    kernel = np.full((1, 3, 32, 32), 1 / (3 * 32 * 32), np.float32)
    kernel[:, :, 20:28, 12:20] -= 1 / (3 * 8 * 8)
    nodes = [
        helper.make_node("Conv", ["pixels", "kernel"], ["map"]),
        helper.make_node("Flatten", ["map"], ["darker"]),
    ]
    graph = helper.make_graph(
        nodes,
        "mouth",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", 3, 32, 32])],
        [helper.make_tensor_value_info("darker", TensorProto.FLOAT, ["N", 1])],
        [from_array(kernel, "kernel")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def darker(chips: Chips) -> Float32:
    """What the network computes, by numpy."""
    pixels = chips.astype(np.float64)
    return pixels.mean(axis=(1, 2, 3)) - pixels[:, 20:28, 12:20].mean(axis=(1, 2, 3))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelSettings]:
    path = str(mouth_net(tmp_path_factory.mktemp("weights") / "mouth.onnx"))
    yield ModelSettings(overrides={"expression": path, "shadow": path})


def test_a_network_that_serves_two_roles_is_loaded_once_and_run_once(models: ModelSettings) -> None:
    roles = [TABLE.roles["expression"], TABLE.roles["shadow"]]
    assert sharing(models, roles) == [roles]
    MouthNet.loaded = MouthNet.runs = 0
    loaded = FaceModels(roles, models, Compute())
    rng = np.random.default_rng(7)
    one, three = (rng.integers(0, 256, (n, 32, 32, 3), np.uint8) for n in (1, 3))
    both = frozenset({"expression", "shadow"})
    first, second, none = loaded.run(
        [(both, {CHIP: three}), (frozenset({"shadow"}), {CHIP: one}), (frozenset(), {CHIP: one})]
    )
    assert (MouthNet.loaded, MouthNet.runs) == (1, 1)
    assert (set(first), set(second), set(none)) == (both, {"shadow"}, set())
    np.testing.assert_allclose(first["shadow"].value[:, 0], darker(three), atol=1e-3)
    np.testing.assert_allclose(second["shadow"].value[:, 0], darker(one), atol=1e-3)
    assert [found.value for found in first["expression"].value] == [
        "open" if value > 0 else "closed" for value in darker(three)
    ]


def test_names_that_no_attribute_has_are_refused() -> None:
    for wrong in (
        {"deployments": {"expresion": {"num_cpus": 1}}},
        {"detection": {"colocated": ["expresion"]}},
        {"models": {"overrides": {"expresion": "mouth.onnx"}}},
    ):
        with pytest.raises(ValueError, match=r"unknown: expresion; of faces: .*expression"):
            check_names(Settings.model_validate(wrong), TABLE)
    named = {"deployments": {"expression": {"num_cpus": 1}}, "detection": {"colocated": ["expression"]}}
    check_names(Settings.model_validate(named), TABLE)
    with pytest.raises(ValueError, match="unknown: expression"):
        check_names(Settings.model_validate(named))


def test_every_attribute_says_what_it_gives() -> None:
    assert {name: attribute.result.__name__ for name, attribute in ATTRIBUTES.items()} == {
        "age": "Age",
        "gender": "Gender",
        "mask": "Mask",
        "liveness": "Liveness",
        "quality": "Quality",
        "pose": "HeadPose",
        "landmarks": "ndarray",
        "five_landmarks": "ndarray",
        "landmarks68": "ndarray",
        "landmarks106": "ndarray",
        "embedding": "ndarray",
    }
