"""Age: by our own network, or by dlib's age predictor, a ResNet-10."""

import numpy as np

from prosopon.models.faces import age_gender, dlib_chips
from prosopon.models.faces.ages import YEARS, age_range
from prosopon.models.faces.attributes.declaration import FaceAttribute, FaceModel, FaceRole
from prosopon.models.faces.detections import Float32
from prosopon.models.pictures.crops import CropSpec
from prosopon.models.roles import Age, AgeEstimator, Chips
from prosopon.models.runtime.session import Compute
from prosopon.models.weights.registry import Weights

# dlib's network is overconfident (it gives its favourite year 0.61 on average), so its distribution is
# tempered and blurred until it is calibrated. Both constants minimise the negative log likelihood of the true
# age bands of the first 600 FairFace pictures by name; tests/benchmarks/attributes.py prints it for the
# others.
TEMPERATURE = 1.6
BLUR_YEARS = 6.0

_DISTANCE = np.arange(len(YEARS))[:, None] - np.arange(len(YEARS))[None, :]
_BLUR = np.exp(-0.5 * (_DISTANCE / BLUR_YEARS) ** 2)
_BLUR = (_BLUR / _BLUR.sum(axis=1, keepdims=True)).astype(np.float32)


def calibrate(probabilities: Float32) -> Float32:
    """``(N, 81)`` probabilities of the network to ``(N, 81)`` probabilities that can be believed."""
    tempered = np.power(probabilities, 1 / TEMPERATURE)
    tempered /= tempered.sum(axis=1, keepdims=True)
    return (tempered @ _BLUR).astype(np.float32)


class DlibAge(dlib_chips.ChipClassifier):
    """A probability for each year 0..80."""

    name = "dlib-age"
    crop = CropSpec(64, dlib_chips.template(64, padding=0.2))
    classes = len(YEARS)

    def ages(self, outputs: Float32) -> list[Age]:
        """One `Age` for each row of `probabilities`."""
        return [age_range(row) for row in calibrate(outputs)]

    def estimate(self, chips: Chips) -> list[Age]:
        """chips ``(N, 64, 64, 3)`` uint8 RGB, cut as `crop` says."""
        return self.ages(self.probabilities(chips))


def _dlib(weights: Weights, compute: Compute) -> AgeEstimator:
    return DlibAge(weights.path, compute)


def _serve(network: AgeEstimator) -> FaceModel:
    return FaceModel.of(network, (network.crop,), network.outputs, network.ages)


AGE = FaceAttribute(
    "age",
    Age,
    FaceRole(
        "age",
        {".onnx": age_gender.own, "dlib-age": _dlib},
        _serve,
        own=age_gender.WEIGHTS,
        own_summary=age_gender.SUMMARY,
    ),
    called={"compreface": "age"},
)
