"""Small pictures from inside MobileStyleGAN: linear heads on its inner levels, for a fraction of the work.

The published network has no output below 512 px. A 3x3 convolution fitted to the shrunken picture comes close enough to
be looked at by losses and encoders, which then need the expensive last levels for the last steps alone; it is not
close enough to be served (`python -m tests.benchmarks.pyramid`).
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from prosopon.models.generation.mobile_stylegan_network import Synthesis

HEADS = Path(__file__).parent.parent / "weights" / "mobilestylegan_previews.npz"
"""Fitted by `models.training.inversion.heads` to the network of pack `open`."""


class Preview(nn.Module):
    """w+ ``(N, 23, 512)`` to pictures ``(N, 3, S, S)`` float32 RGB, about -1..1; styles of finer levels do nothing."""

    def __init__(self, network: Synthesis, weight: Tensor, bias: Tensor, side: int) -> None:
        """weight: ``(3, C, 3, 3)`` on the wavelet bands that the level of `side` pixels hands on; bias: ``(3,)``."""
        super().__init__()
        self.network, self.side = network, side
        self.weight, self.bias = nn.Parameter(weight, False), nn.Parameter(bias, False)

    def forward(self, w: Tensor) -> Tensor:
        return functional.conv2d(bands(self.network, w, self.side), self.weight, self.bias, padding=1)


def bands(network: Synthesis, w: Tensor, side: int) -> Tensor:
    """The scaled wavelet bands ``(N, C, side, side)`` out of which the next level is made."""
    x = network.first(network.constant, w[:, 0])
    for number, level in enumerate(network.levels):
        if x.shape[-1] == side:
            return x * level.up(w[:, 3 * number + 1])  # type: ignore[operator,no-any-return]
        x = level(x, w[:, 3 * number + 1 : 3 * number + 4])
    raise ValueError(f"the network has no inner level of {side} pixels")


def load_previews(network: Synthesis, generator: str, path: Path = HEADS) -> dict[int, Preview]:
    """One for each side that a head was fitted for, smallest first.

    generator: the network's fingerprint; there are none for another than they were fitted to.
    """
    with np.load(path, allow_pickle=False) as saved:
        if str(saved["generator"]) != generator:
            return {}
        sides = sorted(int(name.removeprefix("weight")) for name in saved if name.startswith("weight"))
        tensors = {
            name: torch.from_numpy(saved[name].astype(np.float32)) for name in saved if name != "generator"
        }
    return {side: Preview(network, tensors[f"weight{side}"], tensors[f"bias{side}"], side) for side in sides}
