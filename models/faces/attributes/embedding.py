"""Embeddings: what faces are compared by. The networks are in files of their own, opened here by their names."""

import numpy as np

from prosopon.configs.settings import DeploymentSettings
from prosopon.models.faces.attributes.declaration import FaceAttribute, FaceModel, FaceRole
from prosopon.models.faces.detections import Float32
from prosopon.models.matching.vectors import normalize
from prosopon.models.roles import Chips, FaceEmbedder
from prosopon.models.runtime.session import Compute
from prosopon.models.weights.registry import Weights


def _dlib_resnet(weights: Weights, compute: Compute) -> FaceEmbedder:
    from prosopon.models.faces.dlib_resnet import DlibResNet29

    return DlibResNet29(weights.path, compute)


def _reid(weights: Weights, compute: Compute) -> FaceEmbedder:
    from prosopon.models.faces.retail_reidentification import RetailReidentification

    graph, tensors = weights.paths
    return RetailReidentification(graph, tensors, compute)


def _even(weights: Weights, compute: Compute) -> FaceEmbedder:
    from prosopon.models.faces.retail_reidentification import EvenRetail

    graph, tensors = weights.paths
    return EvenRetail(graph, tensors, compute)


def _own(weights: Weights, compute: Compute) -> FaceEmbedder:
    from prosopon.models.faces.face_embedding import FaceEmbedding

    return FaceEmbedding(weights.path, compute)


def _mobilefacenet(weights: Weights, compute: Compute) -> FaceEmbedder:
    from prosopon.models.faces.insightface_pack import mobilefacenet

    graph, tensors = weights.paths
    return mobilefacenet(graph, tensors, compute)


def _mobilefacenet_tf(weights: Weights, compute: Compute) -> FaceEmbedder:
    from prosopon.models.faces.mobilefacenet import MobileFaceNet

    return MobileFaceNet(weights.path, compute)


def _arcface(weights: Weights, compute: Compute) -> FaceEmbedder:
    from prosopon.models.faces.insightface_pack import InsightFaceEmbedder

    return InsightFaceEmbedder(weights.path, compute)


def _serve(network: FaceEmbedder) -> FaceModel:
    def embed(chips: Chips) -> Float32:
        return normalize(network.embed(chips))

    return FaceModel.of(network, (network.crop,), embed, dim=network.dim)


ROLE: FaceRole[FaceEmbedder] = FaceRole(
    "embedder",
    {
        "dlib-resnet29": _dlib_resnet,
        "face-reidentification-retail-0095": _reid,
        "retail-0095-even": _even,
        "prosopon-embedding": _own,
        "mobilefacenet": _mobilefacenet_tf,
        "mobilefacenet-y1": _mobilefacenet,
        ".dat": _dlib_resnet,
        ".onnx": _arcface,
    },
    _serve,
    stage="embed",
    resources=DeploymentSettings(num_cpus=0.2, concurrent_batches=2, max_ongoing_requests=256),
)

EMBEDDING: FaceAttribute[Float32] = FaceAttribute(
    "embedding", np.ndarray, ROLE, called={"compreface": "calculator"}
)
"""``(D,)`` float32, unit norm."""
