"""Two narrow residual branches (He et al. 2016), one per crop, that tell live faces from attacks."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from prosopon.models.convert.onnx_export import export
from prosopon.models.faces.attributes.liveness import CONTEXT, DETAIL
from prosopon.models.training.liveness.attacks import KINDS
from prosopon.models.training.mask.network import Block

WIDTHS = (24, 48, 80)


class Branch(nn.Module):
    """``(N, 3, S, S)`` float32 RGB, 0..255, to ``(N, 160)``: the mean and the maximum of each feature.

    stem: what brings the crop to a quarter of its side.
    """

    def __init__(self, stem: nn.Module) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = nn.Sequential(
            *(Block(inputs, outputs) for inputs, outputs in pairwise(WIDTHS))
        )  # S / 16

    def forward(self, x: Tensor) -> Tensor:
        features = self.blocks(self.stem(x / 127.5 - 1))
        return torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)


def coarse() -> nn.Module:
    """Edges, frames and shapes need no fine strides."""
    return nn.Sequential(
        nn.Conv2d(3, WIDTHS[0], 5, 4, 2, bias=False), nn.BatchNorm2d(WIDTHS[0]), nn.ReLU(inplace=True)
    )


def fine() -> nn.Module:
    """Dots and grids do."""
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU(inplace=True), Block(12, WIDTHS[0])
    )


class LivenessNet(nn.Module):
    """The crops `CONTEXT` and `DETAIL`, each ``(N, 3, S, S)`` float32 RGB 0..255, to logits ``(N, 6)``.

    The classes are those of `attacks.KINDS`, of which the first is live.
    """

    def __init__(self) -> None:
        super().__init__()
        self.context, self.detail = Branch(coarse()), Branch(fine())
        self.head = nn.Sequential(
            nn.Dropout(0.2), nn.Linear(4 * WIDTHS[-1], 48), nn.ReLU(), nn.Linear(48, len(KINDS))
        )

    def forward(self, context: Tensor, detail: Tensor) -> Tensor:
        out: Tensor = self.head(torch.cat([self.context(context), self.detail(detail)], dim=1))
        return out


def live_logit(logits: Tensor) -> Tensor:
    """``(N, 6)`` to ``(N,)``: the logit of the first class against all others."""
    return logits[:, 0] - logits[:, 1:].logsumexp(dim=1)


class Live(nn.Module):
    """The probability of the first class, ``(N,)``, when its logit is moved by `shift`."""

    def __init__(self, network: LivenessNet, shift: float) -> None:
        super().__init__()
        self.network, self.shift = network, shift

    def forward(self, context: Tensor, detail: Tensor) -> Tensor:
        return torch.sigmoid(live_logit(self.network(context, detail)) + self.shift)


def to_onnx(network: LivenessNet, shift: float) -> bytes:
    """ONNX with a dynamic batch: crops ``(N, 3, S, S)`` to ``live`` ``(N,)``."""
    examples = torch.zeros(2, 3, CONTEXT.size, CONTEXT.size), torch.zeros(2, 3, DETAIL.size, DETAIL.size)
    return export(Live(network, shift).eval(), examples, ("context", "detail"), "live")
