"""Age and gender by one small network of our own, see `models/weights/AGE_GENDER.md`."""

from pathlib import Path

import numpy as np

from prosopon.models.faces.ages import YEARS, age_range
from prosopon.models.faces.detections import Float32
from prosopon.models.pictures.crops import CropSpec
from prosopon.models.roles import Age, Chips, Gender
from prosopon.models.runtime.fingerprint import fingerprint
from prosopon.models.runtime.session import Compute, create_session, run
from prosopon.models.weights.registry import Weights

WEIGHTS = Path(__file__).parent.parent / "weights" / "age_gender.onnx"
"""The committed weights."""

SUMMARY = "Prosopon's own network for age and gender"

BANDS = ((0, 2), (3, 9), (10, 19), (20, 29), (30, 39), (40, 49), (50, 59), (60, 69), (70, 80))
"""FairFace's bands of age: first and last year. The last, "more than 70", has no end; `YEARS` ends at 80."""

# Where CenterFace finds eyes, nose and mouth corners in FairFace's aligned chips, shrunk to 112 pixels: the median,
# made symmetric, so that a mirrored chip is one too.
CROP = CropSpec(112, ((35.99, 50.93), (75.01, 50.93), (55.5, 72.8), (39.7, 90.48), (71.3, 90.48)))

_BAND_OF_YEAR = np.array([[low <= year <= high for year in range(len(YEARS))] for low, high in BANDS])
_YEARS_OF_BANDS = (_BAND_OF_YEAR / _BAND_OF_YEAR.sum(axis=1, keepdims=True)).astype(np.float32)


def years_of(bands: Float32) -> Float32:
    """``(N, 9)`` probabilities of `BANDS` to ``(N, 81)`` of the years 0..80: within a band all years alike."""
    return np.asarray(bands @ _YEARS_OF_BANDS, np.float32)


class AgeGenderNetwork:
    """ONNX: ``(N, 3, 112, 112)`` float32 RGB, 0..255, to ``(N, 11)`` probabilities: female, male; `BANDS`."""

    crop = CROP
    preprocessing = 2

    def __init__(self, path: Path, compute: Compute) -> None:
        self.name = "prosopon-age-gender"
        self.fingerprint = fingerprint(self.name, self.preprocessing, path)
        self._session = create_session(path, compute)

    def outputs(self, chips: Chips) -> Float32:
        """chips ``(N, 112, 112, 3)`` uint8 RGB, cut as `crop` says, to ``(N, 11)`` float32 probabilities."""
        if not len(chips):
            return np.empty((0, 2 + len(BANDS)), np.float32)
        return run(self._session, np.ascontiguousarray(chips.transpose(0, 3, 1, 2), np.float32))[0]

    def ages(self, outputs: Float32) -> list[Age]:
        """One `Age` for each row of `outputs`."""
        return [age_range(row) for row in years_of(outputs[:, 2:])]

    def genders(self, outputs: Float32) -> list[Gender]:
        """One `Gender` for each row of `outputs`."""
        return [
            Gender("male", float(male)) if male > female else Gender("female", float(female))
            for female, male in outputs[:, :2]
        ]


def own(weights: Weights, compute: Compute) -> AgeGenderNetwork:
    """Opens the weights for the role of age, of gender or of both."""
    return AgeGenderNetwork(weights.path, compute)
