"""The picture that stands for a morph where its link is shown: start + end = midpoint."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from prosopon.models.faces.detections import RGBImage

VERSION = "link-preview-1"
_WIDTH, _HEIGHT = 1200, 628
"""What social networks show of a link, in pixels."""
_END, _MIDPOINT, _SIGN = 290, 430, 44
_INK, _PAPER = (60, 64, 72), (255, 255, 255)


@dataclass(frozen=True, slots=True)
class LinkPreview:
    """Sizes for one width, in pixels."""

    width: int

    def _scaled(self, length: float) -> int:
        return max(1, round(length * self.width / _WIDTH))

    @property
    def height(self) -> int:
        return self._scaled(_HEIGHT)

    @property
    def end(self) -> int:
        """Side of the two ends."""
        return self._scaled(_END)

    @property
    def midpoint(self) -> int:
        return self._scaled(_MIDPOINT)

    def draw(self, start: RGBImage, end: RGBImage, midpoint: RGBImage) -> RGBImage:
        """``(height, width, 3)`` uint8 RGB from square pictures of the sizes above."""
        canvas = Image.new("RGB", (self.width, self.height), _PAPER)
        gap = (self.width - 2 * self.end - self.midpoint - 2 * self._scaled(_SIGN)) / 6
        pen = ImageDraw.Draw(canvas)
        left = gap
        for picture, sign in ((start, self._plus), (end, self._equals), (midpoint, None)):
            canvas.paste(Image.fromarray(picture), (round(left), (self.height - len(picture)) // 2))
            left += len(picture) + gap
            if sign:
                sign(pen, left, self.height / 2, self._scaled(_SIGN))
                left += self._scaled(_SIGN) + gap
        return np.asarray(canvas)

    @staticmethod
    def _bar(pen: ImageDraw.ImageDraw, x: float, y: float, width: float, height: float) -> None:
        """Centred at x, y."""
        corners = (round(x - width / 2), round(y - height / 2))
        size = (max(1, round(width)), max(1, round(height)))
        pen.rectangle((*corners, corners[0] + size[0] - 1, corners[1] + size[1] - 1), fill=_INK)

    def _plus(self, pen: ImageDraw.ImageDraw, left: float, middle: float, size: float) -> None:
        self._bar(pen, left + size / 2, middle, size, size / 5)
        self._bar(pen, left + size / 2, middle, size / 5, size)

    def _equals(self, pen: ImageDraw.ImageDraw, left: float, middle: float, size: float) -> None:
        for above in (-1, 1):
            self._bar(pen, left + size / 2, middle + above * size / 5, size, size / 5)
