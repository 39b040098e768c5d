"""dlib's ResNet-29 for faces (`dnn_metric_learning_on_images_ex.cpp`) in torch. Imported to convert only."""

from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from prosopon.models.convert.dlib_format import (
    Affine,
    Convolution,
    FormatError,
    FullyConnected,
    Parameters,
    read_metric_network,
)
from prosopon.models.convert.onnx_export import export
from prosopon.models.faces.dlib_chips import MEAN_RGB

# Widths of the levels behind the stem, each as (channels, blocks); all but the first begin by halving the
# picture.
LEVELS = ((32, 3), (64, 4), (128, 3), (256, 3), (256, 1))


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut, added and rectified: `ares`, or `ares_down` where it halves."""

    def __init__(self, inputs: int, channels: int, halve: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride=2 if halve else 1, padding=0 if halve else 1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.shortcut = averaging(inputs, channels) if halve else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(functional.relu(self.conv1(x)))
        shortcut = self.shortcut(x)
        # dlib's add_prev: the smaller of the two is filled up with zeros at the lower and the right edge.
        if missing := shortcut.shape[-1] - y.shape[-1]:
            y = functional.pad(y, (0, missing, 0, missing))
        return functional.relu(y + shortcut)


def averaging(inputs: int, channels: int) -> nn.Conv2d:
    """avg_pool<2,2,2,2> and the zero channels that add_prev appends, as one convolution.

    A runtime with a blocked channel layout can keep that layout through a convolution, and not through a
    padding of channels.
    """
    conv = nn.Conv2d(inputs, channels, 2, stride=2, bias=False)
    with torch.no_grad():
        conv.weight.zero_()
        for channel in range(inputs):
            conv.weight[channel, channel] = 0.25
    return conv


class ResNet29(nn.Module):
    """``(N, 150, 150, 3)`` uint8 RGB to ``(N, 128)`` float32.

    The colour's mean and scale are part of the first convolution, which pads nothing; every `affine` is part
    of the convolution before it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 7, stride=2)  # (N, 32, 72, 72)
        self.pool = nn.MaxPool2d(3, 2)  # (N, 32, 35, 35)
        blocks: list[Block] = []
        inputs = 32
        for level, (channels, count) in enumerate(LEVELS):  # 35, 17, 8, 4, 2 pixels a side
            for i in range(count):
                blocks.append(Block(inputs, channels, halve=level > 0 and i == 0))
                inputs = channels
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(256, 128, bias=False)

    def forward(self, chips: Tensor) -> Tensor:
        return self.stages(chips.permute(0, 3, 1, 2).to(torch.float32))[-1]

    def stages(self, x: Tensor) -> list[Tensor]:
        """``(N, 3, 150, 150)`` float32 RGB, 0..255, to the features behind each level and the embedding."""
        x = self.pool(functional.relu(self.stem(x)))
        found: list[Tensor] = []
        ends = list(accumulate(count for _, count in LEVELS))
        for number, block in enumerate(self.blocks, start=1):
            x = block(x)
            if number in ends:
                found.append(x)
        return [*found, self.fc(x.mean(dim=(2, 3)))]

    def convolutions(self) -> Iterator[nn.Conv2d]:
        """Those with weights of their own, from input to output."""
        yield self.stem
        for block in self.blocks:
            yield block.conv1  # type: ignore[misc]
            yield block.conv2  # type: ignore[misc]


@torch.no_grad()
def load(network: ResNet29, layers: list[Parameters]) -> None:
    """Fill the module from the layers of the file. Raises `FormatError` where they do not fit."""
    *body, last = layers
    for conv, source, affine in zip(network.convolutions(), body[::2], body[1::2], strict=True):
        if not isinstance(source, Convolution) or not isinstance(affine, Affine):
            raise FormatError("convolutions and affine layers do not alternate")
        if (source.weight.shape, source.stride, source.padding) != (
            tuple(conv.weight.shape),
            conv.stride[0],
            conv.padding[0],
        ):
            raise FormatError(f"a convolution of shape {source.weight.shape} is not where ResNet-29 has one")
        gamma = affine.gamma.astype("float64")
        weight, bias = source.weight * gamma[:, None, None, None], source.bias * gamma + affine.beta
        if conv is network.stem:
            weight = weight / 256
            bias = bias - (weight * MEAN_RGB[:, None, None]).sum(axis=(1, 2, 3))
        conv.weight.copy_(torch.from_numpy(weight))
        assert conv.bias is not None
        conv.bias.copy_(torch.from_numpy(bias))
    if not isinstance(last, FullyConnected):
        raise FormatError("the last layer is not fully connected")
    network.fc.weight.copy_(torch.from_numpy(last.weight.T))


def convert(source: Path) -> bytes:
    """dlib's file to ONNX with a dynamic batch."""
    network = ResNet29()
    with source.open("rb") as file:
        load(network, read_metric_network(file))
    example = torch.zeros(2, 150, 150, 3, dtype=torch.uint8)
    return export(network, example, "chips", "embeddings", opset=18)
