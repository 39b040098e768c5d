"""The student: the trunk of one of its teachers, and a linear layer to what both say together."""

import torch
from torch import Tensor, nn

from prosopon.models.training.retail_trunk import WIDTH, RetailTrunk

SIDE = 128
DIM = 256


class Student(RetailTrunk):
    """``(N, 3, 128, 128)`` float32 RGB, 0..255, to ``(N, 256)`` float32, not normalised."""

    def __init__(self) -> None:
        super().__init__(SIDE)
        self.embed = nn.Linear(2 * WIDTH, DIM)

    def features(self, chips: Tensor) -> Tensor:
        """``(N, 1024)``, as the trunk pools its last map."""
        return self.pooled(self.maps(chips))

    def forward(self, chips: Tensor) -> Tensor:
        embedding: Tensor = self.embed(self.features(chips))
        return embedding


@torch.no_grad()
def fit(layer: nn.Linear, features: Tensor, targets: Tensor, ridge: float = 1e-2) -> None:
    """Set a linear layer to what answers best (ridge regression). features ``(N, D)``, targets ``(N, K)``.

    ridge: in units of the features' mean variance.
    """
    middle, aim = features.mean(dim=0), targets.mean(dim=0)
    centred = (features - middle).double()
    covariance = centred.T @ centred / len(features)
    covariance += ridge * covariance.diagonal().mean() * torch.eye(len(covariance))
    weights = torch.linalg.solve(covariance, centred.T @ (targets - aim).double() / len(features)).float()
    layer.weight.copy_(weights.T)
    layer.bias.copy_(aim - middle @ weights)


@torch.no_grad()
def spread(layer: nn.Linear, features: Tensor, floor: float = 0.25) -> None:
    """Let a linear layer answer so that strangers differ by much the same in every direction (whitening).

    Fitted and distilled, a few directions hold most of what strangers differ by, and what the layer is unsure of least:
    angles then say more of these few than of the person. features ``(N, D)``: of strangers. floor: added to the
    variances, in units of their mean, so that directions of mere noise are not blown up.
    """
    answers = layer(features).double()
    middle = answers.mean(dim=0)
    variances, axes = torch.linalg.eigh(torch.cov(answers.T))
    even = (axes * (variances + floor * variances.mean()).rsqrt()) @ axes.T
    layer.bias.copy_((even @ (layer.bias.double() - middle)).float())
    layer.weight.copy_((even @ layer.weight.double()).float())


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
