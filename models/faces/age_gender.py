"""Age and gender by one small network of our own, see `models/weights/AGE_GENDER.md`."""

from functools import lru_cache
from pathlib import Path
from threading import Lock

import numpy as np

from prosopon.models.faces.age import YEARS, age_range
from prosopon.models.faces.detections import Float32
from prosopon.models.pictures.crops import CropSpec
from prosopon.models.roles import Age, Chips, Gender
from prosopon.models.runtime.fingerprint import fingerprint
from prosopon.models.runtime.session import Compute, create_session, run

WEIGHTS = Path(__file__).parent.parent / "weights" / "age_gender.onnx"
"""The committed weights."""

BANDS = ((0, 2), (3, 9), (10, 19), (20, 29), (30, 39), (40, 49), (50, 59), (60, 69), (70, 80))
"""FairFace's bands of age: first and last year. The last, "more than 70", has no end; `YEARS` ends at 80."""

# Where CenterFace finds eyes, nose and mouth corners in FairFace's aligned chips of 128 pixels: the median.
CROP = CropSpec(128, ((42.7, 58.5), (87.3, 57.7), (64.2, 83.1), (46.5, 103.6), (82.6, 103.0)))

_BAND_OF_YEAR = np.array([[low <= year <= high for year in range(len(YEARS))] for low, high in BANDS])
_YEARS_OF_BANDS = (_BAND_OF_YEAR / _BAND_OF_YEAR.sum(axis=1, keepdims=True)).astype(np.float32)


def years_of(bands: Float32) -> Float32:
    """``(N, 9)`` probabilities of `BANDS` to ``(N, 81)`` of the years 0..80: within a band all years alike."""
    return bands @ _YEARS_OF_BANDS


class AgeGenderNetwork:
    """ONNX: ``(N, 3, 128, 128)`` float32 RGB, 0..255, to ``(N, 11)`` probabilities: female, male; `BANDS`.

    Who asks for the ages of some chips asks for their genders next, or at the same time from another thread: the
    last answer is kept, so that the network runs once for both.
    """

    crop = CROP
    preprocessing = 1

    def __init__(self, path: Path, compute: Compute) -> None:
        self.name = "prosopon-age-gender"
        self.fingerprint = fingerprint(self.name, self.preprocessing, path)
        self._session = create_session(path, compute)
        self._lock = Lock()
        self._last: tuple[Chips, Float32] | None = None

    def probabilities(self, chips: Chips) -> tuple[Float32, Float32]:
        """``(N, 2)`` female, male, and ``(N, 9)`` in the order of `BANDS`.

        chips: ``(N, 128, 128, 3)`` uint8 RGB, cut as `crop` says.
        """
        if not len(chips):
            return np.empty((0, 2), np.float32), np.empty((0, len(BANDS)), np.float32)
        with self._lock:
            if self._last is None or not np.array_equal(self._last[0], chips):
                batch = np.ascontiguousarray(chips.transpose(0, 3, 1, 2), np.float32)
                self._last = chips.copy(), run(self._session, batch)[0]
            found = self._last[1]
        return found[:, :2], found[:, 2:]


@lru_cache(maxsize=1)
def _shared(path: Path, compute: Compute) -> AgeGenderNetwork:
    return AgeGenderNetwork(path, compute)


class AgeOfNetwork:
    """The role age of an `AgeGenderNetwork`, shared in the process with `GenderOfNetwork`."""

    crop = CROP

    def __init__(self, path: Path, compute: Compute) -> None:
        self._network = _shared(path, compute)
        self.name, self.fingerprint = self._network.name, self._network.fingerprint

    def estimate(self, chips: Chips) -> list[Age]:
        """chips ``(N, 128, 128, 3)`` uint8 RGB, cut as `crop` says."""
        return [age_range(row) for row in years_of(self._network.probabilities(chips)[1])]


class GenderOfNetwork:
    """The role gender of an `AgeGenderNetwork`, shared in the process with `AgeOfNetwork`."""

    crop = CROP

    def __init__(self, path: Path, compute: Compute) -> None:
        self._network = _shared(path, compute)
        self.name, self.fingerprint = self._network.name, self._network.fingerprint

    def classify(self, chips: Chips) -> list[Gender]:
        """chips ``(N, 128, 128, 3)`` uint8 RGB, cut as `crop` says."""
        return [
            Gender("male", float(male)) if male > female else Gender("female", float(female))
            for female, male in self._network.probabilities(chips)[0]
        ]
