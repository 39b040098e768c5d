"""How the network of age and gender is trained: its pictures, its starting weights, its calibration, its file."""

import base64
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from prosopon.models.faces.age_gender import BANDS, CROP
from prosopon.models.pictures.crops import cut
from prosopon.models.runtime.session import Compute, create_session, run
from prosopon.models.training.age_gender import augment
from prosopon.models.training.age_gender.finish import calibrate
from prosopon.models.training.age_gender.network import (
    PAIRS,
    AgeGenderNet,
    Calibrated,
    starting_weights,
    to_onnx,
)


def picture() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    return cv2.resize(noise, (128, 128), interpolation=cv2.INTER_CUBIC)


def test_training_chips_are_cut_as_serving_cuts_them() -> None:
    landmarks = np.asarray(CROP.template, np.float32) * 0.9 + (8, -3)
    served = cut(picture(), np.array([20, 20, 100, 110], np.float32), landmarks, CROP)
    np.testing.assert_array_equal(augment.plain(picture(), landmarks), served.pixels)


def test_two_transforms_in_one() -> None:
    rng = np.random.default_rng(3)
    first, second = augment.jitter(rng), augment.jitter(rng)
    points = rng.uniform(0, 128, (10, 2))
    one_by_one = cv2.transform(cv2.transform(points[None], first.astype(float)), second.astype(float))[0]
    at_once = cv2.transform(points[None], augment.then(first, second).astype(float))[0]
    np.testing.assert_allclose(at_once, one_by_one, atol=1e-3)


def test_black_corners_are_filled_and_dark_hair_is_not() -> None:
    chip = np.full((128, 128, 3), 120, np.uint8)
    chip[:30, :40] = 0
    chip[50:70, 50:70] = 0
    filled = augment.surroundings(chip)
    assert (filled[:25, :35] > 60).all()
    assert (filled[52:68, 52:68] == 0).all()
    assert (filled[80:] == 120).all()


def test_augmented_chips_keep_shape_and_differ() -> None:
    rng = np.random.default_rng(1)
    landmarks = np.asarray(CROP.template, np.float32)
    several = [augment.augment(rng, picture(), landmarks) for _ in range(40)]
    assert all(chip.shape == (128, 128, 3) and chip.dtype == np.uint8 for chip, _ in several)
    assert 5 < sum(mirrored for _, mirrored in several) < 35
    assert len({chip.tobytes() for chip, _ in several}) == 40


def test_calibration_finds_the_temperature_and_the_shift_that_were_put_in() -> None:
    torch.manual_seed(0)
    true = torch.randn(20_000, 3) * 1.5
    truth = torch.multinomial(true.softmax(dim=1), 1)[:, 0]
    temperature, shifts = calibrate((true - torch.tensor([0.3, 0.0, -0.3])) * 2.5, truth)
    assert temperature == pytest.approx(2.5, rel=0.05)
    np.testing.assert_allclose(shifts, [0.3, 0.0, -0.3], atol=0.06)


def test_the_file_in_eight_bits_answers_as_the_network() -> None:
    torch.manual_seed(0)
    network = Calibrated(AgeGenderNet(), (1.5, 0.8), torch.linspace(-0.5, 0.5, 2 + len(BANDS))).eval()
    data = to_onnx(network)
    assert len(data) < 4_000_000
    chips = np.stack([picture()] * 3).transpose(0, 3, 1, 2).astype(np.float32) * [
        [[[1]]],
        [[[0.5]]],
        [[[0.1]]],
    ]
    found = run(create_session(data, Compute()), chips.astype(np.float32))[0]
    with torch.inference_mode():
        np.testing.assert_allclose(found, network(torch.from_numpy(chips).float()), atol=0.02)


def as_graph(folder: Path, layers: list[tuple[str, np.ndarray, np.ndarray, np.ndarray]]) -> Path:
    """A TensorFlow.js graph of convolutions, each with a kernel, a factor and a shift, in half precision."""
    nodes, weights, raw = [], [], b""
    for i, (op, *tensors) in enumerate(layers):
        for kind, tensor in zip("kms", tensors, strict=True):
            quantization = {"dtype": "float16", "original_dtype": "float32"}
            weights.append(
                {
                    "name": f"{kind}{i}",
                    "shape": tensor.shape,
                    "dtype": "float32",
                    "quantization": quantization,
                }
            )
            raw += tensor.astype(np.float16).tobytes()
        same = {"padding": {"s": base64.b64encode(b"SAME").decode()}}
        nodes.append({"name": f"c{i}", "op": op, "input": [f"r{i - 1}", f"k{i}"], "attr": same})
        nodes.append({"name": f"n{i}", "op": "Mul", "input": [f"c{i}", f"m{i}"]})
        nodes.append({"name": f"a{i}", "op": "Add", "input": [f"n{i}", f"s{i}"]})
        nodes.append({"name": f"r{i}", "op": "Relu", "input": [f"a{i}"]})
    manifest = [{"paths": ["graph.bin"], "weights": weights}]
    path = folder / "graph.json"
    path.write_text(json.dumps({"modelTopology": {"node": nodes}, "weightsManifest": manifest}))
    (folder / "graph.bin").write_bytes(raw)
    return path


def test_starting_weights_have_their_normalisation_folded_in(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kernels = [rng.normal(size=(3, 3, 3, 4)), rng.normal(size=(3, 3, 4, 1))]
    factors, shifts = rng.uniform(0.5, 2, (2, 4)), rng.normal(size=(2, 4))
    ops = ("Conv2D", "DepthwiseConv2dNative")
    layers = list(zip(ops, kernels, factors, shifts, strict=True))
    (weight, bias), (deep, deep_bias) = starting_weights(as_graph(tmp_path, layers))
    x = torch.randn(1, 3, 8, 8)
    kernel = torch.tensor(kernels[0].astype(np.float16).astype(np.float32)).permute(3, 2, 0, 1)
    expected = F.conv2d(x, kernel) * torch.tensor(factors[0]).view(1, 4, 1, 1) + torch.tensor(shifts[0]).view(
        1, 4, 1, 1
    )
    np.testing.assert_allclose(F.conv2d(x, weight, bias), expected.float(), atol=0.03)
    assert deep.shape == (4, 1, 3, 3) and deep_bias.shape == (4,)
    np.testing.assert_allclose(deep[2, 0], kernels[1][:, :, 2, 0] * factors[1][2], atol=0.01)


def test_the_network_pads_as_tensorflow_does() -> None:
    """SAME with a stride of two on an even side: the kernel of the last output ends one pixel behind the picture."""
    network = AgeGenderNet()
    first = network.trunk[0]
    with torch.no_grad():
        first.weight.zero_()
        first.weight[0, 0, 0, 0] = 1.0
        first.bias.zero_()
    x = torch.arange(16.0).view(1, 1, 4, 4).expand(1, 3, 4, 4) / 4
    np.testing.assert_allclose(first(x)[0, 0].detach(), [[0, 0.5], [2, 2.5]])
    assert len(network.trunk) == 1 + 2 * len(PAIRS)
