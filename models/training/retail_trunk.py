"""face-reidentification-retail-0095 up to its pooling, for networks of ours that start from its weights."""

import onnx
import torch
import torch.nn.functional as F
from onnx import helper, numpy_helper
from torch import Tensor, nn

WIDTH = 512
"""Channels of the last map."""


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


class RetailTrunk(nn.Module):
    """``(N, 3, S, S)`` float32 RGB, 0..255, to features ``(N, 1024)``; S is a multiple of 16.

    The last map, ``(N, 512, S/16, S/16)``, is pooled twice: weighed by position, as the starting network does, and
    plainly.
    """

    order: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, side: int) -> None:
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
        self.pool = nn.Conv2d(WIDTH, WIDTH, side // 16, groups=WIDTH)
        # From RGB to the network's BGR.
        self.register_buffer("order", torch.tensor([2, 1, 0]), persistent=False)
        self.register_buffer("scale", torch.ones(1, 3, 1, 1))
        self.register_buffer("shift", torch.zeros(1, 3, 1, 1))

    def maps(self, chips: Tensor, first: int = 0, last: int | None = None) -> Tensor:
        """What the stages from `first` to before `last` make of chips, or of what the stage before `first` made."""
        x = chips if first else chips.index_select(1, self.order) * self.scale + self.shift
        for stage in self.trunk[first:last]:
            x = stage(x)
        return x

    def pooled(self, maps: Tensor) -> Tensor:
        """The last map to the features."""
        return torch.cat([self.pool(maps).flatten(1), maps.mean((2, 3))], dim=1)


def resized(kernel: Tensor, cells: int) -> Tensor:
    """A kernel ``(N, 1, K, K)`` that pools a whole map, for maps of another size: ``(N, 1, cells, cells)``."""
    side = kernel.shape[-1]
    if side == cells:
        return kernel
    return F.interpolate(kernel, (cells, cells), mode="bilinear", antialias=True) * (side / cells) ** 2


@torch.no_grad()
def start(network: RetailTrunk, graph: onnx.ModelProto) -> None:
    """Fill the trunk from face-reidentification-retail-0095 as ONNX, as `models.convert.openvino_ir` writes it.

    Its pooling weighs 8x8 positions; for another size they are interpolated.
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
            kernel = resized(kernel, convolution.weight.shape[-1])
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
