"""How well masks are told on 500 photographs of the web, which training never saw.

    python -m tests.benchmarks.mask [--sheet failures.png]

The best face of each picture that the served detector finds counts. A picture with a mask is right when the answer is
`mask_worn_correctly`, one without when it is `without_mask`; a picture whose face is not found is wrong.
"""

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image, ImageOps

from prosopon.configs.settings import DetectionSettings
from prosopon.models.faces.attributes.mask import CLASSES, WEIGHTS, MaskClassifierNet
from prosopon.models.faces.detections import RGBImage
from prosopon.models.pictures.crops import cut
from prosopon.models.roles import FaceDetector
from prosopon.models.runtime.session import Compute
from tests.benchmarks.embeddings import detector as load_detector
from tests.benchmarks.sheets import draw, tile
from tests.paths import DATA, require

THRESHOLD = DetectionSettings().score_threshold

NO_FACE = "no face"
ANSWERS = (*CLASSES, NO_FACE)
RIGHT = {"with_mask": "mask_worn_correctly", "without_mask": "without_mask"}


@dataclass(frozen=True, slots=True)
class Result:
    """picture, chip: for the sheet of failures."""

    name: str
    truth: str
    answer: str
    probability: float
    picture: RGBImage
    chip: RGBImage


def judge(path: Path, truth: str, detector: FaceDetector, model: MaskClassifierNet) -> Result:
    picture = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    faces = detector.detect([picture], THRESHOLD)[0]
    if not len(faces):
        blank = np.zeros((model.crop.size, model.crop.size, 3), np.uint8)
        return Result(path.name, truth, NO_FACE, 0.0, picture, blank)
    best = int(faces.scores.argmax())
    chip = cut(picture, faces.boxes[best], faces.landmarks[best], model.crop).pixels
    mask = model.classify(chip[None])[0]
    return Result(path.name, truth, mask.value, mask.probability, picture, chip)


def report(results: list[Result]) -> None:
    """The confusion matrix; accuracy as it is judged, and where a mask worn incorrectly counts as a mask, too."""
    counts = Counter((result.truth, result.answer) for result in results)
    right = sum(counts[pair] for pair in RIGHT.items())
    found = len(results) - sum(counts[truth, NO_FACE] for truth in RIGHT)
    incorrectly = counts["with_mask", "mask_worn_incorrectly"]
    print(f"\n{'':14}" + "".join(f"{answer:>24}" for answer in ANSWERS))
    for truth in RIGHT:
        print(f"{truth:14}" + "".join(f"{counts[truth, answer]:24d}" for answer in ANSWERS))
    print(f"accuracy {right / len(results):.4f} ({right} of {len(results)})")
    print(f"accuracy of the faces that were found {right / found:.4f} ({right} of {found})")
    print(f"accuracy where any way to wear a mask counts as one {(right + incorrectly) / len(results):.4f}")


def report_bare(folder: Path, detector: FaceDetector, model: MaskClassifierNet) -> None:
    """How often 1,200 faces of hard poses and light, none masked on purpose, are taken for masked ones."""
    files = sorted(require(folder).glob("*.jpg"))
    results = [judge(path, "without_mask", detector, model) for path in files]
    counts = Counter(result.answer for result in results)
    print(f"\n{folder.name}, {len(files)} bare faces: " + ", ".join(f"{counts[a]} {a}" for a in ANSWERS))


def main(
    data: Annotated[Path, typer.Option(help="Folder with with_mask/ and without_mask/")] = DATA / "mask",
    model_file: Annotated[Path, typer.Option("--weights")] = WEIGHTS,
    sheet: Annotated[Path | None, typer.Option(help="Draw the failures' pictures and chips here")] = None,
) -> None:
    compute = Compute()
    compute.limit_libraries()
    detector = load_detector(compute=compute)
    model = MaskClassifierNet(model_file, compute)
    results = [
        judge(path, truth, detector, model)
        for truth in RIGHT
        for path in sorted(require(data / truth).iterdir())
    ]
    failures = [result for result in results if result.answer != RIGHT[result.truth]]
    for result in failures:
        print(f"wrong: {result.truth}/{result.name} {result.answer} {result.probability:.2f}")
    report(results)
    report_bare(DATA / "fairface", detector, model)
    batch = np.stack([result.chip for result in results[:64]])
    started = time.perf_counter()
    for _ in range(10):
        model.classify(batch)
    print(f"\n{(time.perf_counter() - started) / 640 * 1000:.2f} ms a chip, batch of 64, one thread")
    if sheet is not None and failures:
        tiles = [tile((r.picture, r.chip), f"{r.truth}: {r.answer} {r.probability:.2f}") for r in failures]
        draw(tiles, sheet, columns=5)


if __name__ == "__main__":
    typer.run(main)
