"""Head pose from landmarks: the rotation under which a rigid model of a face lies on them, or projects onto them."""

import cv2
import numpy as np
from numpy.typing import NDArray

from prosopon.models.faces.detections import Float32
from prosopon.models.faces.landmarks import IBUG, MESH
from prosopon.models.roles import HeadPose

# The anthropometric 3D face of Martins & Batista, "Accurate single view model-based head pose estimation"
# (FG 2008), centimetres, in OpenCV's axes as seen in a frontal picture: x to the viewer's right, y down, z
# away from the camera. Keys are iBUG indices. The lower lip (57) and the chin (8) of that model are left out:
# a mouth that opens would read as pitch.
FACE_MODEL = {
    17: (-6.825897, -6.760612, -4.402142),
    21: (-1.330353, -7.122144, -6.903745),
    22: (1.330353, -7.122144, -6.903745),
    26: (6.825897, -6.760612, -4.402142),
    36: (-5.311432, -5.485328, -3.987654),
    39: (-1.789930, -5.393625, -4.413414),
    42: (1.789930, -5.393625, -4.413414),
    45: (5.311432, -5.485328, -3.987654),
    31: (-2.005628, -1.409845, -6.165652),
    35: (2.005628, -1.409845, -6.165652),
    48: (-2.774015, 2.080775, -5.048531),
    54: (2.774015, 2.080775, -5.048531),
}

_INDICES = np.array(list(FACE_MODEL))
_POINTS = np.array(list(FACE_MODEL.values()), np.float64)

# Of MediaPipe's canonical face (its face geometry module, Apache-2.0) the vertices by which it is laid onto a mesh, in
# centimetres and the axes of `FACE_MODEL`, and their weights: those in the middle, and those on the viewer's left with
# the vertex that mirrors each.
_IN_THE_MIDDLE = {
    4: (0.0, 0.463, -7.587, 0.0709),
    6: (0.0, -2.473, -5.789, 0.0321),
    10: (0.0, -8.262, -4.482, 0.0084),
}
_ON_BOTH_SIDES = {
    (33, 263): (-4.446, -2.664, -3.173, 0.0587),
    (54, 284): (-6.279, -6.615, -1.426, 0.0077),
    (67, 297): (-3.524, -8.006, -3.729, 0.0091),
    (117, 346): (-5.259, -0.946, -2.974, 0.0098),
    (119, 348): (-3.301, -0.862, -3.873, 0.0146),
    (121, 350): (-1.821, -1.468, -4.224, 0.0186),
    (127, 356): (-7.743, -2.365, 2.005, 0.0052),
    (129, 358): (-1.786, 0.978, -4.850, 0.1206),
    (132, 361): (-7.271, 2.891, 2.252, 0.0056),
    (133, 362): (-1.856, -2.585, -3.758, 0.0533),
    (136, 365): (-5.085, 7.179, -0.715, 0.0669),
    (143, 372): (-6.408, -2.236, -1.561, 0.0148),
    (147, 376): (-6.235, 1.944, -1.664, 0.0143),
    (198, 420): (-1.247, -0.230, -5.681, 0.0255),
    (205, 425): (-3.833, 1.537, -4.138, 0.0473),
}
CANONICAL_FACE: dict[int, tuple[float, float, float, float]] = {
    **_IN_THE_MIDDLE,
    **{left: place for (left, _), place in _ON_BOTH_SIDES.items()},
    **{right: (-x, y, z, weight) for (_, right), (x, y, z, weight) in _ON_BOTH_SIDES.items()},
}
"""Vertex of the mesh -> x, y, z, weight."""

_VERTICES = np.array(list(CANONICAL_FACE))
_CANONICAL = np.array([place[:3] for place in CANONICAL_FACE.values()], np.float64)
_WEIGHTS = np.array([place[3] for place in CANONICAL_FACE.values()], np.float64)
_WEIGHTS /= _WEIGHTS.sum()


def camera_matrix(image_size: tuple[int, int]) -> NDArray[np.float64]:
    """A pinhole whose focal length is the picture's longer side (53 degrees across), seen from its centre.

    image_size: width, height.
    """
    width, height = image_size
    focal = float(max(width, height))
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])


def angles(rotation: NDArray[np.float64]) -> HeadPose:
    """Degrees of a ``(3, 3)`` rotation from the face model's axes to the camera's.

    The rotation is taken apart as yaw, then pitch, then roll: the face turns about the vertical, nods about
    its own horizontal, and tilts about the line of its nose.
    """
    # Where the face looks; in the model it is towards the camera, along -z.
    x, y, z = rotation @ np.array([0.0, 0.0, -1.0])
    yaw, pitch = np.arctan2(x, -z), np.arcsin(np.clip(-y, -1, 1))
    tilt = (_rotation(pitch, yaw, 0.0).T @ rotation)[:, 0]
    return HeadPose(*(float(np.degrees(a)) for a in (pitch, yaw, np.arctan2(tilt[1], tilt[0]))))


def rotation_matrix(pose: HeadPose) -> NDArray[np.float64]:
    """The ``(3, 3)`` rotation that `angles` takes apart."""
    return _rotation(*np.radians([pose.pitch, pose.yaw, pose.roll]))


def _rotation(pitch: float, yaw: float, roll: float) -> NDArray[np.float64]:
    # Signs: x right, y down, z away, so that up, the viewer's right and clockwise are positive.
    about_x, about_y, about_z = (
        np.asarray(cv2.Rodrigues(np.array(axis, np.float64))[0], np.float64)
        for axis in ((-pitch, 0, 0), (0, -yaw, 0), (0, 0, roll))
    )
    return about_y @ about_x @ about_z


def head_pose(landmarks: Float32, image_size: tuple[int, int]) -> HeadPose:
    """Pitch, yaw and roll of a face.

    landmarks: ``(468, 3)`` points of the mesh, or ``(68, 2)`` iBUG points (with more columns, these are left out); x y
    in pixels of the picture; image_size: its width and height. Raises ValueError where the points have another shape,
    are not finite, or fit no face in front of the camera.
    """
    if not np.isfinite(landmarks).all():
        raise ValueError("head pose needs finite points")
    if landmarks.shape == (MESH, 3):
        return angles(_laid_onto(landmarks[_VERTICES].astype(np.float64)))
    if len(landmarks) != IBUG:
        raise ValueError(f"head pose needs {IBUG} or {MESH} points")
    observed = landmarks[_INDICES, :2].astype(np.float64)
    return angles(_projected_onto(observed, camera_matrix(image_size)))


def _laid_onto(observed: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotation of the similarity that carries the canonical face to points, by weighted least squares.

    Kabsch 1976, with the mirror image excluded. As the mesh knows no camera, the angles are those against the line
    from the camera to the face.
    """
    here, there = _CANONICAL - _WEIGHTS @ _CANONICAL, observed - _WEIGHTS @ observed
    u, spread, vt = np.linalg.svd((there * _WEIGHTS[:, None]).T @ here)
    if spread[1] < 1e-9 * max(spread[0], 1):
        raise ValueError("the landmarks fit no face")
    handed = np.sign(np.linalg.det(u @ vt))
    return np.asarray(u @ np.diag([1, 1, handed]) @ vt, np.float64)


def _projected_onto(observed: NDArray[np.float64], camera: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotation under which `FACE_MODEL` projects onto points, against the axis of the camera."""
    try:
        found, turn, shift = cv2.solvePnP(_POINTS, observed, camera, None, flags=cv2.SOLVEPNP_SQPNP)
        if found:
            turn, shift = cv2.solvePnPRefineLM(_POINTS, observed, camera, None, turn, shift)
    except cv2.error as error:
        raise ValueError("the landmarks fit no face") from error
    if not found or not np.isfinite(turn).all() or shift.item(2) <= 0:
        raise ValueError("the landmarks fit no face")
    return np.asarray(cv2.Rodrigues(turn)[0], np.float64)
