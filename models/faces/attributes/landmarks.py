"""68 landmarks by an ensemble of regression trees (Kazemi & Sullivan 2014), dlib's shape predictor."""

from pathlib import Path

import numpy as np

from prosopon.models.faces import dlib_chips
from prosopon.models.faces.attributes.declaration import (
    FaceAttribute,
    FaceInPicture,
    FaceModel,
    FaceRole,
)
from prosopon.models.faces.detections import Float32
from prosopon.models.faces.head_pose import head_pose
from prosopon.models.pictures.crops import CropSpec, to_picture
from prosopon.models.roles import Chips, HeadPose, LandmarkPredictor
from prosopon.models.runtime.fingerprint import fingerprint
from prosopon.models.runtime.session import Compute
from prosopon.models.weights.registry import Weights

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
        import dlib  # Large, and this file is read by processes that run no model.

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


def five_points(landmarks: Float32) -> Float32:
    """``(..., 68, 2)`` iBUG points to the ``(..., 5, 2)`` of `Detections.landmarks`."""
    left_eye = landmarks[..., 36:42, :].mean(axis=-2)
    right_eye = landmarks[..., 42:48, :].mean(axis=-2)
    nose, left_mouth, right_mouth = (landmarks[..., index, :] for index in (30, 48, 54))
    return np.stack([left_eye, right_eye, nose, left_mouth, right_mouth], axis=-2)


def _dlib(weights: Weights, compute: Compute) -> LandmarkPredictor:
    return DlibLandmarks68(weights.path)


def _serve(network: LandmarkPredictor) -> FaceModel:
    return FaceModel.of(network, (network.crop,), network.predict, dim=network.count)


def _in_picture(points: Float32, face: FaceInPicture) -> Float32:
    return to_picture(points, face.matrices[0])


def _pose(points: Float32, face: FaceInPicture) -> HeadPose:
    return head_pose(_in_picture(points, face), (face.width, face.height))


ROLE: FaceRole[LandmarkPredictor] = FaceRole("landmarks", {"dlib-landmarks68": _dlib, ".dat": _dlib}, _serve)

LANDMARKS: FaceAttribute[Float32] = FaceAttribute(
    "landmarks",
    np.ndarray,
    None,
    lambda _, face: face.landmarks,
    called={"compreface": "landmarks"},
)
"""The detector's five, ``(5, 2)`` in pixels of the upright picture."""

DENSE_LANDMARKS: FaceAttribute[Float32] = FaceAttribute(
    "dense_landmarks", np.ndarray, ROLE, _in_picture, called={"compreface": "landmarks2d106"}
)
"""``(68, 2)``, ``(98, 2)`` or ``(106, 2)`` in pixels of the upright picture."""

POSE = FaceAttribute("pose", HeadPose, ROLE, _pose, called={"compreface": "pose"})
