"""Liveness of the published frames, and how many faces a second the two networks score.

python -m tests.benchmarks.liveness
"""

import time
from typing import Annotated

import numpy as np
import typer
from PIL import Image, ImageOps

from prosopon.configs.settings import DetectionSettings
from prosopon.models.faces.attributes.liveness import MiniFASNetEnsemble
from prosopon.models.faces.centerface import CenterFace
from prosopon.models.pictures.crops import cut
from prosopon.models.runtime.session import Compute
from tests.paths import DATA, require
from tests.weights import weights


def main(
    threads: Annotated[int, typer.Option(help="Threads of each session.")] = 1, rounds: int = 20
) -> None:
    compute = Compute(threads=threads)
    detector = CenterFace(weights("centerface").path, compute, DetectionSettings())
    v2, v1se = weights("minifasnet").paths
    model = MiniFASNetEnsemble(v2, v1se, compute)
    faces: list[list[np.ndarray]] = []
    for name in ("T1", "F1", "F2"):
        file = require(DATA / "minivision" / f"image_{name}.jpg")
        picture = np.asarray(ImageOps.exif_transpose(Image.open(file)).convert("RGB"))
        face = detector.detect([picture], 0.5)[0]
        chips = [cut(picture, face.boxes[0], face.landmarks[0], spec).pixels[None] for spec in model.crops]
        score = float(model.score(chips)[0])
        print(f"{name}: live {score:.4f}  ({'live' if name.startswith('T') else 'an attack'})")
        faces.append(chips)
    for size in (1, 4, 16):
        batch = [np.repeat(chips, size, axis=0) for chips in faces[0]]
        times = []
        for _ in range(rounds):
            started = time.perf_counter()
            model.score(batch)
            times.append(time.perf_counter() - started)
        best, median = min(times), float(np.median(times))
        print(
            f"batch {size:2d}, {threads} threads: median {median * 1000:.1f} ms, best {best * 1000:.1f} ms, "
            f"{size / median:.0f} faces/s"
        )


if __name__ == "__main__":
    typer.run(main)
