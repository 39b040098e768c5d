"""The network that tells age and gender: a MobileNet (Howard et al. 2017) without batch normalisation."""

import json
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import helper, numpy_helper
from torch import Tensor, nn

from prosopon.models.convert.onnx_export import export
from prosopon.models.faces.age_gender import BANDS, CROP

# Inputs, outputs and stride of each pair of a depthwise and a pointwise convolution (Howard et al. 2017, table 1).
PAIRS = (
    (32, 64, 1),
    (64, 128, 2),
    (128, 128, 1),
    (128, 256, 2),
    (256, 256, 1),
    (256, 512, 2),
    *[(512, 512, 1)] * 5,
    (512, 1024, 2),
    (1024, 1024, 1),
)
FEATURES = PAIRS[-1][1]
MEAN_BGR = (103.939, 116.779, 123.68)
"""What the starting weights were trained with: the mean colour of ImageNet."""


class Convolution(nn.Conv2d):
    """3x3 or 1x1 with bias, padded as TensorFlow's SAME pads, and a ReLU that ends at 6."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        padding = 1 if kernel == 3 and stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, padding, groups=groups)

    def forward(self, input: Tensor) -> Tensor:
        if self.stride[0] == 2:  # even sides: nothing before, one pixel behind
            input = F.pad(input, (0, 1, 0, 1))
        return F.relu6(super().forward(input))


class AgeGenderNet(nn.Module):
    """``(N, 3, S, S)`` float32 RGB, 0..255, to ``(N, 2)`` and ``(N, 9)`` logits: female, male; `BANDS`."""

    def __init__(self) -> None:
        super().__init__()
        layers = [Convolution(3, PAIRS[0][0], 3, 2)]
        for inputs, outputs, stride in PAIRS:
            layers += [Convolution(inputs, inputs, 3, stride, inputs), Convolution(inputs, outputs, 1)]
        self.trunk = nn.Sequential(*layers)
        self.head = nn.Linear(FEATURES, 2 + len(BANDS))
        self.register_buffer("mean", torch.tensor(MEAN_BGR).view(1, 3, 1, 1))

    def features(self, x: Tensor) -> Tensor:
        """``(N, 1024)``: the mean over the last map."""
        assert isinstance(self.mean, Tensor)
        pooled: Tensor = self.trunk(x.flip(1) - self.mean).mean(dim=(2, 3))
        return pooled

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out = self.head(self.features(x))
        return out[:, :2], out[:, 2:]


def starting_weights(graph: Path) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias of each convolution of FaceRes, its batch normalisation folded into them.

    graph: `faceres.json` of the package `@vladmandic/human` (3.3.6, `models/`), a TensorFlow.js graph whose
    tensors lie beside it in `faceres.bin`, half precision. Converted there from A. Savchenko's HSE_FaceRec_tf
    (Apache-2.0): a MobileNet trained to tell people, then age and gender.
    """
    model = json.loads(graph.read_text())
    (manifest,) = model["weightsManifest"]
    raw = b"".join((graph.parent / name).read_bytes() for name in manifest["paths"])
    tensors, offset = {}, 0
    for entry in manifest["weights"]:
        kind = np.dtype(entry.get("quantization", entry)["dtype"])
        count = int(np.prod(entry["shape"], dtype=int))
        value = np.frombuffer(raw, kind, count, offset).reshape(entry["shape"])
        tensors[entry["name"]] = value.astype(np.float32) if kind.kind == "f" else value
        offset += count * kind.itemsize
    weights: list[Tensor] = []
    biases: list[Tensor] = []
    for node in model["modelTopology"]["node"]:
        match node["op"]:
            case "Conv2D":  # height, width, inputs, outputs
                weights.append(torch.tensor(tensors[node["input"][1]].transpose(3, 2, 0, 1).copy()))
            case "DepthwiseConv2dNative":  # height, width, channels, 1
                weights.append(torch.tensor(tensors[node["input"][1]].transpose(2, 3, 0, 1).copy()))
            case "Mul":
                weights[-1] *= torch.tensor(tensors[node["input"][1]].copy()).view(-1, 1, 1, 1)
            case "Add":
                biases.append(torch.tensor(tensors[node["input"][1]].copy()).view(-1))
            case "_FusedMatMul":
                break
    return list(zip(weights, biases, strict=True))


def start(network: AgeGenderNet, graph: Path) -> None:
    """Give the trunk the `starting_weights`."""
    with torch.no_grad():
        for layer, (weight, bias) in zip(network.trunk, starting_weights(graph), strict=True):
            assert isinstance(layer, Convolution)
            layer.weight.copy_(weight)
            assert layer.bias is not None
            layer.bias.copy_(bias)


class Calibrated(nn.Module):
    """Logits to ``(N, 11)`` probabilities, female, male; `BANDS`: divided by a temperature, and shifted."""

    def __init__(self, network: AgeGenderNet, temperatures: tuple[float, float], shifts: Tensor) -> None:
        super().__init__()
        self.network, self.temperatures = network, temperatures
        self.register_buffer("shifts", shifts)

    def forward(self, x: Tensor) -> Tensor:
        assert isinstance(self.shifts, Tensor)
        gender, age = self.network(x)
        gender = F.softmax(gender / self.temperatures[0] + self.shifts[:2], dim=1)
        return torch.cat([gender, F.softmax(age / self.temperatures[1] + self.shifts[2:], dim=1)], dim=1)


def to_onnx(network: nn.Module, size: int = CROP.size) -> bytes:
    """ONNX with a dynamic batch, its convolutions' weights in eight bits, each output channel with a scale.

    They are scaled when a session is made (ONNX Runtime folds constants), and calculated with in full precision:
    only the file is smaller.
    """
    model = onnx.load_from_string(export(network, torch.zeros(2, 3, size, size), "chips", "probabilities"))
    kept, nodes = [], []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim != 4 or values.size < 1024:
            kept.append(tensor)
            continue
        scale = np.abs(values).max(axis=(1, 2, 3), keepdims=True) / 127
        steps = np.round(values / np.maximum(scale, 1e-12)).astype(np.int8)
        kept.append(numpy_helper.from_array(steps, tensor.name + "_steps"))
        kept.append(numpy_helper.from_array(scale.astype(np.float32), tensor.name + "_scale"))
        nodes.append(
            helper.make_node(
                "Cast", [tensor.name + "_steps"], [tensor.name + "_whole"], to=onnx.TensorProto.FLOAT
            )
        )
        nodes.append(helper.make_node("Mul", [tensor.name + "_whole", tensor.name + "_scale"], [tensor.name]))
    nodes += model.graph.node
    del model.graph.initializer[:], model.graph.node[:], model.graph.value_info[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
