"""Figures of the segmenter on held-out faces with one rendered thing each, by kind and by group of FairFace.

python -m prosopon.models.training.occlusion.evaluate --data /tmp/occlusion --labels fairface_chips.csv
"""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from prosopon.models.runtime.session import Compute
from prosopon.models.swap.occlusion import WEIGHTS, OcclusionSegmenter
from prosopon.models.training.occlusion.batches import Batches
from prosopon.models.training.occlusion.faces import Faces
from prosopon.models.training.occlusion.occluders import KINDS

_AT_ONCE = 50

Segment = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Chips ``(N, 3, 128, 128)`` 0..255 to ``(N, 1, 128, 128)`` 0..1."""


@dataclass(frozen=True, slots=True)
class Score:
    """overlap: intersection over union of what is rendered, on pixels that are known; wrong: share of the bare face
    taken for something else."""

    overlap: float
    wrong: float

    def __str__(self) -> str:
        return f"{self.overlap:.3f} ({self.wrong:.4f})"


def score(segment: Segment, batches: Batches, rows: NDArray[np.int64]) -> Score:
    both = either = wrong = free = 0.0
    for start in range(0, len(rows), _AT_ONCE):
        chips, *rest = batches.take(rows[start : start + _AT_ONCE], None)
        aim, weight, alpha = (raster.numpy() for raster in rest)
        found, there = segment(chips.numpy()) > 0.5, alpha > 0.5
        bare = (aim < 0.05) & (weight > 0.9)
        # What the picture shows by itself, beside what is rendered, is left out.
        both += float((found & there).sum())
        either += float((there | (found & bare)).sum())
        wrong, free = wrong + float((found & bare).sum()), free + float(bare.sum())
    return Score(both / max(either, 1), wrong / max(free, 1))


def by_kind(segment: Segment, batches: Batches) -> Mapping[str, Score]:
    rows = np.arange(len(batches.renderings)).reshape(len(KINDS), -1)
    return {kind: score(segment, batches, chosen) for kind, chosen in zip(KINDS, rows, strict=True)}


def main(
    data: Annotated[Path, typer.Option(help="What models.training.occlusion.dataset wrote")],
    labels: Annotated[Path, typer.Option(help="fairface_chips.csv")],
    weights: Path = WEIGHTS,
) -> None:
    segmenter = OcclusionSegmenter(weights, Compute())

    def segment(chips: NDArray[np.float32]) -> NDArray[np.float32]:
        return segmenter.probabilities(chips.round().astype(np.uint8).transpose(0, 2, 3, 1))[:, None]

    batches = Batches(data, np.load(data / "labels_taught.npy"), "held_out")
    print("overlap (share of the bare face taken for something else)")
    for kind, found in by_kind(segment, batches).items():
        print(f"{kind}: {found}")
    with labels.open() as file:
        people = {row["file"].partition(".")[0]: row for row in csv.DictReader(file)}
    names = Faces(data).names
    shown = [people[names[index].rpartition("/")[2]] for index in batches.renderings.index]
    for column in ("race", "gender", "age"):
        values = np.array([row[column] for row in shown])
        for value in np.unique(values):
            rows = np.flatnonzero(values == value)
            print(f"{value} ({len(rows)}): {score(segment, batches, rows)}")


if __name__ == "__main__":
    typer.run(main)
