"""MiniFASNet (Silent-Face-Anti-Spoofing, Minivision 2020, Apache-2.0) in torch, and its export to ONNX.

Only the conversion of the published tensors needs this module; serving needs `models.faces.attributes.liveness`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from prosopon.models.convert.onnx_export import export

SIZE = 80
CLASSES = 3


@dataclass(frozen=True, slots=True)
class Architecture:
    """One member of the family, as its tensors have it.

    stages: channels inside each bottleneck, stage by stage; the first bottleneck of a stage halves the
        resolution, the others are residual.
    squeeze: whether the last bottleneck of each stage ends in a squeeze-and-excitation.
    """

    stages: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    squeeze: bool


V2 = Architecture(((103, 13, 13, 13, 13), (231, 231, 52, 26, 77, 26, 26), (308, 26, 26)), squeeze=False)
V1SE = Architecture(((103, 13, 26, 13, 52), (231, 154, 52, 26, 52, 26, 26), (308, 26, 26)), squeeze=True)

ARCHITECTURES = {"V2": V2, "V1SE": V1SE}


class ConvBlock(nn.Module):
    """Convolution, batch norm and, where `activate`, a PReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        activate: bool = True,
    ) -> None:
        super().__init__()
        # Only the 3x3 convolutions are padded; the last, 5x5, covers its whole input.
        padding = 1 if kernel == 3 else 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs) if activate else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.prelu(self.bn(self.conv(x)))
        return out


class SqueezeExcitation(nn.Module):
    """Hu, Shen & Sun 2018, with a batch norm after each of its two layers and a reduction of four."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // 4, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels // 4)
        self.fc2 = nn.Conv2d(channels // 4, channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean(dim=(2, 3), keepdim=True)
        gate: Tensor = self.bn2(self.fc2(torch.relu(self.bn1(self.fc1(pooled)))))
        return x * torch.sigmoid(gate)


class Bottleneck(nn.Module):
    """Inverted residual of MobileFaceNet (Chen et al. 2018): widen, 3x3 depthwise, project."""

    def __init__(self, inputs: int, inner: int, outputs: int, stride: int = 1, squeeze: bool = False) -> None:
        super().__init__()
        self.conv = ConvBlock(inputs, inner)
        self.conv_dw = ConvBlock(inner, inner, kernel=3, stride=stride, groups=inner)
        self.project = ConvBlock(inner, outputs, activate=False)
        self.se_module = SqueezeExcitation(outputs) if squeeze else nn.Identity()
        self.residual = stride == 1

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.se_module(self.project(self.conv_dw(self.conv(x))))
        return x + out if self.residual else out


class Residuals(nn.Module):
    """The bottlenecks of one stage that keep the resolution."""

    def __init__(self, channels: int, inner: Sequence[int], squeeze: bool) -> None:
        super().__init__()
        last = len(inner) - 1
        self.model = nn.Sequential(
            *(
                Bottleneck(channels, width, channels, squeeze=squeeze and i == last)
                for i, width in enumerate(inner)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model(x)
        return out


class MiniFASNet(nn.Module):
    """``(N, 3, 80, 80)`` float32, BGR, 0..255, to ``(N, 3)`` logits.

    Modules carry the names of the published tensors.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        first, second, third = architecture.stages
        squeeze = architecture.squeeze
        self.conv1 = ConvBlock(3, 32, kernel=3, stride=2)  # 40 x 40
        self.conv2_dw = ConvBlock(32, 32, kernel=3, groups=32)
        self.conv_23 = Bottleneck(32, first[0], 64, stride=2)  # 20 x 20
        self.conv_3 = Residuals(64, first[1:], squeeze)
        self.conv_34 = Bottleneck(64, second[0], 128, stride=2)  # 10 x 10
        self.conv_4 = Residuals(128, second[1:], squeeze)
        self.conv_45 = Bottleneck(128, third[0], 128, stride=2)  # 5 x 5
        self.conv_5 = Residuals(128, third[1:], squeeze)
        self.conv_6_sep = ConvBlock(128, 512)
        self.conv_6_dw = ConvBlock(512, 512, kernel=5, groups=512, activate=False)  # 1 x 1
        self.linear = nn.Linear(512, 128, bias=False)
        self.bn = nn.BatchNorm1d(128)
        self.prob = nn.Linear(128, CLASSES, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2_dw(self.conv1(x))
        x = self.conv_3(self.conv_23(x))
        x = self.conv_4(self.conv_34(x))
        x = self.conv_5(self.conv_45(x))
        x = self.conv_6_dw(self.conv_6_sep(x))
        out: Tensor = self.prob(self.bn(self.linear(x.flatten(1))))
        return out


def load_network(pth: Path, architecture: Architecture) -> MiniFASNet:
    """The published tensors in our network, ready for inference.

    Nothing in the file is executed: it is read as tensors alone. Raises `pickle.UnpicklingError` where it
    holds anything else, `RuntimeError` where the tensors are not those of the architecture.
    """
    tensors = torch.load(pth, map_location="cpu", weights_only=True)
    # The file was saved from a DataParallel wrapper.
    network = MiniFASNet(architecture)
    network.load_state_dict({name.removeprefix("module."): tensor for name, tensor in tensors.items()})
    return network.eval()


def to_onnx(network: MiniFASNet) -> bytes:
    """ONNX of the network with a dynamic batch: ``chips`` ``(N, 3, 80, 80)`` to ``logits`` ``(N, 3)``."""
    return export(network, torch.zeros(2, 3, SIZE, SIZE), "chips", "logits")
