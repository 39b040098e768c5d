"""How far a face's embedding can be trusted: our own small network, see `models/weights/QUALITY.md`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from prosopon.configs.settings import DeploymentSettings
from prosopon.models.faces.attributes.declaration import FaceAttribute, FaceModel, FaceRole
from prosopon.models.faces.detections import Float32
from prosopon.models.pictures.crops import CropSpec
from prosopon.models.roles import Chips, Model
from prosopon.models.runtime.fingerprint import fingerprint
from prosopon.models.runtime.session import Compute, create_session, run
from prosopon.models.weights.registry import Weights

WEIGHTS = Path(__file__).parents[2] / "weights" / "quality.onnx"
"""The committed weights."""

# ArcFace's alignment of 112 px (Deng et al. 2019), as small as 64.
CROP = CropSpec(
    64,
    ((21.88, 29.54), (42.02, 29.43), (32.01, 40.99), (23.75, 52.78), (40.42, 52.69)),
)


@dataclass(frozen=True, slots=True)
class Quality:
    """value: 0..1, the cosine that is expected between the face's embedding and the one of a clean picture of it."""

    value: float


class QualityEstimator(Model, Protocol):
    crop: CropSpec

    def estimate(self, chips: Chips) -> Float32:
        """``(N,)`` float32, 0..1. chips: cut as `crop` says."""
        ...


class QualityNet:
    """ONNX: ``(N, 3, 64, 64)`` float32 RGB, 0..255, to ``(N, 1)`` float32, 0..1."""

    crop = CROP
    preprocessing = 1

    def __init__(self, path: Path, compute: Compute) -> None:
        self.name = "prosopon-quality"
        self.fingerprint = fingerprint(self.name, self.preprocessing, path)
        self._session = create_session(path, compute)

    def estimate(self, chips: Chips) -> Float32:
        if not len(chips):
            return np.empty(0, np.float32)
        found = run(self._session, np.ascontiguousarray(chips.transpose(0, 3, 1, 2), np.float32))[0]
        return np.asarray(found, np.float32).reshape(len(chips))


def _own(weights: Weights, compute: Compute) -> QualityEstimator:
    return QualityNet(weights.path, compute)


def _serve(network: QualityEstimator) -> FaceModel:
    return FaceModel.of(
        network, (network.crop,), network.estimate, lambda found: [Quality(float(value)) for value in found]
    )


QUALITY = FaceAttribute(
    "quality",
    Quality,
    FaceRole(
        "quality",
        {".onnx": _own},
        _serve,
        own=WEIGHTS,
        own_summary="Prosopon's own estimate of how far an embedding can be trusted",
        resources=DeploymentSettings(num_cpus=0.01),
    ),
    called={"compreface": "quality"},
)
