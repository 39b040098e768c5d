"""A rectangle of the frame, and the smaller raster on which it is analysed."""

from dataclasses import dataclass

import cv2
import numpy as np

from prosopon.models.faces.detections import Float32, RGBImage

ANALYSED = 192
"""Longer side of the raster on which light, masks and geometry are worked out, in pixels."""


@dataclass(frozen=True, slots=True)
class Region:
    """x, y, width, height: in pixels of the frame; small: height and width of the small raster."""

    x: int
    y: int
    width: int
    height: int
    small: tuple[int, int]

    @property
    def ratio(self) -> tuple[float, float]:
        """Small pixels per pixel of the frame, along x and y."""
        return self.small[1] / self.width, self.small[0] / self.height

    def to_small(self, points: Float32) -> Float32:
        """Points in pixels of the frame to pixels of the small raster."""
        return ((points - (self.x, self.y) + 0.5) * self.ratio - 0.5).astype(np.float32)

    def of(self, frame: RGBImage) -> RGBImage:
        """A view of the frame."""
        return frame[self.y : self.y + self.height, self.x : self.x + self.width]

    def shrunk(self, frame: RGBImage) -> Float32:
        """The small raster ``(*small, 3)`` float32 of the frame."""
        small = cv2.resize(self.of(frame), self.small[::-1], interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.float32)

    def places(self, matrix: Float32) -> Float32:
        """``(H, W, 2)`` float32: for each small pixel, the pixel of a chip that it shows.

        matrix: ``(2, 3)`` from the frame's pixels to the chip's.
        """
        height, width = self.small
        x, y = np.meshgrid(
            (np.arange(width) + 0.5) / self.ratio[0] - 0.5 + self.x,
            (np.arange(height) + 0.5) / self.ratio[1] - 0.5 + self.y,
        )
        return np.asarray(np.stack([x, y], axis=-1) @ matrix[:, :2].T + matrix[:, 2], np.float32)

    def enlarged(self, raster: Float32, window: tuple[int, int, int, int], scale: float = 1.0) -> Float32:
        """A small raster in the frame's resolution times `scale`.

        window: top, bottom, left and right in pixels of the region; ``round(scale * side)`` pixels come out.
        """
        top, bottom, left, right = window
        size = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
        step_x = self.ratio[0] * (right - left) / size[0]
        step_y = self.ratio[1] * (bottom - top) / size[1]
        matrix = np.array(
            [
                [step_x, 0, left * self.ratio[0] + 0.5 * step_x - 0.5],
                [0, step_y, top * self.ratio[1] + 0.5 * step_y - 0.5],
            ]
        )
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(
            cv2.warpAffine(raster, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.float32
        )

    def window_of(self, raster: Float32, above: float) -> tuple[int, int, int, int]:
        """top, bottom, left and right, in pixels of the region, of where a small raster exceeds a value."""
        rows, columns = (np.flatnonzero((raster > above).any(axis=axis)) for axis in (1, 0))
        if not len(rows):
            return 0, 0, 0, 0
        x, y = self.ratio
        # Bilinear enlarging spreads a small pixel by one more on every side.
        top, bottom = max(0, int((rows[0] - 1) / y)), min(self.height, int((rows[-1] + 2) / y) + 1)
        left, right = max(0, int((columns[0] - 1) / x)), min(self.width, int((columns[-1] + 2) / x) + 1)
        return top, bottom, left, right


def region_around(points: Float32, margin: float, frame: RGBImage) -> Region | None:
    """The rectangle around points with a margin (pixels), as far as it lies in the frame; None where it does not."""
    height, width = frame.shape[:2]
    x1, y1 = np.clip(np.floor(points.min(axis=0) - margin).astype(int), 0, (width, height))
    x2, y2 = np.clip(np.ceil(points.max(axis=0) + margin).astype(int) + 1, 0, (width, height))
    if x2 - x1 < 4 or y2 - y1 < 4:
        return None
    scale = min(1.0, ANALYSED / max(x2 - x1, y2 - y1))
    small = (max(2, round((y2 - y1) * scale)), max(2, round((x2 - x1) * scale)))
    return Region(int(x1), int(y1), int(x2 - x1), int(y2 - y1), small)


def sampled(face: RGBImage, places: Float32) -> Float32:
    """``(H, W, 3)`` float32 of a chip at places ``(H, W, 2)`` in its pixels."""
    x, y = places[..., 0], places[..., 1]
    return np.asarray(cv2.remap(face, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), np.float32)
