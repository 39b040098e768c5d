"""Whether a mask is worn, and how: our own small network, see `models/weights/MASK.md`."""

from pathlib import Path

import numpy as np

from prosopon.models.faces.attributes.declaration import FaceAttribute, FaceModel, FaceRole
from prosopon.models.faces.detections import Float32
from prosopon.models.pictures.crops import CropSpec
from prosopon.models.roles import Chips, Mask, MaskClassifier
from prosopon.models.runtime.fingerprint import fingerprint
from prosopon.models.runtime.session import Compute, create_session, run
from prosopon.models.weights.registry import Weights

WEIGHTS = Path(__file__).parents[2] / "weights" / "mask.onnx"
"""The committed weights."""

CLASSES = ("without_mask", "mask_worn_incorrectly", "mask_worn_correctly")
"""In the order of the network's outputs."""

# Eyes, nose and mouth corners in the proportions of FairFace's aligned chips, so small that a chin ends about
# 9 pixels above the lower border: a mask under the chin is in view.
CROP = CropSpec(64, ((22.5, 25.5), (41.5, 25.5), (32.0, 36.1), (24.3, 44.9), (39.7, 44.9)))


class MaskClassifierNet:
    """ONNX: ``(N, 3, 64, 64)`` float32 RGB, 0..255, to ``(N, 3)`` float32 probabilities."""

    crop = CROP
    preprocessing = 1

    def __init__(self, path: Path, compute: Compute) -> None:
        self.name = "prosopon-mask"
        self.fingerprint = fingerprint(self.name, self.preprocessing, path)
        self._session = create_session(path, compute)

    def probabilities(self, chips: Chips) -> Float32:
        """``(N, 3)`` float32 in the order of `CLASSES`: the mean over each chip and its mirror image.

        chips: ``(N, 64, 64, 3)`` uint8 RGB, cut as `crop` says.
        """
        if not len(chips):
            return np.empty((0, len(CLASSES)), np.float32)
        both = np.concatenate([chips, chips[:, :, ::-1]]).transpose(0, 3, 1, 2)
        found = run(self._session, np.ascontiguousarray(both, np.float32))[0]
        return np.asarray(found.reshape(2, len(chips), len(CLASSES)).mean(axis=0), np.float32)

    def classify(self, chips: Chips) -> list[Mask]:
        """The likeliest class of each chip ``(N, 64, 64, 3)`` uint8 RGB."""
        found = []
        for row in self.probabilities(chips):
            best = int(row.argmax())
            found.append(Mask(CLASSES[best], float(row[best])))  # type: ignore[arg-type]
        return found


def _own(weights: Weights, compute: Compute) -> MaskClassifier:
    return MaskClassifierNet(weights.path, compute)


def _serve(network: MaskClassifier) -> FaceModel:
    return FaceModel.of(network, (network.crop,), network.classify)


MASK = FaceAttribute(
    "mask",
    Mask,
    FaceRole(
        "mask",
        {".onnx": _own},
        _serve,
        own=WEIGHTS,
        own_summary="Prosopon's own classifier of three classes",
    ),
    called={"compreface": "mask"},
)
