"""Head pose from landmarks: the rotation under which a rigid model of a face projects onto them."""

import cv2
import numpy as np
from numpy.typing import NDArray

from prosopon.models.faces.detections import Float32
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

    landmarks: ``(68, 2)`` iBUG points, x y in pixels of the picture; image_size: its width and height. Raises
    ValueError where the points have another shape, are not finite, or fit no face in front of the camera.
    """
    if landmarks.shape != (68, 2) or not np.isfinite(landmarks).all():
        raise ValueError("head pose needs 68 finite points")
    observed = landmarks[_INDICES].astype(np.float64)
    camera = camera_matrix(image_size)
    try:
        found, turn, shift = cv2.solvePnP(_POINTS, observed, camera, None, flags=cv2.SOLVEPNP_SQPNP)
        if found:
            turn, shift = cv2.solvePnPRefineLM(_POINTS, observed, camera, None, turn, shift)
    except cv2.error as error:
        raise ValueError("the landmarks fit no face") from error
    if not found or not np.isfinite(turn).all() or shift.item(2) <= 0:
        raise ValueError("the landmarks fit no face")
    return angles(np.asarray(cv2.Rodrigues(turn)[0], np.float64))
