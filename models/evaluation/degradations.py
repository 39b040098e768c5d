"""Ten ways in which a probe is worse than a studio's portrait. Sizes are those of the face, not of the picture."""

from collections.abc import Callable

import cv2
import numpy as np

from prosopon.models.faces.detections import Detections, RGBImage

Degradation = Callable[[RGBImage, Detections], RGBImage]
_CHIP = 112
"""Width of the face, in pixels, to which blur is relative."""


def width(face: Detections) -> float:
    """Of the first box, in pixels."""
    return float(face.boxes[0, 2] - face.boxes[0, 0])


def _resized(picture: RGBImage, factor: float) -> RGBImage:
    area = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, None, fx=factor, fy=factor, interpolation=area), np.uint8)


def shrunk(pixels: int) -> Degradation:
    """A face so many pixels wide, in a picture enlarged again to its size."""

    def change(picture: RGBImage, face: Detections) -> RGBImage:
        small = _resized(picture, pixels / width(face))
        size = (picture.shape[1], picture.shape[0])
        return np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_CUBIC), np.uint8)

    return change


def compressed(quality: int) -> Degradation:
    """A face of 112 px in a JPEG."""

    def change(picture: RGBImage, face: Detections) -> RGBImage:
        small = _resized(picture, min(1.0, _CHIP / width(face)))
        _, file = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR), np.uint8)

    return change


def blurred(sigma: float) -> Degradation:
    """A Gaussian; sigma in pixels of a face of 112 px."""

    def change(picture: RGBImage, face: Detections) -> RGBImage:
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma * width(face) / _CHIP), np.uint8)

    return change


def _dark(picture: RGBImage, face: Detections) -> RGBImage:
    """A sixth of the light, and a sensor's noise."""
    noise = np.random.default_rng(0).normal(0, 3, picture.shape)
    return np.clip(picture / 6 + noise, 0, 255).astype(np.uint8)


def turned(degrees: float) -> Degradation:
    """About the face's middle, counter-clockwise."""

    def change(picture: RGBImage, face: Detections) -> RGBImage:
        x, y = (face.boxes[0, :2] + face.boxes[0, 2:]) / 2
        matrix = cv2.getRotationMatrix2D((float(x), float(y)), degrees, 1)
        size = (picture.shape[1], picture.shape[0])
        return np.asarray(cv2.warpAffine(picture, matrix, size, borderMode=cv2.BORDER_REPLICATE), np.uint8)

    return change


def _masked(picture: RGBImage, face: Detections) -> RGBImage:
    """A surgical mask: from the bridge of the nose over the cheeks to below the chin."""
    left, right, nose, left_mouth, right_mouth = face.landmarks[0]
    across, down = (right - left) / 2, (left_mouth + right_mouth - left - right) / 2
    top = (nose + (left + right) / 2) / 2
    chin = (left_mouth + right_mouth) / 2 + down * 0.75
    points = [top, top + across * 1.6 + down * 0.2, right_mouth + across * 0.9, chin + across * 0.7]
    points += [chin - across * 0.7, left_mouth - across * 0.9, top - across * 1.6 + down * 0.2]
    return _filled(picture, points, (190, 215, 225))


def _sunglasses(picture: RGBImage, face: Detections) -> RGBImage:
    left, right = face.landmarks[0, :2]
    across = right - left
    changed = picture.copy()
    radius = float(np.linalg.norm(across)) * 0.34
    angle = float(np.degrees(np.arctan2(across[1], across[0])))
    for eye in (left, right):
        center, axes = (round(float(eye[0])), round(float(eye[1]))), (round(radius), round(radius * 0.8))
        cv2.ellipse(changed, center, axes, angle, 0, 360, (15, 15, 18), -1, cv2.LINE_AA)
    ends = [tuple(map(round, (eye).tolist())) for eye in (left, right)]
    cv2.line(changed, ends[0], ends[1], (15, 15, 18), max(1, round(radius / 6)), cv2.LINE_AA)
    return changed


def _half_lit(picture: RGBImage, face: Detections) -> RGBImage:
    """Light from one side: the other half of the face has a fifth of it."""
    left, right = face.landmarks[0, :2]
    middle, across = (left + right) / 2, (right - left) / np.linalg.norm(right - left)
    y, x = np.indices(picture.shape[:2], np.float32)
    side = ((x - middle[0]) * across[0] + (y - middle[1]) * across[1]) / (0.15 * width(face))
    light = 0.2 + 0.8 / (1 + np.exp(-side))
    lit: RGBImage = np.clip(picture * light[..., np.newaxis], 0, 255).astype(np.uint8)
    return lit


def _grey(picture: RGBImage, face: Detections) -> RGBImage:
    return np.asarray(cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)


def _filled(picture: RGBImage, points: list[np.ndarray], colour: tuple[int, int, int]) -> RGBImage:
    outline = np.round(np.array(points)).astype(np.int32)
    return np.asarray(cv2.fillPoly(picture.copy(), [outline], colour, cv2.LINE_AA), np.uint8)


DEGRADATIONS: dict[str, Degradation] = {
    "jpeg 20": compressed(20),
    "32 px": shrunk(32),
    "24 px": shrunk(24),
    "blur 2": blurred(2),
    "dark": _dark,
    "turned 25": turned(25),
    "mask": _masked,
    "sunglasses": _sunglasses,
    "half lit": _half_lit,
    "grey": _grey,
}
