"""GAN inversion: the styles whose face is that of a photograph (survey: Xia et al. 2021, arXiv:2101.05278).

A first guess is refined by gradient descent through the generator, layer by layer, on an identity, a perceptual and a
pixel term, with styles held near likely ones, so that what is found can be mixed and morphed.
"""

import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from prosopon.models.faces.detections import Float32
from prosopon.models.generation.differentiable import DifferentiableGenerator
from prosopon.models.inversion.identity import Identity
from prosopon.models.inversion.latent_prior import LatentPrior
from prosopon.models.inversion.loss import InversionLoss, LossWeights, from_pixels, style_loss
from prosopon.models.inversion.target import Schedule, Target

_WARM_UP = 5
"""Steps over which the rate rises to its own: Adam's first estimates are rough."""


class Refinement:
    """Gradient descent for a batch of targets side by side; the time is that of the whole batch."""

    def __init__(
        self,
        generator: DifferentiableGenerator,
        prior: LatentPrior,
        identity: Identity,
        device: torch.device,
        weights: LossWeights | None = None,
    ) -> None:
        self.generator, self._prior, self._identity = generator, prior, identity
        self._device, self._weights = device, weights or LossWeights()
        self.steps = 0
        """Of the last run."""

    def __call__(
        self,
        targets: Sequence[Target],
        start: Tensor,
        schedule: Schedule | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Float32:
        """w+ ``(N, layers, 512)`` float32.

        start: ``(N, layers, 512)`` in the space of the prior. stop: asked before each step; where it says so, what
        there is is returned.
        """
        schedule, weights = schedule or Schedule(), self._weights
        loss = self.loss(targets)
        p = start.to(self._device)
        base = p.mean(dim=1, keepdim=True).requires_grad_()
        offsets = (p - p.mean(dim=1, keepdim=True)).requires_grad_()
        optimizer = torch.optim.Adam([base, offsets], schedule.rate, (0.9, 0.99))
        began = time.monotonic()
        self.steps = 0
        while (progress := schedule.progress(self.steps, time.monotonic() - began)) < 1 and not stop():
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate * _annealed(progress) * min(1, (self.steps + 1) / _WARM_UP)
            pictures = self.generator.picture(
                self._prior.to_w(base + offsets), self._side(schedule, progress)
            )
            total = (loss(pictures) + style_loss(base, offsets, weights)).sum()
            optimizer.zero_grad()
            total.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            self.steps += 1
        with torch.no_grad():
            return np.asarray(self._prior.to_w(base + offsets).cpu().numpy(), np.float32)

    def loss(self, targets: Sequence[Target]) -> InversionLoss:
        """What is minimised, but for the styles' own term."""
        wanted = from_pixels(np.stack([target.chip for target in targets]), self._device)
        landmarks = np.stack([target.landmarks for target in targets])
        return InversionLoss(wanted, landmarks, self._identity, self._weights)

    def _side(self, schedule: Schedule, progress: float) -> int:
        wanted = next(side for side, share in schedule.shares if progress < share)
        return next((side for side in self.generator.sides if side >= wanted), self.generator.sides[-1])


def _annealed(progress: float) -> float:
    return 0.1 + 0.45 * (1 + math.cos(math.pi * progress))
