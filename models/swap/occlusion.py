"""What lies before a face or is none: our own small network, see `models/weights/OCCLUSION.md`."""

import numpy as np

from prosopon.models.faces.detections import Float32
from prosopon.models.pictures.crops import CropSpec

# Eyes, nose and mouth corners by iBUG's points: the whole forehead and a little more than the chin are in view.
CROP = CropSpec(128, ((46.5, 53.5), (80.5, 53.5), (63.5, 72.5), (49.7, 88.2), (77.3, 88.2)))


def five_points(dense: Float32) -> Float32:
    """``(5, 2)``: of 68 points those that `CROP` is aligned on. A mesh knows better than a detector where a mouth is
    that a hand covers."""
    eyes = dense[36:42].mean(axis=0), dense[42:48].mean(axis=0)
    return np.stack([*eyes, dense[30], dense[48], dense[54]]).astype(np.float32)
