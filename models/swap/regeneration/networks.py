"""The networks that a search looks through, as torch modules: those of identity and a face mesh."""

from collections.abc import Sequence

import torch
from torch import Tensor

from prosopon.configs.settings import ModelSettings
from prosopon.models.convert.onnx_torch import TorchOnnx
from prosopon.models.faces.detections import Float32
from prosopon.models.faces.mesh import convert as mesh_onnx
from prosopon.models.inversion.identity import Identity
from prosopon.models.swap.regeneration import views
from prosopon.models.weights.catalogue import CATALOGUE
from prosopon.models.weights.registry import Registry


def seen(identity: Identity, picture: Tensor, matrices: Sequence[Float32], side: int) -> Tensor:
    """``(K, D)``: what the network sees in ``(1, 3, S, S)`` through each transform.

    side: of the picture in whose pixels the transforms are.
    """
    chips = torch.cat([views.sample(picture, views.grid(m, side, identity.crop.size)) for m in matrices])
    return identity.embed(chips)


def load_mesh(models: ModelSettings, device: torch.device) -> TorchOnnx:
    """``(N, 192, 192, 3)`` float32 RGB 0..1 to points ``(N, 1, 1, 1404)`` and a score."""
    weights = Registry.of(models).weights(CATALOGUE["mediapipe-face-mesh"])
    return TorchOnnx(mesh_onnx(weights.path)).eval().to(device)
