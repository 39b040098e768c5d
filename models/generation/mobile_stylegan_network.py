"""MobileStyleGAN's synthesis network (Belousov 2021, arXiv:2104.04767) in torch.

StyleGAN2's network with depthwise separable convolutions and, instead of upsampling, an inverse Haar
transform: each level turns a quarter of its channels into twice the resolution. The exported network has
demodulation folded into its weights, and noise that does not change.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from prosopon.models.convert.onnx_export import export
from prosopon.models.convert.openvino_ir import Graph, Node, read
from prosopon.models.faces.detections import Float32
from prosopon.models.generation.mobile_stylegan_shape import LEVELS, RESOLUTION, STYLES, W_DIM


class Style(nn.Module):
    """The affine map from w to one scale per channel."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, w: Tensor) -> Tensor:
        return functional.linear(w, self.weight, self.bias)[:, :, None, None]  # (N, C, 1, 1)


class StyledConvolution(nn.Module):
    """Scale by the style, convolve, add noise and bias, leaky ReLU. The first has no depthwise part."""

    def __init__(self, style: Style, depthwise: Tensor | None, weight: Tensor, noise: Tensor, bias: Tensor):
        super().__init__()
        self.style = style
        self.depthwise = None if depthwise is None else nn.Parameter(depthwise)  # (C, 1, 3, 3)
        self.weight = nn.Parameter(weight)  # (C', C, 1, 1), the first (C', C, 3, 3)
        self.register_buffer("noise", noise)  # (1, 1, H, W)
        self.bias = nn.Parameter(bias)  # (C',)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        x = x * self.style(w)
        if self.depthwise is not None:
            x = functional.conv2d(x, self.depthwise, padding=1, groups=len(self.depthwise))
        x = functional.conv2d(x, self.weight, self.bias, padding=self.weight.shape[-1] // 2)
        return functional.leaky_relu(x + self.get_buffer("noise"), 0.2)


def inverse_haar(x: Tensor) -> Tensor:
    """One level of the inverse Haar transform, times two: ``(N, 4C, H, W)`` to ``(N, C, 2H, 2W)``.

    The bands lie one after the other: low, vertical, horizontal, diagonal detail, C channels each.
    """
    low, vertical, horizontal, diagonal = x.chunk(4, dim=1)
    top, bottom = low + vertical, low - vertical
    top_detail, bottom_detail = horizontal + diagonal, horizontal - diagonal
    corners = [top + top_detail, top - top_detail, bottom + bottom_detail, bottom - bottom_detail]
    return functional.pixel_shuffle(torch.stack(corners, dim=2).flatten(1, 2), 2)


class Level(nn.Module):
    """Twice the resolution: wavelet bands in, two styled convolutions."""

    def __init__(self, up: Style, first: StyledConvolution, second: StyledConvolution) -> None:
        super().__init__()
        self.up, self.first, self.second = up, first, second

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        x = inverse_haar(x * self.up(w[:, 0]))
        return self.second(self.first(x, w[:, 1]), w[:, 2])  # type: ignore[no-any-return]


class Synthesis(nn.Module):
    """w+ ``(N, 23, 512)`` to pictures ``(N, 3, R, R)`` float32 RGB, about -1..1; R is 1024 or 512.

    At 512 the last inverse transform is left out: the low band is exactly the mean of 2x2 pixels.
    """

    def __init__(
        self, constant: Tensor, first: StyledConvolution, levels: list[Level], style: Style, weight: Tensor,
        bias: Tensor, resolution: int = RESOLUTION,
    ) -> None:  # fmt: skip
        super().__init__()
        if resolution not in (RESOLUTION, RESOLUTION // 2):
            raise ValueError(f"resolution {resolution} is not 1024 or 512")
        self.resolution = resolution
        self.constant = nn.Parameter(constant)  # (1, 512, 4, 4)
        self.first = first
        self.levels = nn.ModuleList(levels)
        self.style = style
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)  # (12, 64, 1, 1), (12,)

    def forward(self, w: Tensor) -> Tensor:
        x = self.first(self.constant, w[:, 0])  # (N, 512, 4, 4)
        for number, level in enumerate(self.levels):
            x = level(x, w[:, 3 * number + 1 : 3 * number + 4])  # 8, 16, ... 512
        x = x * self.style(w[:, STYLES - 1])
        if self.resolution == RESOLUTION:
            return inverse_haar(functional.conv2d(x, self.weight, self.bias))
        return functional.conv2d(x, self.weight[:3], self.bias[:3])


def load_synthesis(xml: Path, weights: Path, resolution: int = RESOLUTION) -> Synthesis:
    """The network with the tensors of the published IR. Raises `models.convert.openvino_ir.IrError`."""
    return _Tensors(read(xml, weights)).synthesis(resolution)


class _Tensors:
    """Takes the network's parts out of the graph: by name, or, where the export lost the name, by order."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        second = [
            (node.op, graph.constants[node.inputs[1]]) for node in graph.nodes if _has_constant(node, graph)
        ]
        # One of each for the first convolution and for the two of every level, coarse to fine.
        self._dense = [array for op, array in second if op == "Convolution"]
        self._noise = [
            array for op, array in second if op == "Add" and array.shape[1] == 1 and array.ndim == 4
        ]

    def synthesis(self, resolution: int) -> Synthesis:
        bands = [
            self._band_order(4 * len(self._named(f"m.layers.{i}.conv1.conv.weight_dw")))
            for i in range(LEVELS)
        ]
        levels = [
            Level(
                # Half of what `inverse_haar` leaves out.
                self._style(f"m.layers.{i}.up", 0.5, bands[i]),
                self._convolution(2 * i + 1, f"m.layers.{i}.conv1", None),
                self._convolution(2 * i + 2, f"m.layers.{i}.conv2", bands[i + 1] if i + 1 < LEVELS else None),
            )
            for i in range(LEVELS)
        ]
        weight, bias = self._named("m.layers.6.to_img.conv.weight"), self._named("m.layers.6.to_img.bias")
        order = self._band_order(len(weight))
        return Synthesis(
            self._named("m.input.input"),
            self._convolution(0, "m.conv1", bands[0]),
            levels,
            self._style("m.layers.6.to_img.conv", weight.shape[1] ** -0.5),
            0.5 * weight[order],
            0.5 * bias.flatten()[order],
            resolution,
        ).requires_grad_(False)

    def _convolution(self, number: int, name: str, order: Tensor | None) -> StyledConvolution:
        weight, noise = (torch.from_numpy(a[number].copy()) for a in (self._dense, self._noise))
        bias = self._named(f"{name}.bias").flatten()
        depthwise = self._named(f"{name}.conv.weight_dw").flatten(0, 1) if number else None
        # StyleGAN2's equalised learning rate: weights are kept at unit variance, divided by the root of the
        # fan-in when used.
        fan_in = 9 * weight.shape[1]
        if order is not None:
            weight, bias = weight[order], bias[order]
        return StyledConvolution(self._style(f"{name}.conv", fan_in**-0.5), depthwise, weight, noise, bias)

    def _style(self, name: str, factor: float, order: Tensor | None = None) -> Style:
        weight = factor * self._named(f"{name}.modulation.weight")
        bias = factor * self._named(f"{name}.modulation.bias").flatten()
        return Style(weight, bias) if order is None else Style(weight[order], bias[order])

    def _named(self, name: str) -> Tensor:
        return torch.from_numpy(self._graph.constant(name).copy())

    @staticmethod
    def _band_order(channels: int) -> Tensor:
        """From the export's bands (low, then each channel's three details) to one band after the other."""
        low = channels // 4
        details = low + torch.arange(3 * low).reshape(low, 3).T.flatten()
        return torch.cat([torch.arange(low), details])


def _has_constant(node: Node, graph: Graph) -> bool:
    return len(node.inputs) > 1 and node.inputs[1] in graph.constants


def on_card(network: nn.Module, device: torch.device) -> Callable[[Float32], Float32]:
    """The network in half precision: features stay below 100, and what is lost is far below a level of 8 bits."""
    network = network.eval().to(device, torch.float16, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def synthesise(w: Float32) -> Float32:
        pictures = network(torch.from_numpy(w).to(device, torch.float16))
        return np.asarray(pictures.float().cpu().numpy(), np.float32)

    return synthesise


def export_styled(network: nn.Module) -> bytes:
    """A network of styles as ONNX with a dynamic batch: ``w`` ``(N, 23, 512)`` to ``image`` ``(N, 3, R, R)``."""
    return export(network, torch.zeros(2, STYLES, W_DIM), "w", "image")
