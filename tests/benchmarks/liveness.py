"""How liveness is told on photographs that training never saw: ours, and MiniFASNet where its files are.

    python -m tests.benchmarks.liveness [--sheet errors.png]

Attacks: the two published frames alone (`data/minivision`). Live faces: the third frame, London's portraits, the
groups of `data/compreface_samples`, and the pictures of `data/fairface` and `data/mask/without_mask`, most of which
end at the face. The share of live faces that are called an attack is printed; of those whose picture ends at the
face (`cramped`) apart.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from PIL import Image, ImageOps

from prosopon.configs.settings import DetectionSettings
from prosopon.models.faces.attributes.liveness import WEIGHTS, ProsoponLiveness, cramped
from prosopon.models.faces.centerface import CenterFace
from prosopon.models.faces.detections import RGBImage
from prosopon.models.faces.minifasnet import MiniFASNetEnsemble
from prosopon.models.pictures.crops import cut
from prosopon.models.roles import Chips, LivenessDetector
from prosopon.models.runtime.session import Compute
from tests.paths import DATA, MIRROR, require
from tests.weights import weights

LIVE = ("london", "compreface_samples", "fairface", "mask/without_mask")


@dataclass(frozen=True, slots=True)
class Result:
    """score: the probability of being live. chip: what the model looks at first."""

    name: str
    score: float
    cramped: bool
    chip: RGBImage


def chips_of(picture: RGBImage, box: np.ndarray, model: LivenessDetector) -> list[Chips]:
    """One face's crops, as batches of one."""
    return [cut(picture, box, np.zeros((5, 2), np.float32), spec).pixels[None] for spec in model.crops]


def judge(files: Iterable[Path], detector: CenterFace, model: LivenessDetector) -> list[Result]:
    """Every face that is found in the pictures."""
    results = []
    for path in files:
        picture = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
        for box in detector.detect([picture], 0.5)[0].boxes:
            chips = chips_of(picture, box, model)
            near = cramped(box, (picture.shape[1], picture.shape[0]))
            results.append(Result(path.name, float(model.score(chips)[0]), near, chips[0][0]))
    return results


def refused(results: list[Result]) -> str:
    if not results:
        return "none"
    wrong = sum(result.score < 0.5 for result in results)
    return f"{wrong / len(results):.3f} ({wrong} of {len(results)})"


def draw(results: list[Result], path: Path, columns: int = 12) -> None:
    """The crops, side by side."""
    tiles = [cv2.resize(result.chip, (96, 96)) for result in results]
    tiles += [np.zeros((96, 96, 3), np.uint8)] * (-len(tiles) % columns)
    Image.fromarray(
        np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])
    ).save(path)


def milliseconds(chips: list[Chips], model: LivenessDetector, rounds: int = 50) -> str:
    texts = []
    for size in (1, 16):
        batch = [np.repeat(chip, size, axis=0) for chip in chips]
        times = []
        for _ in range(rounds):
            started = time.perf_counter()
            model.score(batch)
            times.append(time.perf_counter() - started)
        texts.append(
            f"batch {size}: median {np.median(times) / size * 1000:.2f}, best {min(times) / size * 1000:.2f}"
        )
    return "; ".join(texts)


def main(
    model_file: Annotated[Path, typer.Option("--weights", help="Of our own network")] = WEIGHTS,
    sheet: Annotated[Path | None, typer.Option(help="Draw the worst live faces of ours here")] = None,
    limit: Annotated[int, typer.Option(help="At most so many pictures of each folder; 0 is all")] = 0,
) -> None:
    compute = Compute()
    compute.limit_libraries()
    detector = CenterFace(weights("centerface").path, compute, DetectionSettings())
    models: list[LivenessDetector] = [ProsoponLiveness(model_file, compute)]
    if MIRROR.is_dir():
        v2, v1se = weights("minifasnet").paths
        models.append(MiniFASNetEnsemble(v2, v1se, compute))
    frames = [require(DATA / "minivision" / f"image_{name}.jpg") for name in ("T1", "F1", "F2")]
    for model in models:
        print(f"\n{model.name}")
        for result in judge(frames, detector, model):
            kind = "live" if "T" in result.name else "an attack"
            print(f"{result.name} ({kind}): live {result.score:.4f}")
        worst: list[Result] = []
        for folder in LIVE:
            files = sorted(require(DATA / folder).glob("*.jpg"))
            results = judge(files[:limit] if limit else files, detector, model)
            near = [result for result in results if result.cramped]
            print(
                f"{folder}: called an attack {refused(results)}; cramped {refused(near)}, "
                f"others {refused([result for result in results if not result.cramped])}",
                flush=True,
            )
            worst += sorted(results, key=lambda result: result.score)[:24]
        if sheet is not None and model is models[0]:
            draw(worst, sheet)
        picture = np.asarray(ImageOps.exif_transpose(Image.open(frames[0])).convert("RGB"))
        box = detector.detect([picture], 0.5)[0].boxes[0]
        print(f"milliseconds a face, one thread: {milliseconds(chips_of(picture, box, model), model)}")


if __name__ == "__main__":
    typer.run(main)
