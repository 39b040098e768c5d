"""The encoder that an inversion starts from: a small residual network from a small picture to styles.

`models/weights/INVERSION.md` says what it was trained on.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE = 64
GROUPS = ((0, 4), (4, 7), (7, 13), (13, 23))
"""Styles that it tells apart, first and end: those up to 8, 16, 64 and 1024 pixels of MobileStyleGAN."""
WIDTHS = (48, 96, 192, 256)
WEIGHTS = Path(__file__).parent.parent / "weights" / "inversion_encoder.npz"


class Block(nn.Module):
    """Half the sides: a pre-activated residual block (He et al. 2016, arXiv:1603.05027)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.leaky_relu(self.norm1(x), 0.1)
        y = self.conv2(functional.leaky_relu(self.norm2(self.conv1(x)), 0.1))
        return y + self.shortcut(functional.avg_pool2d(x, 2))  # type: ignore[no-any-return]


class InversionEncoder(nn.Module):
    """``(N, 3, 64, 64)`` float32 RGB, -1..1, aligned, to w+ ``(N, 23, 512)`` in the space of `LatentPrior`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTHS[0], 5, stride=2, padding=2, bias=False)  # (N, 48, 32, 32)
        pairs = pairwise(WIDTHS)
        self.blocks = nn.Sequential(*(Block(inputs, outputs) for inputs, outputs in pairs))  # (N, 256, 4, 4)
        self.norm = nn.BatchNorm2d(WIDTHS[-1])
        self.narrow = nn.Conv2d(WIDTHS[-1], 128, 1)  # (N, 128, 4, 4)
        self.hidden = nn.Linear(128 * 16, 256)
        self.styles = nn.Linear(256, len(GROUPS) * 512)

    def forward(self, pictures: Tensor) -> Tensor:
        groups = self.groups(pictures)
        sizes = torch.tensor([end - first for first, end in GROUPS], device=groups.device)
        return groups.repeat_interleave(sizes, dim=1)

    def groups(self, pictures: Tensor) -> Tensor:
        """``(N, 4, 512)``: one style for each of `GROUPS`."""
        x = self.blocks(self.stem(pictures))
        x = functional.leaky_relu(self.narrow(functional.leaky_relu(self.norm(x), 0.1)), 0.1)
        x = functional.leaky_relu(self.hidden(x.flatten(1)), 0.1)
        return self.styles(x).unflatten(1, (len(GROUPS), 512))  # type: ignore[no-any-return]


def load_encoder(path: Path = WEIGHTS) -> tuple[InversionEncoder, str]:
    """The trained encoder, and the fingerprint of the generator that its styles are for."""
    network = InversionEncoder().eval().requires_grad_(False)
    with np.load(path, allow_pickle=False) as saved:
        tensors = {name: torch.from_numpy(saved[name]) for name in saved if name != "generator"}
        generator = str(saved["generator"])
    network.load_state_dict(
        {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    )
    return network, generator


def save_encoder(network: InversionEncoder, generator: str, path: Path) -> None:
    """In half precision."""
    tensors = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in network.state_dict().items()
    }
    np.savez_compressed(
        path, generator=generator, **{name: tensor.numpy() for name, tensor in tensors.items()}
    )
