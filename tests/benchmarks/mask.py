"""How well masks are told on 500 photographs of the web, which training never saw.

    python -m tests.benchmarks.mask [--sheet failures.png]

The best face of each picture counts. A picture with a mask is right when the answer is `mask_worn_correctly`, one
without when it is `without_mask`; a picture whose face is not found is wrong. Detectors are less sure of a masked
face, and many of these pictures end at the face, so results are printed at two detection thresholds: the one that
is configured by default, and `SURE`, for pictures that are known to hold a face.
"""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from PIL import Image, ImageOps

from prosopon.configs.settings import DetectionSettings
from prosopon.models.faces.attributes.mask import CLASSES, WEIGHTS, MaskClassifierNet
from prosopon.models.faces.centerface import CenterFace
from prosopon.models.faces.detections import RGBImage
from prosopon.models.pictures.crops import cut
from prosopon.models.runtime.session import Compute
from tests.paths import DATA, require
from tests.weights import weights

SURE = 0.2

NO_FACE = "no face"
ANSWERS = (*CLASSES, NO_FACE)
RIGHT = {"with_mask": "mask_worn_correctly", "without_mask": "without_mask"}


@dataclass(frozen=True, slots=True)
class Result:
    """score: of the detection, 0 where there is none; picture, chip: for the sheet of failures."""

    name: str
    truth: str
    score: float
    answer: str
    probability: float
    picture: RGBImage
    chip: RGBImage

    def at(self, threshold: float) -> str:
        """The answer, where the face reaches the threshold."""
        return self.answer if self.score >= threshold else NO_FACE


def judge(path: Path, truth: str, detector: CenterFace, model: MaskClassifierNet) -> Result:
    picture = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    faces = detector.detect([picture], SURE)[0]
    if not len(faces):
        blank = np.zeros((model.crop.size, model.crop.size, 3), np.uint8)
        return Result(path.name, truth, 0.0, NO_FACE, 0.0, picture, blank)
    chip = cut(picture, faces.boxes[0], faces.landmarks[0], model.crop).pixels
    mask = model.classify(chip[None])[0]
    return Result(path.name, truth, float(faces.scores[0]), mask.value, mask.probability, picture, chip)


def report(results: list[Result], threshold: float) -> None:
    """The confusion matrix; accuracy as it is judged, and where a mask worn incorrectly counts as a mask, too."""
    counts = Counter((result.truth, result.at(threshold)) for result in results)
    right = sum(counts[pair] for pair in RIGHT.items())
    found = len(results) - sum(counts[truth, NO_FACE] for truth in RIGHT)
    incorrectly = counts["with_mask", "mask_worn_incorrectly"]
    print(f"\ndetection threshold {threshold}")
    print(f"{'':14}" + "".join(f"{answer:>24}" for answer in ANSWERS))
    for truth in RIGHT:
        print(f"{truth:14}" + "".join(f"{counts[truth, answer]:24d}" for answer in ANSWERS))
    print(f"accuracy {right / len(results):.4f} ({right} of {len(results)})")
    print(f"accuracy of the faces that were found {right / found:.4f} ({right} of {found})")
    print(f"accuracy where any way to wear a mask counts as one {(right + incorrectly) / len(results):.4f}")


def report_bare(folder: Path, detector: CenterFace, model: MaskClassifierNet) -> None:
    """How often 1,200 faces of hard poses and light, none masked on purpose, are taken for masked ones."""
    files = sorted(require(folder).glob("*.jpg"))
    results = [judge(path, "without_mask", detector, model) for path in files]
    counts = Counter(result.answer for result in results)
    print(f"\n{folder.name}, {len(files)} bare faces: " + ", ".join(f"{counts[a]} {a}" for a in ANSWERS))


def draw(results: Iterable[Result], path: Path, columns: int = 6) -> None:
    """Picture and chip of each result, side by side."""
    tiles = []
    for result in results:
        sides = [
            cv2.resize(image, (128, 128), interpolation=cv2.INTER_AREA)
            for image in (result.picture, result.chip)
        ]
        tiles.append(np.hstack(sides))
    tiles += [np.zeros((128, 256, 3), np.uint8)] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    Image.fromarray(np.vstack(rows)).save(path)


def main(
    data: Annotated[Path, typer.Option(help="Folder with with_mask/ and without_mask/")] = DATA / "mask",
    model_file: Annotated[Path, typer.Option("--weights")] = WEIGHTS,
    sheet: Annotated[Path | None, typer.Option(help="Draw the failures' pictures and chips here")] = None,
) -> None:
    compute, settings = Compute(), DetectionSettings()
    compute.limit_libraries()
    detector = CenterFace(weights("centerface").path, compute, settings)
    model = MaskClassifierNet(model_file, compute)
    results = [
        judge(path, truth, detector, model)
        for truth in RIGHT
        for path in sorted(require(data / truth).iterdir())
    ]
    failures = [result for result in results if result.answer != RIGHT[result.truth]]
    for result in failures:
        print(f"wrong: {result.truth}/{result.name} {result.answer} {result.probability:.2f}")
    for threshold in (settings.score_threshold, SURE):
        report(results, threshold)
    report_bare(DATA / "fairface", detector, model)
    batch = np.stack([result.chip for result in results[:64]])
    started = time.perf_counter()
    for _ in range(10):
        model.classify(batch)
    print(f"\n{(time.perf_counter() - started) / 640 * 1000:.2f} ms a chip, batch of 64, one thread")
    if sheet is not None and failures:
        draw(failures, sheet)


if __name__ == "__main__":
    typer.run(main)
