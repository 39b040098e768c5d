"""Generators to take gradients through, at several sizes: what an inversion works on."""

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from prosopon.models.convert.stylegan2_pickle import read_generator
from prosopon.models.generation.mobile_stylegan import MobileStyleGan
from prosopon.models.generation.mobile_stylegan_network import load_synthesis
from prosopon.models.generation.mobile_stylegan_previews import load_previews
from prosopon.models.generation.mobile_stylegan_shape import RESOLUTION, STYLES
from prosopon.models.generation.stylegan2 import StyleGan2
from prosopon.models.generation.stylegan2_network import synthesis_of
from prosopon.models.runtime.fingerprint import fingerprint
from prosopon.models.weights.registry import Weights

SMALLEST, LARGEST = 128, 512
"""Pixels: an inversion looks at no other pictures."""


class DifferentiableGenerator(Protocol):
    fingerprint: str
    """That of the generator in service."""
    layers: int
    sides: tuple[int, ...]
    """Of the pictures that it can make, in pixels, the cheapest first."""

    def picture(self, w: Tensor, side: int) -> Tensor:
        """w+ ``(N, layers, 512)`` to ``(N, 3, side, side)`` float32 RGB, about -1..1."""
        ...


class DifferentiableMobileStyleGan:
    """512 px is the network's own output; 128 and 256 px are previews from inside it, where there are some for it."""

    layers = STYLES

    def __init__(
        self, xml: Path, weights: Path, device: torch.device, precision: torch.dtype = torch.float32
    ) -> None:
        """Raises `models.convert.openvino_ir.IrError` for other files."""
        network = load_synthesis(xml, weights, RESOLUTION // 2)
        if precision == torch.bfloat16:
            # oneDNN's 1x1 convolutions of that kind copy every map otherwise: half of a step's time.
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.fingerprint = fingerprint(MobileStyleGan.name, MobileStyleGan.preprocessing, xml, weights)
        previews = load_previews(network, self.fingerprint)
        self._previews = {
            side: view.to(device, precision) for side, view in previews.items() if side >= SMALLEST
        }
        self._network = network.to(device, precision)
        self._precision = precision
        self.sides: tuple[int, ...] = (*self._previews, LARGEST)

    def picture(self, w: Tensor, side: int) -> Tensor:
        made: Tensor = self._previews.get(side, self._network)(w.to(self._precision))
        return made.float()


class DifferentiableStyleGan2:
    """Its blocks add to a picture that doubles its side each time: all of them are to be had."""

    def __init__(self, path: Path, device: torch.device, precision: torch.dtype = torch.float32) -> None:
        """Raises `models.convert.stylegan2_pickle.StyleGanFileError`."""
        self.fingerprint = fingerprint(StyleGan2.name, StyleGan2.preprocessing, path)
        self._network = synthesis_of(read_generator(path)).to(device)
        self._device, self._precision = device.type, precision
        self.layers = self._network.styles
        largest = min(self._network.resolution, LARGEST)
        sides = (4 << number for number in range(len(self._network.blocks)))
        self.sides = tuple(side for side in sides if SMALLEST <= side <= largest) or (largest,)

    def picture(self, w: Tensor, side: int) -> Tensor:
        # Its weights stay in float32: its demodulation needs them.
        with torch.autocast(self._device, self._precision, self._precision != torch.float32):
            made: Tensor = self._network(w, side)
        return made.float()


def load_differentiable(
    weights: Weights, device: torch.device, precision: torch.dtype = torch.float32
) -> DifferentiableGenerator:
    """As `models.load.load_generator` chooses, in torch. precision: float32, or bfloat16 for half the time and pictures
    that are off by some thousandths."""
    if len(weights.paths) == 2:
        return DifferentiableMobileStyleGan(*weights.paths, device, precision)
    return DifferentiableStyleGan2(weights.path, device, precision)
