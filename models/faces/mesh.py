"""A dense mesh of a face: MediaPipe's face mesh (Kartynnik et al. 2019, arXiv:1907.06724)."""

from pathlib import Path

import cv2
import numpy as np

from prosopon.models.faces.detections import Float32
from prosopon.models.pictures.crops import CropSpec, to_picture
from prosopon.models.roles import Chips
from prosopon.models.runtime.fingerprint import fingerprint
from prosopon.models.runtime.prepared import prepare
from prosopon.models.runtime.session import Compute, create_session

SIDE = 192
"""Of the square that the network sees, in pixels."""
SIZE = 256
"""Of the chips: around that square they have room to move it."""

# The network wants what it was trained on, a square of 1.5 times the longer side of the points' bounding box, turned
# by the eyes. Here is where CenterFace's landmarks lie in such squares, as shares of their side: means of 184 portraits
# of `faker` that face the camera, made symmetric; the standard deviations are 0.01 to 0.03.
_MARGIN = 1.5
_FIVE = ((0.3625, 0.3855), (0.6375, 0.3855), (0.5, 0.537), (0.3815, 0.651), (0.6185, 0.651))
_LEFT_EYE, _RIGHT_EYE, _NOSE, _LEFT_MOUTH, _RIGHT_MOUTH = (
    (SIZE / 2 - 0.5 + (x - 0.5) * SIDE, SIZE / 2 - 0.5 + (y - 0.5) * SIDE) for x, y in _FIVE
)
_OUTER_CORNERS = (33, 263)
"""Of the eyes."""

# A square that misses the wanted one by less is not worth a second look: on portraits that face the camera the points
# stay where they are, to a hundredth of the distance between the eyes.
_SHIFT, _SCALE, _TURN = 0.04, 0.05, float(np.radians(4))
"""In sides, in the logarithm of the side, and in radians."""
_LOOKS = 2
_A_FACE = 0.5
_MIDDLE = np.array([[1, 0, (SIDE - SIZE) / 2], [0, 1, (SIDE - SIZE) / 2]], np.float32)
"""From a chip's pixels to those of its middle."""


class FaceMesh:
    """468 points with depth. Points that the chip does not show are extrapolated."""

    name = "mediapipe-face-mesh"
    crop = CropSpec(SIZE, (_LEFT_EYE, _RIGHT_EYE, _NOSE, _LEFT_MOUTH, _RIGHT_MOUTH))
    count = 468
    preprocessing = 1

    def __init__(self, path: Path, compute: Compute) -> None:
        """path: MediaPipe's ``face_landmark.tflite``, converted to ONNX on first use."""
        self.fingerprint = fingerprint(self.name, self.preprocessing, path)
        self._session = create_session(prepare([path], "onnx", 1, lambda: convert(path)), compute)

    def predict(self, chips: Chips) -> Float32:
        """chips ``(N, 256, 256, 3)`` uint8 RGB to ``(N, 468, 3)`` float32: x, y and z in crop pixels.

        z grows away from the camera; its zero is in the head, about between the ears.
        """
        return self.find(chips)[0]

    def find(self, chips: Chips) -> tuple[Float32, Float32]:
        """The points of `predict`, and ``(N,)`` how sure the network is that it sees a face, 0..1.

        A face that lies in the network's square as it should not is looked at again in a better one.
        """
        points = np.zeros((len(chips), self.count, 3), np.float32)
        scores = np.zeros(len(chips), np.float32)
        matrices = np.repeat(_MIDDLE[None], len(chips), axis=0)
        pending = list(range(len(chips)))
        for _ in range(_LOOKS):
            if not pending:
                break
            squares = [cv2.warpAffine(chips[index], matrices[index], (SIDE, SIDE)) for index in pending]
            bad = []
            for index, found, score in zip(pending, *self._run(np.stack(squares)), strict=True):
                if score < min(scores[index], _A_FACE):
                    continue  # The better square was none.
                points[index], scores[index] = to_picture(found, matrices[index]), score
                if misses(found):
                    matrices[index] = square(points[index])
                    bad.append(index)
            pending = bad
        return points, scores

    def _run(self, squares: Chips) -> tuple[Float32, Float32]:
        """``(N, 192, 192, 3)`` to points in their pixels, and scores."""
        points, logits = self._session.run(None, {"chips": squares.astype(np.float32) / np.float32(255)})
        return points.reshape(-1, self.count, 3), 1 / (1 + np.exp(-logits.reshape(-1)))


def convert(path: Path) -> bytes:
    from prosopon.models.convert.tflite import read, to_onnx

    return to_onnx(read(path), ("chips",), ("points", "logits"))


def _wanted(points: Float32) -> tuple[Float32, float, float]:
    """Centre ``(2,)``, side and angle in radians of the square that the network would see these points in best."""
    left, right = points[_OUTER_CORNERS, :2]
    across = right - left
    angle = float(np.arctan2(across[1], across[0]))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], np.float32)
    upright = points[:, :2] @ turn.T
    low, high = upright.min(axis=0), upright.max(axis=0)
    return (low + high) / 2 @ turn, _MARGIN * float((high - low).max()), angle


def misses(points: Float32) -> bool:
    """Whether points ``(468, 3)`` in a square's pixels lie in it as they should not."""
    centre, side, angle = _wanted(points)
    shift = np.abs(centre - (SIDE / 2 - 0.5)).max() / SIDE
    return bool(shift > _SHIFT or abs(np.log(max(side, 1.0) / SIDE)) > _SCALE or abs(angle) > _TURN)


def square(points: Float32) -> Float32:
    """The ``(2, 3)`` transform from the pixels of points ``(468, 3)`` to those of the square around them."""
    centre, side, angle = _wanted(points)
    zoom = SIDE / max(side, 1.0)
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    turn = np.array([[cos, sin], [-sin, cos]])
    return np.column_stack([turn, SIDE / 2 - 0.5 - turn @ centre]).astype(np.float32)
