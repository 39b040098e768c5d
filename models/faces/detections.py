"""Data that models exchange. Plain frozen dataclasses over NumPy arrays."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

RGBImage = NDArray[np.uint8]
"""``(H, W, 3)`` uint8, RGB, upright."""

RGBImages = NDArray[np.uint8]
"""``(N, H, W, 3)`` uint8, RGB, upright."""

Float32 = NDArray[np.float32]

PictureFormat = Literal["jpg", "webp", "png"]
FilmFormat = Literal["mp4", "gif", "webp"]
"""Both webp and gif are animated, and loop."""


@dataclass(frozen=True, slots=True)
class Detections:
    """Faces found in one picture, best score first.

    boxes: ``(N, 4)`` float32, x1 y1 x2 y2 in pixels of the picture (may reach past its border).
    scores: ``(N,)`` float32 in 0..1.
    landmarks: ``(N, 5, 2)`` float32, x y in pixels: left eye, right eye, nose, left and right mouth corner,
        left and right as the viewer sees them.
    """

    boxes: Float32
    scores: Float32
    landmarks: Float32

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, order: NDArray[np.intp]) -> "Detections":
        """The faces at the given positions, in that order."""
        return Detections(self.boxes[order], self.scores[order], self.landmarks[order])

    def largest_first(self) -> "Detections":
        """The same faces ordered by box area in whole pixels, as clients see it, the biggest first."""
        boxes = np.rint(self.boxes)
        sides = boxes[:, 2:] - boxes[:, :2]
        return self.take(np.argsort(-sides.prod(axis=1), kind="stable"))

    def left_to_right(self) -> "Detections":
        """The same faces ordered by the left side of their box, then by its top: the order that faceswaps count in."""
        return self.take(np.lexsort((self.boxes[:, 1], self.boxes[:, 0])))
