"""How well masks are told on 500 photographs of the web, which training never saw.

    python -m tests.benchmarks.mask [--sheet failures.png]

The largest face of each picture counts. A picture with a mask is right when the answer is
`mask_worn_correctly`, one without when it is `without_mask`; a picture whose face is not found is wrong.
"""

import time
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from PIL import Image, ImageOps

from configs.settings import DetectionSettings
from models.centerface import CenterFace
from models.crops import cut
from models.mask import CLASSES, WEIGHTS, MaskClassifierNet
from models.roles import FaceDetector
from models.session import Compute
from models.types import RGBImage
from tests.paths import DATA, require
from tests.weights import weights

ANSWERS = (*CLASSES, "no face")
RIGHT = {"with_mask": "mask_worn_correctly", "without_mask": "without_mask"}


def chip_of(
    picture: RGBImage, detector: FaceDetector, model: MaskClassifierNet, threshold: float
) -> RGBImage | None:
    """The chip of the largest face, if any."""
    faces = detector.detect([picture], threshold)[0].largest_first()
    return cut(picture, faces.boxes[0], faces.landmarks[0], model.crop).pixels if len(faces) else None


def read(path: Path) -> RGBImage:
    return np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))


def main(
    data: Annotated[Path, typer.Option(help="Folder with with_mask/ and without_mask/")] = DATA / "mask",
    model_file: Annotated[Path, typer.Option("--weights")] = WEIGHTS,
    sheet: Annotated[Path | None, typer.Option(help="Draw the failures' pictures and chips here")] = None,
) -> None:
    compute, settings = Compute(), DetectionSettings()
    compute.limit_libraries()
    detector = CenterFace(weights("centerface").path, compute, settings)
    model = MaskClassifierNet(model_file, compute)
    matrix = {truth: dict.fromkeys(ANSWERS, 0) for truth in RIGHT}
    failures: list[RGBImage] = []
    chips: list[RGBImage] = []
    for truth in RIGHT:
        for path in sorted(require(data / truth).iterdir()):
            picture = read(path)
            chip = chip_of(picture, detector, model, settings.score_threshold)
            answer, probability = "no face", 0.0
            if chip is not None:
                chips.append(chip)
                mask = model.classify(chip[None])[0]
                answer, probability = mask.value, mask.probability
            matrix[truth][answer] += 1
            if answer != RIGHT[truth]:
                print(f"wrong: {truth}/{path.name} {answer} {probability:.2f}")
                shown = np.zeros((64, 64, 3), np.uint8) if chip is None else chip
                small = cv2.resize(picture, (128, 128), interpolation=cv2.INTER_AREA)
                failures.append(np.hstack([small, cv2.resize(shown, (128, 128))]))
    print(f"\n{'':14}" + "".join(f"{answer:>24}" for answer in ANSWERS))
    for truth, row in matrix.items():
        print(f"{truth:14}" + "".join(f"{row[answer]:24d}" for answer in ANSWERS))
    report(matrix)
    batch = np.stack(chips[:64])
    started = time.perf_counter()
    for _ in range(10):
        model.classify(batch)
    print(f"{(time.perf_counter() - started) / 640 * 1000:.2f} ms a chip, batch of 64, one thread")
    if sheet is not None and failures:
        draw(failures, sheet)


def report(matrix: dict[str, dict[str, int]]) -> None:
    """Accuracy as it is judged, and where a mask worn incorrectly counts as a mask, too."""
    total = sum(sum(row.values()) for row in matrix.values())
    right = sum(matrix[truth][answer] for truth, answer in RIGHT.items())
    masked = matrix["with_mask"]["mask_worn_incorrectly"]
    print(f"accuracy {right / total:.4f} ({right} of {total})")
    print(f"accuracy of 'there is a mask, worn any way' {(right + masked) / total:.4f}")


def draw(tiles: list[RGBImage], path: Path, columns: int = 5) -> None:
    blank = np.zeros_like(tiles[0])
    padded = tiles + [blank] * (-len(tiles) % columns)
    rows = [np.hstack(padded[i : i + columns]) for i in range(0, len(padded), columns)]
    Image.fromarray(np.vstack(rows)).save(path)


if __name__ == "__main__":
    typer.run(main)
