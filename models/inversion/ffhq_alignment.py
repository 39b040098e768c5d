"""Alignment as FFHQ's pictures have it (Karras et al. 2019, appendix A): what face generators were trained on.

A square around the face, turned with it, whose size follows from the eyes and the mouth; where it reaches past the
picture, the picture is mirrored and fades into a blur of itself, so that no hard border is there to be imitated.
"""

import cv2
import numpy as np

from prosopon.models.faces.detections import Float32, RGBImage

# The square of the FFHQ dataset: its half side is the larger of twice the distance of the eyes and 1.8 times that
# of eyes and mouth; its centre lies a tenth of the way from the eyes to the mouth.
_EYES, _MOUTH, _DOWN = 2.0, 1.8, 0.1
FIVE_POINTS = ((0.371, 0.472), (0.629, 0.472), (0.5, 0.617), (0.39, 0.722), (0.61, 0.722))
"""Where CenterFace sees its landmarks in aligned chips, as shares of their sides: means of 41 portraits, made
symmetric; the standard deviations are 0.01 to 0.02."""
_MARGIN = 0.3
"""Share of the side over which a picture that ends is faded into its blur."""
_BLUR = 0.02
"""Standard deviation of that blur, of the side."""


def ffhq_matrix(landmarks: Float32, size: int) -> Float32:
    """The ``(2, 3)`` transform from picture pixels to those of an aligned chip.

    landmarks: ``(68, 2)`` in the iBUG order, or the ``(5, 2)`` of `Detections.landmarks`; in picture pixels.
    Raises ValueError where they lie all in one point.
    """
    if len(landmarks) == 68:
        left_eye, right_eye = landmarks[36:42].mean(axis=0), landmarks[42:48].mean(axis=0)
        left_mouth, right_mouth = landmarks[48], landmarks[54]
    else:
        left_eye, right_eye, _, left_mouth, right_mouth = landmarks
    eyes, across = (left_eye + right_eye) / 2, (right_eye - left_eye).astype(np.float64)
    down = ((left_mouth + right_mouth) / 2 - eyes).astype(np.float64)
    # To the right as the eyes and, turned by a quarter, the way to the mouth agree on.
    right = across + np.array([down[1], -down[0]])
    length = float(np.hypot(*right))
    if length < 1e-6:
        raise ValueError("the landmarks do not span a face")
    half = max(_EYES * float(np.hypot(*across)), _MOUTH * float(np.hypot(*down)))
    x, y = right / length, np.array([-right[1], right[0]]) / length
    centre = eyes + _DOWN * down
    rotation = np.stack([x, y]) * (size / (2 * half))
    # Pixel centres sit at integers: the chip spans -0.5 .. size - 0.5.
    return np.column_stack([rotation, size / 2 - 0.5 - rotation @ centre]).astype(np.float32)


def ffhq_chip(picture: RGBImage, landmarks: Float32, size: int) -> RGBImage:
    """The aligned chip ``(size, size, 3)`` uint8 RGB of a picture ``(H, W, 3)`` uint8 RGB."""
    matrix = ffhq_matrix(landmarks, size).astype(np.float64)
    while np.hypot(*matrix[0, :2]) < 0.5:  # Bilinear sampling of fewer than half of the pixels would alias.
        height, width = picture.shape[:2]
        smaller = (max(1, width // 2), max(1, height // 2))
        scale = np.array([width / smaller[0], height / smaller[1]])
        picture = cv2.resize(picture, smaller, interpolation=cv2.INTER_AREA)
        matrix[:, 2] += matrix[:, :2] @ (scale / 2 - 0.5)
        matrix[:, :2] *= scale
    flags = cv2.INTER_CUBIC if np.hypot(*matrix[0, :2]) > 1 else cv2.INTER_LINEAR
    options = {"flags": flags, "borderMode": cv2.BORDER_REFLECT}
    chip = cv2.warpAffine(picture, matrix, (size, size), **options).astype(np.float32)
    known = cv2.warpAffine(
        np.ones(picture.shape[:2], np.float32), matrix, (size, size), flags=cv2.INTER_NEAREST
    )
    if known.all():
        return _rounded(chip)
    outside = cv2.distanceTransform((known == 0).astype(np.uint8), cv2.DIST_L2, 5)
    faded = np.clip(outside / (_MARGIN * size), 0, 1)[..., None]
    blurred = cv2.GaussianBlur(chip, (0, 0), _BLUR * size)
    chip += (blurred - chip) * np.clip(3 * faded, 0, 1)
    return _rounded(chip + (np.median(chip, axis=(0, 1)) - chip) * faded)


def mapped(points: Float32, matrix: Float32) -> Float32:
    """Points ``(N, 2)`` in picture pixels to those of a chip."""
    found: Float32 = (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    return found


def _rounded(pixels: Float32) -> RGBImage:
    return np.asarray(np.clip(pixels + 0.5, 0, 255), np.uint8)
