"""Annotated photographs for tests of detectors."""

import csv
from collections import defaultdict
from functools import cache

from prosopon.configs.settings import ImageLimits
from prosopon.models.faces.detections import Detections, RGBImage
from prosopon.models.pictures.decoding import decode
from tests.paths import DATA, require

SAMPLES = DATA / "compreface_samples"
Point = tuple[float, float]


@cache
def noses() -> dict[str, list[Point]]:
    """File name -> the nose of every face in it, in pixels; the empty picture has none."""
    found: dict[str, list[Point]] = defaultdict(list)
    with require(SAMPLES / "noses.csv").open() as file:
        for row in csv.DictReader(file):
            points = found[row["file"]]
            if row["nose_x"]:
                points.append((float(row["nose_x"]), float(row["nose_y"])))
    return dict(found)


def sample(name: str) -> RGBImage:
    return decode(require(SAMPLES / name).read_bytes(), ImageLimits(max_bytes=50_000_000))


def missed(faces: Detections, points: list[Point]) -> list[Point]:
    """The noses that lie in no box."""
    return [
        (x, y)
        for x, y in points
        if not any(x1 <= x <= x2 and y1 <= y <= y2 for x1, y1, x2, y2 in faces.boxes)
    ]
