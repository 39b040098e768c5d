"""Landmarks and what follows from them. The networks are in files of their own, opened here by their names."""

import numpy as np

from prosopon.models.faces.attributes.declaration import (
    FaceAttribute,
    FaceInPicture,
    FaceModel,
    FaceRole,
    ModelCard,
)
from prosopon.models.faces.detections import Float32
from prosopon.models.faces.head_pose import head_pose
from prosopon.models.faces.landmarks import INSIGHTFACE, five_points, has_ibug, ibug
from prosopon.models.pictures.crops import to_picture
from prosopon.models.roles import HeadPose, LandmarkPredictor
from prosopon.models.runtime.session import Compute
from prosopon.models.weights.registry import Weights


def _mesh(weights: Weights, compute: Compute) -> LandmarkPredictor:
    from prosopon.models.faces.mesh import FaceMesh

    return FaceMesh(weights.path, compute)


def _dlib(weights: Weights, compute: Compute) -> LandmarkPredictor:
    from prosopon.models.faces.dlib_landmarks import DlibLandmarks68

    return DlibLandmarks68(weights.path)


def _serve(network: LandmarkPredictor) -> FaceModel:
    return FaceModel.of(network, (network.crop,), network.predict, dim=network.count)


def _in_picture(points: Float32, face: FaceInPicture) -> Float32:
    return to_picture(points, face.matrices[0])


def _ibug(points: Float32, face: FaceInPicture) -> Float32:
    return ibug(_in_picture(points, face))


def _five(points: Float32, face: FaceInPicture) -> Float32:
    return five_points(_ibug(points, face))


def _pose(points: Float32, face: FaceInPicture) -> HeadPose:
    return head_pose(_in_picture(points, face), (face.width, face.height))


def _has_ibug(card: ModelCard) -> bool:
    return has_ibug(card.dim)


ROLE: FaceRole[LandmarkPredictor] = FaceRole(
    "landmarks",
    {"mediapipe-face-mesh": _mesh, "dlib-landmarks68": _dlib, ".dat": _dlib},
    _serve,
)

LANDMARKS: FaceAttribute[Float32] = FaceAttribute(
    "landmarks",
    np.ndarray,
    None,
    lambda _, face: face.landmarks,
    called={"compreface": "landmarks"},
)
"""The detector's five, ``(5, 2)`` in pixels of the upright picture, as are the points of all of these."""

FIVE_LANDMARKS: FaceAttribute[Float32] = FaceAttribute(
    "five_landmarks", np.ndarray, ROLE, _five, _has_ibug, called={"compreface": "landmarks"}
)
"""The same five where a model of landmarks tells them: it comes after `LANDMARKS`, before which it goes."""

IBUG_LANDMARKS: FaceAttribute[Float32] = FaceAttribute("landmarks68", np.ndarray, ROLE, _ibug, _has_ibug)
"""iBUG's, ``(68, 2)``."""

INSIGHTFACE_LANDMARKS: FaceAttribute[Float32] = FaceAttribute(
    "landmarks106",
    np.ndarray,
    ROLE,
    _in_picture,
    lambda card: card.dim == INSIGHTFACE,
    called={"compreface": "landmarks2d106"},
)
"""InsightFace's, ``(106, 2)``."""

POSE = FaceAttribute("pose", HeadPose, ROLE, _pose, _has_ibug, called={"compreface": "pose"})
