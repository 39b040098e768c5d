"""The networks that a search looks through, as torch modules: two of identity and a face mesh."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from prosopon.configs.settings import ModelSettings
from prosopon.models.convert import openvino_ir
from prosopon.models.convert.dlib_format import read_metric_network
from prosopon.models.convert.dlib_resnet_network import ResNet29
from prosopon.models.convert.dlib_resnet_network import load as fill
from prosopon.models.convert.onnx_torch import TorchOnnx
from prosopon.models.convert.openvino_ir.torch_graph import TorchGraph
from prosopon.models.faces.detections import Float32
from prosopon.models.faces.dlib_resnet import DlibResNet29
from prosopon.models.faces.mesh import convert as mesh_onnx
from prosopon.models.faces.retail_reidentification import RetailReidentification
from prosopon.models.pictures.crops import CropSpec, similarity_transform
from prosopon.models.swap.regeneration import views
from prosopon.models.weights.catalogue import CATALOGUE
from prosopon.models.weights.registry import Registry


@dataclass(frozen=True, slots=True)
class Identity:
    """embed: chips ``(N, 3, S, S)`` float32 RGB -1..1, cut as `crop` says, to ``(N, D)``, compared by squared distance;
    share: of it in the loss."""

    name: str
    crop: CropSpec
    embed: Callable[[Tensor], Tensor]
    share: float

    def matrix(self, landmarks: Float32) -> Float32:
        """``(2, 3)`` from a picture in whose pixels the ``(5, 2)`` landmarks are, to a chip."""
        return similarity_transform(landmarks, np.asarray(self.crop.template, np.float32))

    def of(self, picture: Tensor, matrices: Sequence[Float32], side: int) -> Tensor:
        """``(K, D)``: what the network sees in ``(1, 3, S, S)`` through each transform.

        side: of the picture in whose pixels the transforms are.
        """
        chips = torch.cat([views.sample(picture, views.grid(m, side, self.crop.size)) for m in matrices])
        return self.embed(chips)


def load_identities(models: ModelSettings, device: torch.device) -> list[Identity]:
    """dlib's network and retail-0095. Raises `models.weights.registry.ModelUnavailable`."""
    registry = Registry.of(models)
    dlib = ResNet29().eval().requires_grad_(False)
    with registry.weights(CATALOGUE["dlib-resnet29"]).path.open("rb") as file:
        fill(dlib, read_metric_network(file))
    dlib.to(device)
    files = registry.weights(CATALOGUE[RetailReidentification.name]).paths
    retail = TorchGraph(openvino_ir.read(*files)).eval().to(device)
    return [
        Identity("dlib-resnet29", DlibResNet29.crop, lambda x: dlib.stages(x * 127.5 + 127.5)[-1], 2.5),
        Identity(
            RetailReidentification.name,
            RetailReidentification.crop,
            lambda x: functional.normalize(retail(x.flip(1) * 127.5 + 127.5)[0].flatten(1), dim=1),
            1.0,
        ),
    ]


def load_mesh(models: ModelSettings, device: torch.device) -> TorchOnnx:
    """``(N, 192, 192, 3)`` float32 RGB 0..1 to points ``(N, 1, 1, 1404)`` and a score."""
    weights = Registry.of(models).weights(CATALOGUE["mediapipe-face-mesh"])
    return TorchOnnx(mesh_onnx(weights.path)).eval().to(device)
