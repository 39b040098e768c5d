"""A residual network of 216,000 weights (He et al. 2016) that tells how a mask is worn."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from prosopon.models.convert.onnx_export import export
from prosopon.models.faces.attributes.mask import CLASSES, CROP

WIDTHS = (16, 32, 64, 96)


class Block(nn.Module):
    """Two 3x3 convolutions that halve the resolution, and a 1x1 shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, 2, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class MaskNet(nn.Module):
    """``(N, 3, 64, 64)`` float32 RGB, 0..255, to ``(N, 3)`` logits in the order of `attributes.mask.CLASSES`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, WIDTHS[0], 3, 2, 1, bias=False), nn.BatchNorm2d(WIDTHS[0]), nn.ReLU()
        )  # 32 x 32
        self.blocks = nn.Sequential(
            *(Block(inputs, outputs) for inputs, outputs in pairwise(WIDTHS))
        )  # 4 x 4
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(WIDTHS[-1], len(CLASSES)))

    def forward(self, x: Tensor) -> Tensor:
        features = self.blocks(self.stem(x / 127.5 - 1))
        out: Tensor = self.head(features.mean(dim=(2, 3)))
        return out


def to_onnx(network: MaskNet) -> bytes:
    """ONNX with a dynamic batch and a softmax: chips ``(N, 3, 64, 64)`` to probabilities ``(N, 3)``."""
    example = torch.zeros(2, 3, CROP.size, CROP.size)
    return export(nn.Sequential(network, nn.Softmax(dim=1)), example, "chips", "probabilities")
