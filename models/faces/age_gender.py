"""Age and gender by one small network of our own, see `models/weights/AGE_GENDER.md`."""

from pathlib import Path

from prosopon.models.pictures.crops import CropSpec

WEIGHTS = Path(__file__).parent.parent / "weights" / "age_gender.onnx"
"""The committed weights."""

BANDS = ((0, 2), (3, 9), (10, 19), (20, 29), (30, 39), (40, 49), (50, 59), (60, 69), (70, 80))
"""FairFace's bands of age: first and last year. The last, "more than 70", has no end; `YEARS` ends at 80."""

# Where CenterFace finds eyes, nose and mouth corners in FairFace's aligned chips of 128 pixels: the median.
CROP = CropSpec(128, ((42.7, 58.5), (87.3, 57.7), (64.2, 83.1), (46.5, 103.6), (82.6, 103.0)))
