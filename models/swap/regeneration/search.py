"""The search in the generator's styles, by gradient descent."""

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from prosopon.models.generation.differentiable import DifferentiableGenerator
from prosopon.models.inversion.encoder import GROUPS
from prosopon.models.inversion.latent_prior import LatentPrior
from prosopon.models.swap.regeneration.loss import RegenerationLoss, Weights
from prosopon.models.swap.types import OutOfTime

_WARM_UP = 4
_TRIED = 3
"""Steps after which it is known how long the others take."""
_FINE = GROUPS[-1][0]
"""From this layer on all share one style: left free, they paint light and colour that no face has."""
_ALONE = 0.5
"""Rate of what a layer has of its own, against that of its group of layers."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a search spends its time. stages: for each side of pictures, in pixels, at most how many steps, and up to
    which share of the seconds; rate: Adam's at the beginning, in standard deviations of styles. The seconds end a
    search that has made `least_steps`: on a busy machine it takes longer, up to `patience` times as long.
    """

    seconds: float = 30.0
    stages: tuple[tuple[int, int, float], ...] = ((128, 30, 0.7), (256, 8, 1.0))
    rate: float = 0.12
    least_steps: int = 20
    patience: float = 2.0

    @property
    def total(self) -> int:
        return sum(count for _, count, _ in self.stages)


def search(
    generator: DifferentiableGenerator,
    prior: LatentPrior,
    loss: RegenerationLoss,
    weights: Weights,
    start: Tensor,
    plan: Plan,
) -> Tensor:
    """w+ ``(1, layers, 512)``. start: ``(1, layers, 512)`` in the space of the prior.

    Raises `OutOfTime` as soon as the first steps say that the least would take more than the plan's patience.
    """
    layers = start.shape[1]
    bounds = [(first, layers if end == GROUPS[-1][1] else end) for first, end in GROUPS]
    groups = torch.stack([start[:, first:end].mean(dim=1) for first, end in bounds], dim=1).requires_grad_()
    sizes = torch.tensor([end - first for first, end in bounds], device=start.device)
    alone = torch.zeros_like(start[:, :_FINE]).requires_grad_()

    def styles() -> Tensor:
        whole = groups.repeat_interleave(sizes, dim=1)
        return torch.cat([whole[:, :_FINE] + alone, whole[:, _FINE:]], dim=1)

    shares: list[dict[str, Any]] = [{"params": [groups]}, {"params": [alone], "scale": _ALONE}]
    optimizer = torch.optim.Adam(shares, plan.rate, (0.9, 0.99))
    began = time.monotonic()
    step = 0
    for side, count, share in plan.stages:
        for _ in range(count):
            spent = min((time.monotonic() - began) / plan.seconds, step / plan.least_steps)
            if spent >= share:
                break
            if step == _TRIED and (time.monotonic() - began) / step * plan.least_steps > (
                plan.patience * plan.seconds
            ):
                raise OutOfTime(f"{plan.least_steps} steps take more than {plan.seconds:g} seconds")
            progress = max(step / plan.total, spent)
            rate = (
                plan.rate * (0.1 + 0.45 * (1 + math.cos(math.pi * progress))) * min(1, (step + 1) / _WARM_UP)
            )
            for group in optimizer.param_groups:
                group["lr"] = rate * group.get("scale", 1.0)
            total, _ = loss(generator.picture(prior.to_w(styles()), side))
            likely = weights.likely * groups.square().mean() + weights.together * alone.square().mean()
            optimizer.zero_grad()
            (total + likely).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            step += 1
    return prior.to_w(styles()).detach()
