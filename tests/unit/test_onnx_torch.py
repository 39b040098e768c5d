"""ONNX models as torch modules: they give what ONNX Runtime gives, and gradients."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from prosopon.models.convert.onnx_torch import OnnxError, TorchOnnx
from prosopon.models.faces import mobilefacenet
from prosopon.models.faces.mesh import convert as mesh_onnx
from prosopon.models.runtime.session import Compute, create_session
from tests.weights import weights


def test_the_face_mesh_gives_what_onnx_runtime_gives() -> None:
    model = mesh_onnx(weights("mediapipe-face-mesh").path)
    chips = np.random.default_rng(1).random((2, 192, 192, 3), np.float32)
    with torch.no_grad():
        made = TorchOnnx(model)(torch.from_numpy(chips))
    for own, reference in zip(
        made, create_session(model, Compute()).run(None, {"chips": chips}), strict=True
    ):
        # Points are in pixels, up to 192.
        np.testing.assert_allclose(own.numpy(), reference, atol=2e-3)


def test_an_embedding_network_gives_what_onnx_runtime_gives() -> None:
    model = mobilefacenet.convert(weights("mobilefacenet").path)
    session = create_session(model, Compute())
    chips = np.random.default_rng(2).random((2, 112, 112, 3), np.float32)
    with torch.no_grad():
        (own,) = TorchOnnx(model)(torch.from_numpy(chips))
    np.testing.assert_allclose(own, session.run(None, {session.get_inputs()[0].name: chips})[0], atol=1e-4)


def test_a_step_against_the_gradient_moves_the_points() -> None:
    network = TorchOnnx(mesh_onnx(weights("mediapipe-face-mesh").path))
    chips = torch.rand(1, 192, 192, 3, generator=torch.manual_seed(3)).requires_grad_()
    before = network(chips)[0].mean()
    before.backward()
    assert chips.grad is not None
    with torch.no_grad():
        after = network(chips - 0.02 * chips.grad / chips.grad.norm())[0].mean()
    assert after < before


def test_an_operation_that_is_not_known_is_named() -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Erf", ["x"], ["y"])], "g", [value], [result])
    model: onnx.ModelProto = helper.make_model(graph)
    with pytest.raises(OnnxError, match="Erf"):
        TorchOnnx(model.SerializeToString())
