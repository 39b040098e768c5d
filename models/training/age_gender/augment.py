"""Training chips: as serving cuts them, and as worse or other photographs would give them."""

from collections.abc import Sequence

import cv2
import numpy as np

from prosopon.models.faces.age_gender import CROP
from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.pictures.crops import similarity_transform

SIZE = CROP.size
_TEMPLATE = np.asarray(CROP.template, np.float32)
_MIRROR = np.array([[-1, 0, SIZE - 1], [0, 1, 0], [0, 0, 1]], np.float64)


def _square(matrix: np.ndarray) -> np.ndarray:
    return np.vstack([matrix, [0, 0, 1]])


def _warped(chip: RGBImage, matrix: np.ndarray, border: int) -> RGBImage:
    return np.asarray(cv2.warpAffine(chip, matrix[:2], (SIZE, SIZE), borderMode=border), np.uint8)


def plain(chip: RGBImage, landmarks: Float32, mirrored: bool = False) -> RGBImage:
    """A stored chip as serving cuts it, or the mirror image of that."""
    matrix = _square(similarity_transform(landmarks, _TEMPLATE))
    return _warped(chip, _MIRROR @ matrix if mirrored else matrix, cv2.BORDER_REPLICATE)


def batch(chips: Sequence[RGBImage]) -> Float32:
    """Chips ``(S, S, 3)`` as networks take them: ``(N, 3, S, S)`` float32 RGB, 0..255."""
    return np.ascontiguousarray(np.stack(chips).transpose(0, 3, 1, 2), np.float32)


def jitter(rng: np.random.Generator) -> np.ndarray:
    """``(3, 3)``: a small turn, zoom and shift about the middle of a chip."""
    angle, zoom = np.radians(rng.normal(0, 4)), np.exp(rng.normal(0, 0.05))
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.full(2, SIZE / 2)
    return _square(np.column_stack([turn, middle - turn @ middle + rng.normal(0, 0.02 * SIZE, 2)]))


def skewed(rng: np.random.Generator, chip: RGBImage) -> RGBImage:
    """A chip as if the head, or the camera, had turned a little: each corner moves by itself."""
    corners = np.array([[0, 0], [SIZE, 0], [SIZE, SIZE], [0, SIZE]], np.float32)
    moved = corners + rng.normal(0, 0.05 * SIZE, (4, 2)).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(corners, moved)
    return np.asarray(
        cv2.warpPerspective(chip, matrix, (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def coarse(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Out of focus, from far away, or sharpened by the camera. x: ``(S, S, 3)`` float32."""
    kind = rng.random()
    if kind < 0.4:
        return np.asarray(cv2.GaussianBlur(x, (0, 0), float(rng.uniform(0.4, 2.2))))
    if kind < 0.7:
        side = int(rng.integers(24, 80))
        return np.asarray(
            cv2.resize(cv2.resize(x, (side, side), interpolation=cv2.INTER_AREA), x.shape[1::-1])
        )
    return x + rng.uniform(0.2, 1.0) * (x - cv2.GaussianBlur(x, (0, 0), float(rng.uniform(0.7, 1.5))))


def varied(rng: np.random.Generator, chip: RGBImage, landmarks: Float32, mirrored: bool) -> RGBImage:
    """A stored chip as another picture would have given it: moved, in other light and colours, worse, covered."""
    matrix = jitter(rng) @ _square(similarity_transform(landmarks, _TEMPLATE))
    border = cv2.BORDER_REPLICATE if rng.random() < 0.7 else cv2.BORDER_CONSTANT
    warped = _warped(chip, _MIRROR @ matrix if mirrored else matrix, border)
    x = (skewed(rng, warped) if rng.random() < 0.3 else warped).astype(np.float32)
    if rng.random() < 0.7:
        x = (x - x.mean()) * np.exp(rng.normal(0, 0.15)) + x.mean() * np.exp(rng.normal(0, 0.15))
    if rng.random() < 0.5:
        x = x * np.exp(rng.normal(0, 0.06, 3)).astype(np.float32)
    if rng.random() < 0.1:
        x = np.repeat(x.mean(axis=2, keepdims=True), 3, axis=2)
    if rng.random() < 0.4:
        x = coarse(rng, x)
    if rng.random() < 0.15:
        x = x + rng.normal(0, rng.uniform(2, 9), x.shape).astype(np.float32)
    found = np.clip(x, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        _, data = cv2.imencode(".jpg", found, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 85))])
        found = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    if rng.random() < 0.2:
        height, width = rng.integers(14, 40, 2)
        y, x1 = rng.integers(-10, SIZE - 10, 2)
        found = found.copy()
        found[max(y, 0) : max(y + height, 0), max(x1, 0) : max(x1 + width, 0)] = rng.integers(0, 255, 3)
    return found
