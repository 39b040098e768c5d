"""Faces that attacks are made of, and places where pictures are taken."""

import io
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.roles import FaceDetector

SIDE = 640
"""Pictures are kept no larger, on their longer side."""

HOLD_OUT = 6
"""One person in so many is held out."""

FRAME = 32
"""FairFace's chips end at the face: in a frame of so many pixels the detector sees one inside a picture."""


@dataclass(frozen=True, slots=True)
class Source:
    """A picture of one person.

    pixels: ``(H, W, 3)`` uint8 RGB; box: ``(4,)`` float32 x1 y1 x2 y2, as the detector gives it; alpha: ``(H, W)``
    float32 0..1, the person, or None where the outline is not known; tight: the picture ends at the face.
    """

    pixels: RGBImage
    box: Float32
    alpha: Float32 | None
    tight: bool
    held_out: bool


def outline(pixels: RGBImage, box: Float32) -> Float32 | None:
    """The person in front of the background, by GrabCut (Rother et al. 2004) started from the face's box.

    None where what comes out cannot be a head on shoulders.
    """
    height, width = pixels.shape[:2]
    zoom = 256 / max(height, width)
    small = cv2.resize(pixels, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
    x1, y1, x2, y2 = box * zoom
    w, h = x2 - x1, y2 - y1
    labels = np.full(small.shape[:2], cv2.GC_PR_BGD, np.uint8)
    ys, xs = np.mgrid[: small.shape[0], : small.shape[1]]
    labels[(ys < y1 - 0.75 * h) | (ys < y2) & ((xs < x1 - 1.1 * w) | (xs > x2 + 1.1 * w))] = cv2.GC_BGD
    labels[(ys > y2) & (np.abs(xs - (x1 + x2) / 2) < 1.2 * w + 0.5 * (ys - y2))] = cv2.GC_PR_FGD
    labels[(ys > y2) & (np.abs(xs - (x1 + x2) / 2) < 0.3 * w)] = cv2.GC_FGD
    head = ((xs - (x1 + x2) / 2) / (0.72 * w)) ** 2 + ((ys - (y1 + y2) / 2 + 0.1 * h) / (0.8 * h)) ** 2 < 1
    labels[head] = cv2.GC_PR_FGD
    labels[((xs - (x1 + x2) / 2) / (0.42 * w)) ** 2 + ((ys - (y1 + y2) / 2) / (0.45 * h)) ** 2 < 1] = (
        cv2.GC_FGD
    )
    state = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(small, labels, (0, 0, 0, 0), *state, 4, cv2.GC_INIT_WITH_MASK)
    person = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    person = cv2.morphologyEx(person, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, pieces, _, _ = cv2.connectedComponentsWithStats(person)
    person = (
        pieces == pieces[int(np.clip((y1 + y2) / 2, 0, 255)), int(np.clip((x1 + x2) / 2, 0, 255))]
    ).astype(np.float32)
    over_head = person[: max(1, int(y1 - 0.7 * h))].mean() if y1 - 0.7 * h > 1 else 0.0
    if not 0.12 < float(person.mean()) < 0.75 or over_head > 0.05 or person[head].mean() < 0.85:
        return None
    soft = cv2.GaussianBlur(cv2.erode(person, np.ones((3, 3), np.uint8)), (0, 0), 1.0)
    alpha = cv2.resize(soft, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(alpha, 0, 1), np.float32)


def held_out(person: str) -> bool:
    return zlib.crc32(person.encode()) % HOLD_OUT == 0


def portraits(folder: Path, detector: FaceDetector, which: slice) -> Iterator[Source]:
    """The pictures below a folder that show one face, of at least 60 pixels.

    People are told apart by the file's name, or in openpeople by the folder that holds `assets`.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    for path in files[which]:
        picture = np.asarray(Image.open(path).convert("RGB"))
        person = path.parents[1].name if path.parent.name == "assets" else path.name
        zoom = min(1.0, 1600 / max(picture.shape[:2]))
        picture = cv2.resize(picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
        found = detector.detect([picture], 0.6)[0]
        if len(found) == 1 and min(found.boxes[0, 2:] - found.boxes[0, :2]) >= 60:
            yield around(picture, found.boxes[0], held_out(person))


def around(picture: RGBImage, box: Float32, out: bool) -> Source:
    """What lies within five times the face's box, at most `SIDE` pixels long."""
    sides = box[2:] - box[:2]
    reach = 2.5 * float(sides.max())
    center = (box[:2] + box[2:]) / 2
    limits = np.array(picture.shape[1::-1])
    x1, y1 = np.clip(center - reach, 0, limits).astype(int)
    x2, y2 = np.clip(center + reach, 0, limits).astype(int)
    pixels = picture[y1:y2, x1:x2]
    zoom = min(1.0, SIDE / max(pixels.shape[:2]))
    pixels = np.asarray(cv2.resize(pixels, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA), np.uint8)
    moved = ((box - np.array([x1, y1, x1, y1])) * zoom).astype(np.float32)
    return Source(pixels, moved, outline(pixels, moved), False, out)


def chips(tar: Path, detector: FaceDetector, which: slice) -> Iterator[Source]:
    """FairFace's chips in which a face is found."""
    with tarfile.open(tar) as archive:
        members = (member for member in archive if member.name.endswith(".jpg"))
        for member in islice(members, which.start, which.stop, which.step):
            data = archive.extractfile(member)
            assert data is not None
            picture = np.asarray(Image.open(io.BytesIO(data.read())).convert("RGB"))
            framed = cv2.copyMakeBorder(
                picture, FRAME, FRAME, FRAME, FRAME, cv2.BORDER_CONSTANT, value=(127,) * 3
            )
            found = detector.detect([framed], 0.5)[0]
            if len(found):
                yield Source(picture, found.boxes[0] - FRAME, None, True, held_out(member.name))


def views(panoramas: Sequence[Path], each: int, rng: np.random.Generator) -> list[RGBImage]:
    """Photographs of 480 x 480 pixels out of equirectangular panoramas (Radiance files), tone-mapped.

    Reinhard et al. 2002, with an exposure around the one that puts the view's mean log luminance at 0.18.
    """
    made = []
    for path in panoramas:
        sky = np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), np.float32)[..., ::-1].copy()
        height, width = sky.shape[:2]
        for _ in range(each):
            yaw, pitch = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.15)
            reach = np.tan(np.radians(rng.uniform(45, 85)) / 2)
            y, x = np.mgrid[-reach:reach:480j, -reach:reach:480j]
            longitude = yaw + np.arctan2(x, np.cos(pitch) - y * np.sin(pitch))
            up = (-y * np.cos(pitch) - np.sin(pitch)) / np.sqrt(1 + x * x + y * y)
            columns = (longitude / (2 * np.pi) % 1 * width).astype(np.float32)
            rows = ((0.5 - np.arcsin(up) / np.pi) * height).astype(np.float32)
            light = cv2.remap(sky, columns, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP).clip(0)
            luminance = light @ np.array([0.2126, 0.7152, 0.0722], np.float32)
            key = 0.18 * 2 ** rng.uniform(-0.8, 1.2) / np.exp(np.log(luminance + 1e-4).mean())
            light = light * key
            mapped = light * (1 + light / 9) / (1 + light)
            made.append((np.clip(mapped, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8))
    return made
