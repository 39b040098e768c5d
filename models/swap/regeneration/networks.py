"""The networks that a search looks through, as torch modules: those of identity and a face mesh."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from prosopon.configs.settings import ModelSettings
from prosopon.models.convert.onnx_torch import TorchOnnx
from prosopon.models.faces.detections import Float32
from prosopon.models.faces.mesh import SIDE as MESH_SIDE
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


def points_seen(mesh: nn.Module, picture: Tensor, square: Float32, side: int) -> Tensor:
    """``(468, 3)``: where the mesh sees the vertices of a face in ``(1, 3, S, S)``, -1..1, in pixels of its square.

    square: ``(2, 3)``, to these from the pixels of a picture of `side` pixels.
    """
    chips = views.sample(picture, views.grid(square, side, MESH_SIDE)) * 0.5 + 0.5
    found: Tensor = mesh(chips.permute(0, 2, 3, 1))[0]
    return found.reshape(468, 3)


def load_mesh(models: ModelSettings, device: torch.device) -> TorchOnnx:
    """``(N, 192, 192, 3)`` float32 RGB 0..1 to points ``(N, 1, 1, 1404)`` and a score."""
    weights = Registry.of(models).weights(CATALOGUE["mediapipe-face-mesh"])
    return TorchOnnx(mesh_onnx(weights.path)).eval().to(device)
