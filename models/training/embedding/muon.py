"""Muon (Jordan et al. 2024): momentum whose every matrix is made orthogonal before the step."""

import torch
from torch import Tensor


def orthogonal(matrix: Tensor, steps: int = 4) -> Tensor:
    """Nearly the nearest orthogonal matrix, by a quintic Newton-Schulz iteration in half precision."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).bfloat16()
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    nearest: Tensor = (x.T if tall else x).float()
    return nearest


class Muon(torch.optim.Optimizer):
    """For convolutions that a normalisation follows, where the weights' length does not matter.

    Every weight keeps the length that it would have after He's initialisation; `lr` is the length of a step
    relative to it.
    """

    def __init__(self, weights: list[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(weight)
                average: Tensor = state["momentum"]
                average.lerp_(weight.grad, 1 - group["momentum"])
                ahead = weight.grad.lerp(average, group["momentum"])
                change = orthogonal(ahead.flatten(1)).view_as(weight)
                length = (2 * len(weight)) ** 0.5
                weight.sub_(change, alpha=group["lr"] * length / (float(change.norm()) + 1e-7))
                weight.mul_(length / weight.norm())
