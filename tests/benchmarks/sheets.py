"""Sheets of what a model got wrong, to be looked at: the pictures of each error side by side, and a line below."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from prosopon.models.faces.detections import RGBImage

SIDE, LINE = 144, 18
"""Pixels: of each picture, and of the line below."""


def tile(pictures: Sequence[RGBImage], caption: str) -> RGBImage:
    """The pictures beside each other, each shrunk or grown to a square of `SIDE`, over the caption."""
    squares = [cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for picture in pictures]
    line = np.zeros((LINE, SIDE * len(squares), 3), np.uint8)
    cv2.putText(line, caption, (3, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
    return np.vstack([np.hstack(squares), line])


def draw(tiles: Sequence[RGBImage], path: Path, columns: int) -> None:
    """Tiles of one size, row by row."""
    filled = [*tiles, *[np.zeros_like(tiles[0])] * (-len(tiles) % columns)]
    rows = [np.hstack(filled[first : first + columns]) for first in range(0, len(filled), columns)]
    Image.fromarray(np.vstack(rows)).save(path)
    print(path)
