"""The student: a narrow residual network of plain convolutions, which two cores can train."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 112
DIM = 256


class Block(nn.Module):
    """Two 3x3 convolutions beside a short cut (He et al. 2016); the short cut averages before it narrows."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        nn.init.constant_(self.second_norm.weight, 0.2)
        self.short: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.short = nn.Sequential(
                nn.AvgPool2d(2, ceil_mode=True),
                nn.Conv2d(inputs, outputs, 1, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.first_norm(self.first(x)))
        return F.relu(self.second_norm(self.second(inner)) + self.short(x))


def _stage(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(
        *(Block(inputs if i == 0 else outputs, outputs, 2 if i == 0 else 1) for i in range(blocks))
    )


class Student(nn.Module):
    """``(N, 3, S, S)`` float32 RGB, -1..1, to ``(N, 256)`` float32, not normalised. S is 112; training may use less.

    The last map is weighed by place and channel (global depthwise convolution, Chen et al. 2018, MobileFaceNets).
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 24, 3, 2, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU())
        self.fine = _stage(24, 48, 2)
        self.middle = _stage(48, 128, 3)
        self.coarse = _stage(128, 192, 2)
        self.widen = nn.Sequential(nn.Conv2d(192, 384, 1, bias=False), nn.BatchNorm2d(384), nn.ReLU())
        self.weigh = nn.Conv2d(384, 384, 7, groups=384, bias=False)
        self.weigh_norm = nn.BatchNorm2d(384)
        self.embed = nn.Linear(384, DIM)

    def maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The maps that hints are given for: ``(N, 128, S/8, S/8)`` and ``(N, 384, S/16, S/16)``."""
        middle = self.middle(self.fine(self.stem(x)))
        return middle, self.widen(self.coarse(middle))

    def pool(self, last: Tensor) -> Tensor:
        """The last map to ``(N, 256)``."""
        if last.shape[-1] != 7:
            last = F.interpolate(last, size=(7, 7), mode="bilinear", align_corners=False)
        embedding: Tensor = self.embed(self.weigh_norm(self.weigh(last)).flatten(1))
        return embedding

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.maps(x)[1])


class Adaptors(nn.Module):
    """Linear maps, cell by cell, from the student's inner channels to the teachers'. Needed for training alone."""

    def __init__(self, middle: int, last: tuple[int, ...]) -> None:
        super().__init__()
        self.middle = nn.Conv2d(128, middle, 1)
        self.last = nn.ModuleList(nn.Conv2d(384, components, 1) for components in last)
        for weight in self.parameters():
            nn.init.zeros_(weight)

    def forward(self, middle: Tensor, last: Tensor) -> list[Tensor]:
        return [self.middle(middle), *(adaptor(last) for adaptor in self.last)]


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def smoothed(network: nn.Module, average: dict[str, Tensor], keep: float) -> None:
    """Move the running average of weights and statistics towards the network's, in place."""
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                average[name].lerp_(value, 1 - keep)
            else:
                average[name].copy_(value)
