"""A small U-Net (Ronneberger et al. 2015) of residual blocks (He et al. 2016); its finest maps have half the side."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prosopon.models.convert.onnx_export import export, halved
from prosopon.models.swap.occlusion import CROP

WIDTHS = (16, 32, 64, 96)


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = convolution(channels, channels)
        self.second = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.second(self.first(x)))


class OcclusionNet(nn.Module):
    """``(N, 3, 128, 128)`` float32 RGB, 0..255, to logits ``(N, 1, 128, 128)`` that a pixel does not show the face."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.PixelUnshuffle(2), convolution(12, WIDTHS[0]), Residual(WIDTHS[0]))
        self.down = nn.ModuleList(
            nn.Sequential(convolution(inputs, outputs, 2), Residual(outputs))
            for inputs, outputs in pairwise(WIDTHS)
        )
        self.bottom = Residual(WIDTHS[-1])
        self.narrow = nn.ModuleList(
            nn.Conv2d(outputs, inputs, 1) for inputs, outputs in reversed(list(pairwise(WIDTHS)))
        )
        self.up = nn.ModuleList(Residual(width) for width in reversed(WIDTHS[:-1]))
        self.head = nn.Sequential(nn.Conv2d(WIDTHS[0], 4, 3, 1, 1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.stem(x / 127.5 - 1)]
        for stage in self.down:
            maps.append(stage(maps[-1]))
        x = self.bottom(maps.pop())
        for narrow, stage in zip(self.narrow, self.up, strict=True):
            x = stage(maps.pop() + F.interpolate(narrow(x), scale_factor=2.0, mode="nearest"))
        out: Tensor = self.head(x)
        return out


def to_onnx(network: OcclusionNet) -> bytes:
    """ONNX with a dynamic batch and a sigmoid, its weights stored in half precision: chips ``(N, 3, 128, 128)`` to
    ``(N, 1, 128, 128)``."""
    example = torch.zeros(2, 3, CROP.size, CROP.size)
    return halved(export(nn.Sequential(network, nn.Sigmoid()), example, "chips", "front"))
