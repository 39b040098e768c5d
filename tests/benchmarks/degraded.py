"""Worse copies of portraits: what a probe from a phone, a video or a screenshot looks like."""

from collections.abc import Callable

import cv2
import numpy as np

from prosopon.models.faces.detections import Detections, RGBImage

Degradation = Callable[[RGBImage, Detections, np.random.Generator], RGBImage]


def _blurred(picture: RGBImage, face: Detections, rng: np.random.Generator) -> RGBImage:
    """A Gaussian of 3 to 6 % of the face's width."""
    sigma = rng.uniform(0.03, 0.06) * _width(face)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8)


def _shrunk(picture: RGBImage, face: Detections, rng: np.random.Generator) -> RGBImage:
    """A face of 14 to 28 pixels, enlarged again."""
    zoom = rng.uniform(14, 28) / _width(face)
    small = cv2.resize(picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
    return _enlarged(small, picture)


def _noisy(picture: RGBImage, face: Detections, rng: np.random.Generator) -> RGBImage:
    """Darker, with the noise of a small sensor: a face of 64 pixels with a deviation of 8 to 20."""
    zoom = 64 / _width(face)
    small = cv2.resize(picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA).astype(np.float32)
    noise = rng.normal(0, rng.uniform(8, 20), small.shape)
    return _enlarged(np.clip(small * rng.uniform(0.4, 0.9) + noise, 0, 255).astype(np.uint8), picture)


def _compressed(picture: RGBImage, face: Detections, rng: np.random.Generator) -> RGBImage:
    """A face of 40 to 64 pixels in a JPEG of quality 8 to 20."""
    zoom = rng.uniform(40, 64) / _width(face)
    small = cv2.resize(picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
    _, file = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(8, 21))])
    return _enlarged(np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR), np.uint8), picture)


def _covered(picture: RGBImage, face: Detections, rng: np.random.Generator) -> RGBImage:
    """A bar over the eyes, the mouth or one side of the face."""
    x1, y1, x2, y2 = (int(value) for value in face.boxes[0])
    left, right, nose, *_ = face.landmarks[0]
    width, height = x2 - x1, y2 - y1
    eyes = int((left[1] + right[1]) / 2)
    covered = picture.copy()
    side = int(rng.integers(0, 4))
    if side == 0:
        covered[max(0, eyes - height // 10) : eyes + height // 10, max(0, x1) : x2] = 20
    elif side == 1:
        covered[max(0, int(nose[1])) : y2, max(0, x1) : x2] = 210
    elif side == 2:
        covered[max(0, y1) : y2, max(0, x1) : x1 + width * 2 // 5] = 90
    else:
        covered[max(0, y1) : y2, x2 - width * 2 // 5 : x2] = 90
    return covered


DEGRADATIONS: dict[str, Degradation] = {
    "blur": _blurred,
    "small": _shrunk,
    "noise": _noisy,
    "jpeg": _compressed,
    "covered": _covered,
}


def _width(face: Detections) -> float:
    return float(face.boxes[0, 2] - face.boxes[0, 0])


def _enlarged(small: RGBImage, picture: RGBImage) -> RGBImage:
    size = (picture.shape[1], picture.shape[0])
    return np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_CUBIC), np.uint8)
