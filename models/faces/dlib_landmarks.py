"""68 landmarks by an ensemble of regression trees (Kazemi & Sullivan 2014), dlib's shape predictor."""

from pathlib import Path

import numpy as np

from prosopon.models.faces import dlib_chips
from prosopon.models.faces.detections import Float32
from prosopon.models.pictures.crops import CropSpec
from prosopon.models.roles import Chips
from prosopon.models.runtime.fingerprint import fingerprint
from prosopon.models.weights.registry import ModelUnavailable

SIZE = 192
PADDING = 0.5

# The predictor starts from its mean shape laid into the detector's box, so the box decides how well it does.
# Chips aligned by five landmarks hold still what a box lets move: roll, and a detector's way with boxes. In
# such a chip dlib's kind of box is a fixed square, given here in units of `dlib_chips.MEAN_FACE`. Its centre
# and side were chosen from a grid by the distance to CenterFace's landmarks on the London and FairFace
# portraits; box crops were 0.08 to 0.1 inter-ocular distances worse on hard poses.
BOX_CENTRE = (0.490, 0.451)
BOX_SIDE = 1.15


def box_in_chip() -> tuple[int, int, int, int]:
    """left, top, right, bottom of the box that the predictor gets, in pixels of a chip."""
    unit = SIZE / (1 + 2 * PADDING)
    left, top = ((PADDING + centre - BOX_SIDE / 2) * unit for centre in BOX_CENTRE)
    return round(left), round(top), round(left + BOX_SIDE * unit), round(top + BOX_SIDE * unit)


class DlibLandmarks68:
    """iBUG's 68 points. Points that the chip does not show are extrapolated."""

    name = "dlib-landmarks68"
    crop = CropSpec(SIZE, dlib_chips.template(SIZE, PADDING))
    count = 68
    preprocessing = 1

    def __init__(self, path: Path) -> None:
        """Raises `ModelUnavailable` where dlib is not installed, which only this model needs."""
        try:
            import dlib
        except ImportError as error:
            raise ModelUnavailable(
                f"'{self.name}' needs dlib: install prosopon with the extra 'dlib'"
            ) from error
        self.fingerprint = fingerprint(self.name, self.preprocessing, path)
        self._predictor = dlib.shape_predictor(str(path))
        self._box = dlib.rectangle(*box_in_chip())

    def predict(self, chips: Chips) -> Float32:
        """chips ``(N, 192, 192, 3)`` uint8 RGB to ``(N, 68, 2)`` float32, x y in crop pixels.

        One after the other, about a millisecond each: regression trees gain nothing from a batch.
        """
        shapes = [self._predictor(np.ascontiguousarray(chip), self._box) for chip in chips]
        points = [[(part.x, part.y) for part in shape.parts()] for shape in shapes]
        return np.array(points, np.float32).reshape(len(chips), self.count, 2)
