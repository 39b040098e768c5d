"""The network that tells age and gender: the trunk of face-reidentification-retail-0095, and a linear layer."""

from collections.abc import Sequence

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor, nn

from prosopon.models.convert.onnx_export import export, halved
from prosopon.models.faces.age_gender import BANDS, CROP
from prosopon.models.training.retail_trunk import WIDTH, Rectifier, RetailTrunk

KEPT = 6
"""Stages of the trunk that stay as they are: nothing is stored for going back through them."""
FEATURES = 2 * WIDTH
CLASSES = 2 + len(BANDS)


class AgeGenderNet(RetailTrunk):
    """``(N, 3, 112, 112)`` float32 RGB, 0..255, to logits ``(N, 11)``: female, male; `BANDS`."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__(CROP.size)
        self.head = nn.Linear(FEATURES, CLASSES)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("deviation", torch.ones(FEATURES))

    def lower(self, chips: Tensor) -> Tensor:
        """Chips to the maps behind the stages that are kept, ``(N, 64, 28, 28)``."""
        return self.maps(chips, last=KEPT)

    def features(self, maps: Tensor) -> Tensor:
        """What `lower` gave to ``(N, 1024)``."""
        return self.pooled(self.maps(maps, first=KEPT))

    def upper(self, maps: Tensor, dropout: float = 0.0) -> Tensor:
        """What `lower` gave to the logits. dropout: the share of features that training leaves out."""
        standard = (self.features(maps) - self.mean) / self.deviation
        return self.head(F.dropout(standard, dropout, self.training))

    def forward(self, chips: Tensor) -> Tensor:
        return self.upper(self.lower(chips))

    def standardise(self, maps: Tensor) -> None:
        """Set the features' mean and deviation to those of some maps."""
        with torch.inference_mode():
            found = torch.cat([self.features(part) for part in maps.split(100)])
        self.mean.copy_(found.mean(dim=0))
        self.deviation.copy_(found.std(dim=0) + 1e-2)


def mean_of(networks: Sequence[AgeGenderNet]) -> AgeGenderNet:
    """A network whose weights are the means of those of several, which start alike."""
    found = AgeGenderNet()
    found.load_state_dict(networks[0].state_dict())
    for name, value in found.state_dict().items():
        if isinstance(value, Tensor):
            value.copy_(torch.stack([network.state_dict()[name] for network in networks]).mean(dim=0))
    return found.eval()


def stored(graph: onnx.ModelProto) -> AgeGenderNet:
    """The network of a file that `to_onnx` wrote, as it was before its calibration."""
    found = AgeGenderNet()
    slopes = [node.attribute[0].f for node in graph.graph.node if node.op_type == "LeakyRelu"]
    rectifiers = [module for module in found.modules() if isinstance(module, Rectifier)]
    for rectifier, slope in zip(rectifiers, slopes, strict=True):
        rectifier.slope = slope
    halves = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    for name, value in found.state_dict().items():
        if isinstance(value, Tensor):
            value.copy_(torch.from_numpy(halves[f"network.{name}_half"].astype(np.float32)))
    return found.eval()


class Lower(nn.Module):
    """The stages that are kept, as a network."""

    def __init__(self, network: AgeGenderNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, chips: Tensor) -> Tensor:
        return self.network.lower(chips)


class Calibrated(nn.Module):
    """A network with its temperatures and shifts: ``(N, 11)`` probabilities."""

    shifts: Tensor

    def __init__(self, network: AgeGenderNet, temperatures: tuple[float, float], shifts: Tensor) -> None:
        super().__init__()
        self.network, self.temperatures = network, temperatures
        self.register_buffer("shifts", shifts)

    def forward(self, chips: Tensor) -> Tensor:
        logits = self.network(chips)
        gender = logits[:, :2] / self.temperatures[0] + self.shifts[:2]
        age = logits[:, 2:] / self.temperatures[1] + self.shifts[2:]
        return torch.cat([gender.softmax(dim=1), age.softmax(dim=1)], dim=1)


def to_onnx(network: Calibrated) -> bytes:
    """ONNX with a dynamic batch, whose weights are stored in half precision and computed with in single."""
    return halved(export(network, torch.zeros(2, 3, CROP.size, CROP.size), "chips", "answers"))
