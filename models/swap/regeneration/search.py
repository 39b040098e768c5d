"""The search in the generator's styles, by gradient descent."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from prosopon.models.generation.differentiable import DifferentiableGenerator
from prosopon.models.inversion.encoder import GROUPS
from prosopon.models.inversion.latent_prior import LatentPrior
from prosopon.models.swap.regeneration.loss import RegenerationLoss, Weights

_WARM_UP = 4
_FINE = 13
"""From this layer on all share one style: left free, they paint light and colour that no face has."""
_ALONE = 0.5
"""Rate of what a layer has of its own, against that of its group of layers."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a search spends its time: at most `seconds`, at most as many steps at each side."""

    seconds: float = 30.0
    steps: tuple[tuple[int, int], ...] = ((128, 28), (256, 6), (512, 1))
    rate: float = 0.12

    @property
    def total(self) -> int:
        return sum(count for _, count in self.steps)


def search(
    generator: DifferentiableGenerator,
    prior: LatentPrior,
    loss: RegenerationLoss,
    weights: Weights,
    start: Tensor,
    plan: Plan,
    watch: Callable[[int, Tensor, dict[str, float]], None] | None = None,
) -> Tensor:
    """w+ ``(1, layers, 512)``. start: ``(1, layers, 512)`` in the space of the prior."""
    groups = torch.stack([start[:, first:end].mean(dim=1) for first, end in GROUPS], dim=1).requires_grad_()
    sizes = torch.tensor([end - first for first, end in GROUPS], device=start.device)
    alone = torch.zeros_like(start[:, :_FINE]).requires_grad_()

    def styles() -> Tensor:
        whole = groups.repeat_interleave(sizes, dim=1)
        return torch.cat([whole[:, :_FINE] + alone, whole[:, _FINE:]], dim=1)

    optimizer = torch.optim.Adam(
        [{"params": [groups]}, {"params": [alone], "scale": _ALONE}], plan.rate, (0.9, 0.99)
    )
    began = time.monotonic()
    step = 0
    for side, count in plan.steps:
        for _ in range(count):
            progress = max(step / plan.total, (time.monotonic() - began) / plan.seconds)
            if progress >= 1:
                break
            rate = (
                plan.rate * (0.1 + 0.45 * (1 + math.cos(math.pi * progress))) * min(1, (step + 1) / _WARM_UP)
            )
            for group in optimizer.param_groups:
                group["lr"] = rate * group.get("scale", 1.0)
            with torch.autocast(start.device.type, torch.bfloat16):
                picture = generator.picture(prior.to_w(styles()), side)
            picture = picture.float()
            total, parts = loss(picture)
            likely = weights.likely * groups.square().mean() + weights.together * alone.square().mean()
            optimizer.zero_grad()
            (total + likely).backward()
            optimizer.step()
            parts["likely"] = float(likely)
            step += 1
            if watch:
                watch(step, picture.detach(), parts)
    return prior.to_w(styles()).detach()
