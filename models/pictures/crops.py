"""Cutting what a model wants to see out of a picture: aligned chips and box crops.

A model declares its `CropSpec`; the detector's process, which holds the decoded picture, cuts it. Only these
small uint8 arrays travel to other processes.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from prosopon.models.faces.detections import Float32, RGBImage

Point = tuple[float, float]
_TURNED = 45.0
"""Degrees from which a box crop is turned upright."""


@dataclass(frozen=True, slots=True)
class CropSpec:
    """How to cut the input of one model.

    With `template` (five points in chip pixels, order of `Detections.landmarks`) the chip is aligned by the
    least-squares similarity transform from the landmarks to the template. Without it, an upright square centred on
    the box is cut whose side is `scale` times the longer side of the box (times each side when `square` is
    false), then resized to `size`.

    A square around a face that is turned by more than 45 degrees is turned with it.

    With `inside` a box crop that would reach past the picture is shrunk (both sides alike) until it fits and
    then shifted until it lies in the picture.
    """

    size: int
    template: tuple[Point, Point, Point, Point, Point] | None = None
    scale: float = 1.0
    square: bool = True
    inside: bool = False


@dataclass(frozen=True, slots=True)
class Crop:
    """pixels: ``(size, size, 3)`` uint8 RGB; matrix: ``(2, 3)`` float32 from picture to crop pixels."""

    pixels: RGBImage
    matrix: Float32

    def to_picture(self, points: Float32) -> Float32:
        """As the function `to_picture`."""
        return to_picture(points, self.matrix)


def to_picture(points: Float32, matrix: Float32) -> Float32:
    """Points ``(..., 2)`` in the pixels of the crop that `matrix` made, mapped back to the picture.

    Of points ``(..., 3)`` the third is a depth in those pixels, which is scaled.
    """
    inverse = cv2.invertAffineTransform(matrix)
    mapped: Float32 = (points[..., :2] @ inverse[:, :2].T + inverse[:, 2]).astype(np.float32)
    if points.shape[-1] == 2:
        return mapped
    scale = np.float32(np.sqrt(abs(np.linalg.det(inverse[:, :2].astype(np.float64)))))
    return np.concatenate([mapped, points[..., 2:] * scale], axis=-1)


def similarity_transform(source: Float32, target: Float32) -> Float32:
    """Least-squares rotation, uniform scale and shift from source to target points.

    source, target: ``(N, 2)``; returns ``(2, 3)`` float32. Umeyama 1991, eq. 40-43, written for the plane where the
    optimum is linear in ``a = s cos t`` and ``b = s sin t``.
    """
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    x, y = (source - source_mean).T
    u, v = (target - target_mean).T
    norm = float((x * x + y * y).sum()) or 1.0
    a = float((x * u + y * v).sum()) / norm
    b = float((x * v - y * u).sum()) / norm
    rotation = np.array([[a, -b], [b, a]])
    return np.column_stack([rotation, target_mean - rotation @ source_mean]).astype(np.float32)


def roll_of(landmarks: Float32) -> float:
    """Degrees by which a face is turned in the picture, clockwise, by its five landmarks ``(5, 2)``: the way from the
    mouth to the eyes tells upside down as well."""
    up = (landmarks[0] + landmarks[1] - landmarks[3] - landmarks[4]) / 2
    return float(np.degrees(np.arctan2(up[0], -up[1]))) if up.any() else 0.0


def crop_matrix(
    box: Float32, landmarks: Float32, spec: CropSpec, picture: tuple[int, int] | None = None
) -> Float32:
    """The ``(2, 3)`` transform from picture pixels to the crop that `spec` asks for.

    box: ``(4,)`` x1 y1 x2 y2; landmarks: ``(5, 2)``; both in picture pixels. picture: its width and height,
    which `CropSpec.inside` needs.
    """
    if spec.template is not None:
        return similarity_transform(landmarks, np.asarray(spec.template, np.float32))
    center = (box[:2] + box[2:]) / 2
    sides = np.maximum(box[2:] - box[:2], 1.0)
    if spec.square:
        sides = np.full(2, sides.max())
    sides = sides * spec.scale
    if spec.inside and picture is not None:
        # Pixel centres sit at integers: the picture spans -0.5 .. width - 0.5.
        limits = np.asarray(picture, np.float32)
        sides = sides * min(1.0, float((limits / sides).min()))
        center = np.clip(center, sides / 2 - 0.5, limits - sides / 2 - 0.5)
    elif spec.square and abs(turn := roll_of(landmarks)) > _TURNED:
        scale = float(spec.size / sides[0])
        middle = float(center[0]), float(center[1])
        turned: Float32 = cv2.getRotationMatrix2D(middle, turn, scale).astype(np.float32)
        turned[:, 2] += spec.size / 2 - 0.5 - center
        return turned
    zoom = spec.size / sides
    # Pixel centres sit at integers: the crop spans -0.5 .. size - 0.5.
    shift = spec.size / 2 - 0.5 - zoom * center
    return np.array([[zoom[0], 0, shift[0]], [0, zoom[1], shift[1]]], np.float32)


def cut(image: RGBImage, box: Float32, landmarks: Float32, spec: CropSpec) -> Crop:
    """Cut one crop; what lies outside the picture is black.

    Shrinking by more than two is done on a local area average first, since bilinear sampling alone would alias.
    """
    matrix = crop_matrix(box, landmarks, spec, (image.shape[1], image.shape[0]))
    size = (spec.size, spec.size)
    zoom = float(np.sqrt(abs(np.linalg.det(matrix[:, :2].astype(np.float64)))))
    if zoom >= 0.5:
        return Crop(cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR), matrix)
    inverse = cv2.invertAffineTransform(matrix)
    corners = np.array([[0, 0], [size[0], 0], [0, size[1]], [size[0], size[1]]], np.float32)
    corners = corners @ inverse[:, :2].T + inverse[:, 2]
    height, width = image.shape[:2]
    factor = int(1 / zoom)
    # Two shrunk pixels more on every side, or the outermost crop pixels would be blended with black.
    margin = 2 * factor
    x1, y1 = np.clip(np.floor(corners.min(axis=0)).astype(int) - margin, 0, (width - 1, height - 1))
    x2, y2 = np.clip(np.ceil(corners.max(axis=0)).astype(int) + margin, (x1 + 1, y1 + 1), (width, height))
    x1, x2 = _in_steps(int(x1), int(x2), width, factor)
    y1, y2 = _in_steps(int(y1), int(y2), height, factor)
    region = image[y1:y2, x1:x2]
    shrunk = (max(1, region.shape[1] // factor), max(1, region.shape[0] // factor))
    small = cv2.resize(region, shrunk, interpolation=cv2.INTER_AREA)
    ratio_x, ratio_y = region.shape[1] / shrunk[0], region.shape[0] / shrunk[1]
    # small pixel (i, j) is the picture at ((i + 0.5) * ratio - 0.5 + corner).
    shrunk_to_picture = np.array(
        [[ratio_x, 0, x1 + ratio_x / 2 - 0.5], [0, ratio_y, y1 + ratio_y / 2 - 0.5], [0, 0, 1]]
    )
    local = (np.vstack([matrix, [0, 0, 1]]) @ shrunk_to_picture)[:2].astype(np.float32)
    return Crop(cv2.warpAffine(small, local, size, flags=cv2.INTER_LINEAR), matrix)


def _in_steps(start: int, end: int, limit: int, step: int) -> tuple[int, int]:
    """The span, widened to a multiple of the step: OpenCV averages whole areas fifteen times as fast as broken ones.

    Where the picture, which ends at the limit, is too small, it is the widest multiple that fits, or the span itself.
    """
    length = min(-(-(end - start) // step), limit // step) * step
    if not length:
        return start, end
    start = min(start, limit - length)
    return start, start + length
