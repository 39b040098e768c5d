"""Generators to take gradients through, at several sizes: what an inversion works on."""

import time
from functools import cache
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

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


@cache
def quicker_precision(device: torch.device) -> torch.dtype:
    """bfloat16 where the processor multiplies in it, else float32: others imitate it, with AVX-512 in twice the time of
    float32, with AVX2 in seventeen times. Measured by some convolutions, in some milliseconds."""
    if device.type == "cuda":
        natively = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if natively else torch.float32
    spent = {precision: _spent(precision, device) for precision in (torch.float32, torch.bfloat16)}
    return min(spent, key=lambda precision: spent[precision])


def _spent(precision: torch.dtype, device: torch.device) -> float:
    """Seconds of a convolution as the generator has them, the least of several."""
    layer = nn.Conv2d(128, 128, 1, device=device, dtype=precision).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    maps = torch.zeros(1, 128, 64, 64, device=device, dtype=precision).to(memory_format=torch.channels_last)
    times = []
    with torch.no_grad():
        for _ in range(5):
            began = time.perf_counter()
            layer(maps)
            times.append(time.perf_counter() - began)
    return min(times)


def load_differentiable(
    weights: Weights, device: torch.device, precision: torch.dtype = torch.float32
) -> DifferentiableGenerator:
    """As `models.load.load_generator` chooses, in torch. precision: float32, or bfloat16 for pictures that are off by
    some thousandths, in half the time where it is `quicker_precision`."""
    if len(weights.paths) == 2:
        return DifferentiableMobileStyleGan(*weights.paths, device, precision)
    return DifferentiableStyleGan2(weights.path, device, precision)
