"""Looking again where one look at a shrunk, upright picture is not enough.

A detector finds faces of a certain range of sizes, and puts landmarks well on upright ones. Faces that fill the picture
are looked for once more in a smaller copy with a border; turned faces once more in a crop that is turned upright; small
faces, where somebody asks for it, in tiles of a larger copy. The ordinary picture is looked at once.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from prosopon.models.faces.detections import Detections, Float32, RGBImage
from prosopon.models.faces.nms import suppress
from prosopon.models.pictures.crops import roll_of
from prosopon.models.roles import FaceDetector

FULL_SIZE = 0
"""The `det_size` of a picture that is not shrunk."""

_LARGE = 0.5
"""Of the picture's longer side: a face that is longer may not be found, or its landmarks lie badly."""
_SMALL_COPY, _BORDER = 320, 0.5
"""Longer side of the copy with its border, in pixels; the border on each side, of the picture's sides."""
_AGREE = 0.2
"""Of the distance between the eyes: two looks whose landmarks are nearer than that have seen the same points."""
_TURNED = 20.0
"""Degrees from which a face is looked at once more."""
_TURNED_CROP, _AROUND = 256, 2.0
"""Pixels of the crop that is turned upright, and its side in boxes."""
_TURNS = 2
_TILE, _OVERLAP = 1280, 192
"""Pixels of a tile, and of the strip that neighbours share."""
_SAME = 0.3
"""Intersection over union from which two boxes are one face."""


class LookingAgain:
    """A detector that looks again. Its name, and its scores, are those of the detector that it asks."""

    def __init__(self, detector: FaceDetector, max_side: int, nms_threshold: float) -> None:
        self._detector, self._max_side, self._nms_threshold = detector, max_side, nms_threshold
        self.name, self.plain = detector.name, detector
        self.fingerprint = f"{detector.fingerprint}+again-2"

    def detect(
        self, images: Sequence[RGBImage], score_threshold: float, det_size: int | None = None
    ) -> list[Detections]:
        """Faces of each picture, the most probable first.

        det_size: longer side, in pixels, to which pictures are shrunk; None is the configured one, `FULL_SIZE` does not
        shrink. Beyond 1280 pixels a picture is looked at in tiles of that size, each of which takes as long as three
        ordinary pictures.
        """
        side = self._max_side if det_size is None else det_size
        found = self._detector.detect(images, score_threshold, min(side or _TILE, _TILE))
        return [
            self._again(picture, faces, score_threshold, side)
            for picture, faces in zip(images, found, strict=True)
        ]

    def _again(self, picture: RGBImage, faces: Detections, threshold: float, side: int) -> Detections:
        longer = max(picture.shape[:2])
        if longer > _TILE and (side == FULL_SIZE or side > _TILE):
            faces = self._tiles(picture, faces, threshold, min(1.0, side / longer) if side else 1.0)
        if not len(faces) or float((faces.boxes[:, 2:] - faces.boxes[:, :2]).max()) > _LARGE * longer:
            faces = self._smaller(picture, faces, threshold)
        turned = np.flatnonzero([abs(roll_of(points)) > _TURNED for points in faces.landmarks])
        for place in turned.tolist():
            faces = self._upright(picture, faces, place, threshold)
        return faces

    def _smaller(self, picture: RGBImage, faces: Detections, threshold: float) -> Detections:
        """Faces that fill the picture as they are seen in a smaller copy with a border; the others stay.

        Where both looks agree their landmarks are averaged: neither is better, and they err apart.
        """
        height, width = picture.shape[:2]
        scale = min(1.0, _SMALL_COPY / (max(height, width) * (1 + 2 * _BORDER)))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        x, y = round(size[0] * _BORDER), round(size[1] * _BORDER)
        framed = np.pad(small, ((y, y), (x, x), (0, 0)), "edge")
        [seen] = self._detector.detect([framed], threshold, _SMALL_COPY * 2)
        shift = np.array([x, y], np.float32)
        ratio = np.array([width / size[0], height / size[1]], np.float32)
        boxes = (seen.boxes - np.tile(shift, 2)) * np.tile(ratio, 2)
        seen = Detections(boxes, seen.scores, (seen.landmarks - shift) * ratio)
        large = (seen.boxes[:, 2:] - seen.boxes[:, :2]).max(axis=1, initial=0) > _LARGE / 2 * max(
            height, width
        )
        seen = seen.take(np.flatnonzero(large))
        same = overlaps(faces.boxes, seen.boxes) >= _SAME
        seen = Detections(seen.boxes, seen.scores, _averaged(seen.landmarks, faces.landmarks, same.T))
        return best_first(faces.take(np.flatnonzero(~same.any(axis=1))), seen)

    def _upright(self, picture: RGBImage, faces: Detections, place: int, threshold: float) -> Detections:
        """Landmarks of a turned face as they are seen in a crop that is turned upright; the box stays."""
        box, landmarks = faces.boxes[place], faces.landmarks[place]
        center, side = (box[:2] + box[2:]) / 2, float((box[2:] - box[:2]).max()) * _AROUND
        score = faces.scores[place]
        for _ in range(_TURNS):
            turn = roll_of(landmarks)
            matrix = cv2.getRotationMatrix2D((float(center[0]), float(center[1])), turn, _TURNED_CROP / side)
            matrix[:, 2] += _TURNED_CROP / 2 - center
            crop = cv2.warpAffine(picture, matrix, (_TURNED_CROP, _TURNED_CROP), flags=cv2.INTER_LINEAR)
            [seen] = self._detector.detect([np.asarray(crop, np.uint8)], threshold, _TURNED_CROP)
            if not len(seen):
                break
            middle = (seen.boxes[:, :2] + seen.boxes[:, 2:]) / 2 - _TURNED_CROP / 2
            away = np.linalg.norm(middle, axis=1)
            nearest = int(away.argmin())
            if away[nearest] > _TURNED_CROP / 4:
                break
            inverse = cv2.invertAffineTransform(matrix)
            landmarks = (seen.landmarks[nearest] @ inverse[:, :2].T + inverse[:, 2]).astype(np.float32)
            score = max(score, seen.scores[nearest])
            if abs(roll_of(seen.landmarks[nearest])) < _TURNED:
                break
        points, scores = faces.landmarks.copy(), faces.scores.copy()
        points[place], scores[place] = landmarks, score
        return Detections(faces.boxes, scores, points)

    def _tiles(self, picture: RGBImage, faces: Detections, threshold: float, scale: float) -> Detections:
        """With the faces that are seen in tiles of a larger copy, one after the other: all at once fill the memory."""
        if scale < 1:
            picture = np.asarray(
                cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8
            )
        parts = [Detections(faces.boxes * scale, faces.scores, faces.landmarks * scale)]
        height, width = picture.shape[:2]
        for y in _starts(height):
            for x in _starts(width):
                tile = np.ascontiguousarray(picture[y : y + _TILE, x : x + _TILE])
                [seen] = self._detector.detect([tile], threshold, _TILE)
                shift = np.array([x, y], np.float32)
                whole = _whole(seen.boxes, (x, y, x + tile.shape[1], y + tile.shape[0]), (width, height))
                seen = seen.take(np.flatnonzero(whole))
                parts.append(Detections(seen.boxes + np.tile(shift, 2), seen.scores, seen.landmarks + shift))
        together = best_first(*parts)
        kept = together.take(suppress(together.boxes, together.scores, self._nms_threshold))
        return Detections(
            (kept.boxes / scale).astype(np.float32), kept.scores, (kept.landmarks / scale).astype(np.float32)
        )


def _averaged(landmarks: Float32, others: Float32, same: np.ndarray) -> Float32:
    """Landmarks ``(N, 5, 2)``, each averaged with those of the others ``(M, 5, 2)`` that agree and that `same`,
    ``(N, M)``, names."""
    found = landmarks.copy()
    for place, points in enumerate(landmarks):
        apart = np.linalg.norm(others - points, axis=2).mean(axis=1)
        agree = same[place] & (apart < _AGREE * np.linalg.norm(points[0] - points[1]))
        if agree.any():
            found[place] = (points + others[agree].mean(axis=0)) / 2
    return found


def _starts(side: int) -> list[int]:
    """Where tiles begin along a side, so that neighbours share a strip and the last ends with the side."""
    if side <= _TILE:
        return [0]
    count = -(-(side - _OVERLAP) // (_TILE - _OVERLAP))
    return [round(number * (side - _TILE) / (count - 1)) for number in range(count)]


def _whole(boxes: Float32, tile: tuple[int, int, int, int], picture: tuple[int, int]) -> np.ndarray:
    """Whether boxes, in pixels of the tile, end before those of its sides where another tile goes on, and has them."""
    x1, y1, x2, y2 = tile
    margin = 4
    cut = (boxes[:, 0] < margin) & (x1 > 0) | (boxes[:, 1] < margin) & (y1 > 0)
    cut |= (boxes[:, 2] > x2 - x1 - margin) & (x2 < picture[0])
    cut |= (boxes[:, 3] > y2 - y1 - margin) & (y2 < picture[1])
    return ~cut


def overlaps(first: Float32, second: Float32) -> Float32:
    """Intersection over union of boxes ``(N, 4)`` and ``(M, 4)``: ``(N, M)``."""
    corner = np.maximum(first[:, np.newaxis, :2], second[:, :2])
    opposite = np.minimum(first[:, np.newaxis, 2:], second[:, 2:])
    common = np.clip(opposite - corner, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    shares: Float32 = common / np.maximum(areas[0][:, np.newaxis] + areas[1] - common, 1e-9)
    return shares


def best_first(*parts: Detections) -> Detections:
    """All of these, the highest score first."""
    scores = np.concatenate([part.scores for part in parts])
    together = Detections(
        np.concatenate([part.boxes for part in parts]).astype(np.float32),
        scores,
        np.concatenate([part.landmarks for part in parts]).astype(np.float32),
    )
    return together.take(np.argsort(-scores, kind="stable"))
