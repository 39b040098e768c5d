"""How liveness is told on photographs that training never saw: ours, and MiniFASNet where its files are.

    python -m tests.benchmarks.liveness [--sheet errors.png]

Attacks: the two published frames alone (`data/minivision`). Live faces: the third frame, London's portraits, the
groups of `data/compreface_samples`, and the pictures of `data/fairface` and `data/mask/without_mask`, most of which
end at the face. The share of live faces that are called an attack is printed; of those whose picture ends at the
face (`cramped`) apart, and by the groups that London's and FairFace's tables name.
"""

import csv
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image, ImageOps

from prosopon.configs.settings import DetectionSettings
from prosopon.models.faces.attributes.liveness import WEIGHTS, ProsoponLiveness, cramped
from prosopon.models.faces.centerface import CenterFace
from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.faces.minifasnet import MiniFASNetEnsemble
from prosopon.models.pictures.crops import cut
from prosopon.models.roles import Chips, LivenessDetector
from prosopon.models.runtime.session import Compute
from tests.benchmarks.sheets import draw, tile
from tests.paths import DATA, MIRROR, require
from tests.weights import weights

LIVE = ("london", "compreface_samples", "fairface", "mask/without_mask")


@dataclass(frozen=True, slots=True)
class Result:
    """scores: the probability of being live by each model. chip: what ours looks at first."""

    name: str
    scores: tuple[float, ...]
    cramped: bool
    chip: RGBImage


def chips_of(picture: RGBImage, box: Float32, model: LivenessDetector) -> list[Chips]:
    """One face's crops, as batches of one."""
    return [cut(picture, box, np.zeros((5, 2), np.float32), spec).pixels[None] for spec in model.crops]


def judge(files: Iterable[Path], detector: CenterFace, models: Sequence[LivenessDetector]) -> list[Result]:
    """Every face that is found in the pictures."""
    results = []
    for path in files:
        picture = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
        for box in detector.detect([picture], 0.5)[0].boxes:
            chips = [chips_of(picture, box, model) for model in models]
            scores = [float(model.score(crops)[0]) for model, crops in zip(models, chips, strict=True)]
            near = cramped(box, (picture.shape[1], picture.shape[0]))
            results.append(Result(path.name, tuple(scores), near, chips[0][0][0]))
    return results


def spread(folder: Path, most: int) -> list[Path]:
    files = sorted(require(folder).glob("*.jpg"))
    return files[:: max(1, round(len(files) / most))] if most else files


def groups(folder: Path) -> dict[str, str]:
    """File name -> group, as a table in the folder says."""
    if folder.name == "london":
        rows = csv.DictReader((folder / "london_info.csv").open())
        kinds = ("neutral", "smiling")
        return {f"{row['face_id']}_{kind}.jpg": row["face_eth"] for row in rows for kind in kinds}
    if folder.name == "fairface":
        return {Path(row["file"]).name: row["race"] for row in csv.DictReader((folder / "labels.csv").open())}
    return {}


def refused(results: Sequence[Result], model: int) -> str:
    """How many are called an attack."""
    wrong = sum(result.scores[model] < 0.5 for result in results)
    return f"{wrong / max(1, len(results)):.3f} ({wrong} of {len(results)})"


def report(folder: Path, results: Sequence[Result], model: int) -> None:
    near = [result for result in results if result.cramped]
    print(
        f"{folder.name}: called an attack {refused(results, model)}; cramped {refused(near, model)}, "
        f"others {refused([result for result in results if not result.cramped], model)}",
        flush=True,
    )
    by_group = defaultdict(list)
    names = groups(folder)
    for result in results:
        if result.name in names:
            by_group[names[result.name]].append(result)
    for group, members in sorted(by_group.items()):
        print(f"    {group}: {refused(members, model)}")


def milliseconds(chips: list[Chips], model: LivenessDetector, rounds: int = 50) -> str:
    texts = []
    for size in (1, 16):
        batch = [np.repeat(chip, size, axis=0) for chip in chips]
        times = []
        for _ in range(rounds):
            started = time.perf_counter()
            model.score(batch)
            times.append((time.perf_counter() - started) / size * 1000)
        texts.append(f"batch {size}: median {np.median(times):.2f}, best {min(times):.2f}")
    return "; ".join(texts)


def main(
    model_file: Annotated[Path, typer.Option("--weights", help="Of our own network")] = WEIGHTS,
    sheet: Annotated[Path | None, typer.Option(help="Draw the worst live faces of ours here")] = None,
    most: Annotated[
        int, typer.Option(help="About so many pictures of each folder, evenly spread; 0: all")
    ] = 0,
) -> None:
    compute = Compute()
    compute.limit_libraries()
    detector = CenterFace(weights("centerface").path, compute, DetectionSettings())
    models: list[LivenessDetector] = [ProsoponLiveness(model_file, compute)]
    if MIRROR.is_dir():
        v2, v1se = weights("minifasnet").paths
        models.append(MiniFASNetEnsemble(v2, v1se, compute))
    frames = [require(DATA / "minivision" / f"image_{name}.jpg") for name in ("T1", "F1", "F2")]
    names = ", ".join(model.name for model in models)
    print(f"live by {names}:")
    for result in judge(frames, detector, models):
        kind = "live" if "T" in result.name else "an attack"
        print(f"{result.name} ({kind}): " + ", ".join(f"{score:.4f}" for score in result.scores))
    found = {folder: judge(spread(DATA / folder, most), detector, models) for folder in LIVE}
    for index, model in enumerate(models):
        print(f"\n{model.name}")
        for folder, results in found.items():
            report(DATA / folder, results, index)
        picture = np.asarray(ImageOps.exif_transpose(Image.open(frames[0])).convert("RGB"))
        box = detector.detect([picture], 0.5)[0].boxes[0]
        print(f"milliseconds a face, one thread: {milliseconds(chips_of(picture, box, model), model)}")
    if sheet is not None:
        worst = [sorted(results, key=lambda result: result.scores[0])[:24] for results in found.values()]
        tiles = [tile([r.chip], f"live {r.scores[0]:.2f}") for results in worst for r in results]
        draw(tiles, sheet, columns=12)


if __name__ == "__main__":
    typer.run(main)
