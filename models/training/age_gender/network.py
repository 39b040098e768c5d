"""The network that tells age and gender: the trunk of face-reidentification-retail-0095, and a linear layer."""

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from prosopon.models.convert.onnx_export import export
from prosopon.models.faces.age_gender import BANDS, CROP

KEPT = 10
"""Stages of the trunk that stay as they are: the maps behind them are computed once."""
CELLS = CROP.size // 16
"""Side of the trunk's last map."""
WIDTH = 512
"""Channels of the trunk's last map."""
FEATURES = 2 * WIDTH
CLASSES = 2 + len(BANDS)


class Rectifier(nn.Module):
    """A rectifier whose slope for what is negative is one number, fixed, of any sign. Checkpoints hold it."""

    slope = 0.25

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, self.slope)

    def get_extra_state(self) -> float:
        return self.slope

    def set_extra_state(self, state: float) -> None:
        self.slope = state


class Gate(nn.Module):
    """Channels weighed by what the whole picture shows (Hu et al. 2018, squeeze and excitation)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze, self.rectify = nn.Conv2d(channels, channels // 8, 1), Rectifier()
        self.excite = nn.Conv2d(channels // 8, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.excite(self.rectify(self.squeeze(x.mean((2, 3), keepdim=True)))).sigmoid()


class Bottleneck(nn.Module):
    """An inverted residual (Sandler et al. 2018, MobileNet V2) with a gate; where it halves, without a shortcut."""

    def __init__(self, inputs: int, inner: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, inner, 1),
            Rectifier(),
            nn.Conv2d(inner, inner, 3, stride, 1, groups=inner),
            Rectifier(),
            nn.Conv2d(inner, outputs, 1),
            Gate(outputs),
        )
        self.shortcut = stride == 1

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.shortcut else self.body(x)


class AgeGenderNet(nn.Module):
    """``(N, 3, 96, 96)`` float32 RGB, 0..255, to logits ``(N, 11)``: female, male; `BANDS`.

    The last map, ``(N, 512, 6, 6)``, is pooled twice: weighed by position, as the starting network does, and plainly.
    """

    scale: Tensor
    shift: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.ModuleList(
            [
                nn.Sequential(
                    nn.Conv2d(3, 64, 3, 2, 1), Rectifier(), nn.Conv2d(64, 64, 3, 1, 1, groups=64), Rectifier()
                ),
                Bottleneck(64, 128, 64, 2),
                *(Bottleneck(64, 128, 64) for _ in range(4)),
                Bottleneck(64, 256, 128, 2),
                *(Bottleneck(128, 256, 128) for _ in range(6)),
                Bottleneck(128, 512, 128, 2),
                *(Bottleneck(128, 256, 128) for _ in range(2)),
                nn.Sequential(nn.Conv2d(128, WIDTH, 1), Rectifier()),
            ]
        )
        self.pool = nn.Conv2d(WIDTH, WIDTH, CELLS, groups=WIDTH)
        self.head = nn.Linear(FEATURES, CLASSES)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("scale", torch.ones(1, 3, 1, 1))
        self.register_buffer("shift", torch.zeros(1, 3, 1, 1))
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("deviation", torch.ones(FEATURES))

    def lower(self, chips: Tensor) -> Tensor:
        """Chips to the maps behind the stages that are kept, ``(N, 128, 12, 12)``."""
        x = chips.flip(1) * self.scale + self.shift
        for stage in self.trunk[:KEPT]:
            x = stage(x)
        return x

    def features(self, maps: Tensor) -> Tensor:
        """What `lower` gave to ``(N, 1024)``."""
        for stage in self.trunk[KEPT:]:
            maps = stage(maps)
        return torch.cat([self.pool(maps).flatten(1), maps.mean((2, 3))], dim=1)

    def upper(self, maps: Tensor, dropout: float = 0.0) -> Tensor:
        """What `lower` gave to the logits. dropout: the share of features that training leaves out."""
        standard = (self.features(maps) - self.mean) / self.deviation
        return self.head(F.dropout(standard, dropout, self.training))

    def forward(self, chips: Tensor) -> Tensor:
        return self.upper(self.lower(chips))

    def standardise(self, maps: Tensor) -> None:
        """Set the features' mean and deviation to those of some maps."""
        with torch.inference_mode():
            found = torch.cat([self.features(part) for part in maps.split(100)])
        self.mean.copy_(found.mean(dim=0))
        self.deviation.copy_(found.std(dim=0) + 1e-2)


@torch.no_grad()
def start(network: AgeGenderNet, graph: onnx.ModelProto) -> None:
    """Fill the trunk from face-reidentification-retail-0095 as ONNX, as `models.convert.openvino_ir` writes it.

    Its pooling weighs 8x8 positions; they are interpolated to the positions of the smaller map.
    """
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    biases = {
        node.input[0]: tensors[node.input[1]]
        for node in graph.graph.node
        if node.op_type == "Add" and node.input[1] in tensors
    }
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    nodes = [node for node in graph.graph.node if node.op_type == "Conv"]
    # The last convolution is the embedding's, which is left out.
    for convolution, node in zip(convolutions, nodes[:-1], strict=True):
        kernel = torch.from_numpy(tensors[node.input[1]].copy())
        if convolution is network.pool:
            ratio = (kernel.shape[-1] / CELLS) ** 2
            kernel = F.interpolate(kernel, (CELLS, CELLS), mode="bilinear", antialias=True) * ratio
        convolution.weight.copy_(kernel)
        assert convolution.bias is not None
        convolution.bias.copy_(torch.from_numpy(biases[node.output[0]].reshape(-1).copy()))
    rectifiers = [module for module in network.modules() if isinstance(module, Rectifier)]
    slopes = [node for node in graph.graph.node if node.op_type == "LeakyRelu"]
    for rectifier, node in zip(rectifiers, slopes, strict=True):
        rectifier.slope = float(helper.get_attribute_value(node.attribute[0]))
    first, second = graph.graph.node[:2]
    network.scale.copy_(torch.from_numpy(tensors[first.input[1]].copy()))
    network.shift.copy_(torch.from_numpy(tensors[second.input[1]].copy()))


class Calibrated(nn.Module):
    """A network with its temperatures and shifts: ``(N, 11)`` probabilities."""

    shifts: Tensor

    def __init__(self, network: AgeGenderNet, temperatures: tuple[float, float], shifts: Tensor) -> None:
        super().__init__()
        self.network, self.temperatures = network, temperatures
        self.register_buffer("shifts", shifts)

    def forward(self, chips: Tensor) -> Tensor:
        logits = self.network(chips)
        gender = logits[:, :2] / self.temperatures[0] + self.shifts[:2]
        age = logits[:, 2:] / self.temperatures[1] + self.shifts[2:]
        return torch.cat([gender.softmax(dim=1), age.softmax(dim=1)], dim=1)


def to_onnx(network: Calibrated) -> bytes:
    """ONNX with a dynamic batch, whose weights are stored in half precision and computed with in single."""
    model = onnx.load_from_string(
        export(network, torch.zeros(2, 3, CROP.size, CROP.size), "chips", "answers")
    )
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) > 1:
            half = numpy_helper.to_array(tensor).astype(np.float16)
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(half, f"{name}_half"))
            casts.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(casts + nodes)
    # The exporter's notes on the tensors are of their old names.
    del model.graph.value_info[:]
    return bytes(model.SerializeToString())
