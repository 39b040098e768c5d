"""Faces to render masks on: pixels with 68 landmarks."""

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tarfile import TarInfo

import cv2
import dlib
import numpy as np
from PIL import Image

from prosopon.models.faces.detections import Float32, RGBImage

PADDING = 32
"""FairFace's chips end at the face: in a frame of so many pixels the detector sees one inside a picture."""


@dataclass(frozen=True, slots=True)
class Face:
    """pixels: RGB; five: as `Detections.landmarks`; points: ``(68, 2)`` float32 x y, iBUG order."""

    name: str
    pixels: RGBImage
    five: Float32
    points: Float32


class Landmarks68:
    """dlib's shape predictor, started from the five landmarks."""

    def __init__(self, path: Path) -> None:
        self._predictor = dlib.shape_predictor(str(path))

    def predict(self, pixels: RGBImage, five: Float32) -> Float32:
        """``(68, 2)`` float32 x y, iBUG order."""
        eyes, mouth = five[:2].mean(axis=0), five[3:].mean(axis=0)
        # dlib's boxes are square and reach from the brows to the chin.
        center = eyes + (mouth - eyes) * 0.62
        side = 2.3 * float(np.linalg.norm(mouth - eyes))
        x, y = (int(value) for value in center - side / 2)
        shape = self._predictor(pixels, dlib.rectangle(x, y, x + int(side), y + int(side)))
        return np.array([(point.x, point.y) for point in shape.parts()], np.float32)


def plausible(five: Float32, points: Float32) -> bool:
    """Whether two independent estimates of the landmarks agree: on profiles and bad light they do not."""
    own = np.stack(
        [points[36:42].mean(axis=0), points[42:48].mean(axis=0), points[30], points[48], points[54]]
    )
    size = float(np.linalg.norm(five[:2].mean(axis=0) - five[3:].mean(axis=0)))
    return float(np.linalg.norm(own - five, axis=1).max()) < 0.35 * size


def framed(chip: RGBImage) -> RGBImage:
    """The chip in a frame of `PADDING` pixels; frame and black corners continue the picture's colours.

    A chip that was turned upright is black where its picture ended. Normalised convolution (Knutsson & Westin
    1993) fills these parts, so that black corners tell the network nothing.
    """
    known = np.zeros(chip.shape[:2], np.uint8)
    lit = cv2.morphologyEx(
        (chip.max(axis=2) > 12).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)
    )
    if (points := cv2.findNonZero(lit)) is not None:
        # The picture is a rectangle, turned: dark hair lies inside the hull of what is not black.
        cv2.fillConvexPoly(known, cv2.convexHull(points), 1)
    known = cv2.erode(known, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=1)
    frame = (PADDING,) * 4
    known = cv2.copyMakeBorder(known, *frame, cv2.BORDER_CONSTANT, value=0).astype(np.float32)
    wide = cv2.copyMakeBorder(chip, *frame, cv2.BORDER_CONSTANT).astype(np.float32)
    quarter = (wide.shape[1] // 4, wide.shape[0] // 4)
    shares = cv2.resize(known, quarter, interpolation=cv2.INTER_AREA)
    colours = cv2.resize(wide * known[..., None], quarter, interpolation=cv2.INTER_AREA)
    filled, weight = np.zeros_like(colours), np.zeros_like(shares)
    for sigma in (0.8, 2.5, 8.0):
        share = cv2.GaussianBlur(shares, (0, 0), sigma) + 1e-6
        trust = np.clip(share, 1e-4, 1) / np.float32(sigma**2)
        filled += cv2.GaussianBlur(colours, (0, 0), sigma) / share[..., None] * trust[..., None]
        weight += trust
    filled = cv2.resize(filled / weight[..., None], known.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip(filled + known[..., None] * (wide - filled), 0, 255), np.uint8)


def read_pictures(source: Path, chosen: slice = slice(None)) -> Iterator[tuple[str, RGBImage]]:
    """Name and RGB pixels of the chosen JPEGs of a folder, or of a tar file of FairFace's chips (framed)."""
    span = (chosen.start, chosen.stop, chosen.step)
    if source.is_dir():
        for path in islice(sorted(source.glob("*.jpg")), *span):
            yield f"{source.name}/{path.stem}", np.asarray(Image.open(path).convert("RGB"))
        return
    with tarfile.open(source) as tar:
        for member in islice(filter(TarInfo.isfile, tar), *span):
            if file := tar.extractfile(member):
                chip = np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB"))
                yield f"{source.stem}/{Path(member.name).stem}", framed(chip)
