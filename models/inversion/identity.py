"""Networks that know who a face is, as torch modules: what a search in a generator's styles is led by."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import onnx
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
from prosopon.models.faces.face_embedding import FaceEmbedding
from prosopon.models.faces.retail_reidentification import RetailReidentification
from prosopon.models.pictures.crops import CropSpec, similarity_transform
from prosopon.models.weights.catalogue import BESIDE, CATALOGUE, LED_BY
from prosopon.models.weights.registry import ModelUnavailable, Registry, Weights

_FEATURES = 3
"""Levels of a network, from the first, that pictures are compared by position by position."""


@dataclass(frozen=True, slots=True)
class Identity:
    """stages: of chips ``(N, 3, S, S)`` float32 RGB -1..1, cut as `crop` says, the features of `_FEATURES` levels, the
    finest first, and the embedding ``(N, D)``, which is compared by squared distance; share: of that distance in a
    loss, such that two strangers are about as far apart by every network."""

    name: str
    crop: CropSpec
    stages: Callable[[Tensor], list[Tensor]]
    share: float

    def matrix(self, landmarks: Float32) -> Float32:
        """``(2, 3)`` from a picture in whose pixels the ``(5, 2)`` landmarks are, to a chip."""
        return similarity_transform(landmarks, np.asarray(self.crop.template, np.float32))

    def embed(self, chips: Tensor) -> Tensor:
        """``(N, D)``."""
        return self.stages(chips)[-1]


def load_identity(models: ModelSettings, device: torch.device, names: Sequence[str] = LED_BY) -> Identity:
    """The first of `names` whose weights are here. Raises `models.weights.registry.ModelUnavailable` for none."""
    for name, weights in _here(models, names):
        return _NETWORKS[name](weights, device)
    raise ModelUnavailable(f"none of the networks of identity is here: {', '.join(names)}")


def load_identities(models: ModelSettings, device: torch.device) -> list[Identity]:
    """What leads a swap; one network alone counts as much as two together."""
    beside = (_NETWORKS[name](weights, device) for name, weights in _here(models, (BESIDE,)))
    found = [load_identity(models, device), *beside]
    return [replace(one, share=one.share * 2 / len(found)) for one in found]


def _here(models: ModelSettings, names: Sequence[str]) -> Iterator[tuple[str, Weights]]:
    registry = Registry.of(models)
    for name in names:
        with suppress(ModelUnavailable):
            yield name, registry.weights(CATALOGUE[name])


def _dlib(weights: Weights, device: torch.device) -> Identity:
    network = ResNet29().eval().requires_grad_(False)
    with weights.path.open("rb") as file:
        fill(network, read_metric_network(file))
    network.to(device)

    def stages(chips: Tensor) -> list[Tensor]:
        found = network.stages(chips * 127.5 + 127.5)
        return [*found[:_FEATURES], found[-1]]

    return Identity(DlibResNet29.name, DlibResNet29.crop, stages, 2.5)


def _retail(weights: Weights, device: torch.device) -> Identity:
    graph = openvino_ir.read(*weights.paths)
    # What the network halves is the last that it has at that size; the first of them is the picture.
    halved = [node.inputs[0] for node in graph.nodes if node.ints("strides") == (2, 2)][1:]
    shapes = dict.fromkeys(halved[:_FEATURES], ()) | graph.outputs
    network = TorchGraph(replace(graph, outputs=shapes)).eval().to(device)

    def stages(chips: Tensor) -> list[Tensor]:
        *features, embedding = network(chips.flip(1) * 127.5 + 127.5)
        return [*features, functional.normalize(embedding.flatten(1), dim=1)]

    return Identity(RetailReidentification.name, RetailReidentification.crop, stages, 1.0)


def _own(weights: Weights, device: torch.device) -> Identity:
    model = onnx.load_model(weights.path)
    halved = [
        node.input[0]
        for node in model.graph.node
        if node.op_type == "Conv"
        and any(item.name == "strides" and list(item.ints) == [2, 2] for item in node.attribute)
    ][1:]
    for name in reversed(halved[:_FEATURES]):
        model.graph.output.insert(0, onnx.ValueInfoProto(name=name))
    network = TorchOnnx(model.SerializeToString()).eval().to(device)

    def stages(chips: Tensor) -> list[Tensor]:
        *features, embedding = network(chips * 127.5 + 127.5)
        return [*features, functional.normalize(embedding, dim=1)]

    return Identity(FaceEmbedding.name, FaceEmbedding.crop, stages, 1.0)


_NETWORKS: dict[str, Callable[[Weights, torch.device], Identity]] = {
    RetailReidentification.name: _retail,
    FaceEmbedding.name: _own,
    DlibResNet29.name: _dlib,
}
