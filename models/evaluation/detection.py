"""How many annotated faces a detector finds, and how many of its boxes are none."""

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prosopon.models.evaluation.sets import Portrait, SetMissing
from prosopon.models.roles import FaceDetector


@dataclass(frozen=True, slots=True)
class Found:
    """faces: annotated; found: of these, in a box of their own; extra: boxes that are no annotated face; least: the
    lowest probability of a box that is one."""

    pictures: int
    faces: int
    found: int
    extra: int
    least: float


def marked_noses(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """File -> noses in pixels, of a folder of pictures with `noses.csv` (file, nose_x, nose_y; empty where there is no
    face). Raises `SetMissing`."""
    if not (folder / "noses.csv").exists():
        raise SetMissing(f"{folder} has no noses.csv")
    noses: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with (folder / "noses.csv").open() as file:
        for row in csv.DictReader(file):
            known = noses[row["file"]]
            if row["nose_x"]:
                known.append((float(row["nose_x"]), float(row["nose_y"])))
    return noses


def on_annotated(detector: FaceDetector, folder: Path, threshold: float) -> Found:
    """Of a folder as `marked_noses` reads it. Raises `SetMissing`."""
    noses = marked_noses(folder)
    found = extra = pictures = 0
    scores = []
    for name, points in sorted(noses.items()):
        picture = Portrait(name, folder / name, name).read()
        if picture is None:
            continue
        pictures += 1
        faces, left = detector.detect([picture], threshold)[0], list(points)
        for box, score in zip(faces.boxes, faces.scores, strict=True):
            inside = [p for p in left if box[0] <= p[0] <= box[2] and box[1] <= p[1] <= box[3]]
            if not inside:
                extra += 1
                continue
            middle = (box[:2] + box[2:]) / 2
            left.remove(min(inside, key=lambda p: float(np.hypot(*(np.array(p) - middle)))))
            scores.append(float(score))
            found += 1
    return Found(pictures, sum(map(len, noses.values())), found, extra, min(scores, default=0.0))
