"""Spoilt views of faces, and how far each view's embedding is from the one of the picture before.

    python -m prosopon.models.training.quality.dataset --faces /tmp/embedding --out /tmp/quality

The faces are those that `models.training.embedding.teachers` wrote: FairFace's training chips with five landmarks and
their embeddings by face-reidentification-retail-0095. The embedder of the views is the same network.
"""

from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer

from prosopon.configs.settings import ModelSettings
from prosopon.models.faces.attributes.quality import CROP
from prosopon.models.load import load_embedder
from prosopon.models.matching.vectors import normalize
from prosopon.models.runtime.session import Compute
from prosopon.models.training.embedding.augment import Rng, view_of
from prosopon.models.training.embedding.data import TO_VIEW, similarities
from prosopon.models.training.embedding.teachers import ARCFACE

EMBEDDER = "face-reidentification-retail-0095"

SIDE = 112
"""Of the views, in pixels: ArcFace's alignment."""


def spoilt(rng: Rng, view: np.ndarray) -> np.ndarray:
    """Worse than the views that an embedding is trained on: few pixels, far out of focus, hardly any light, noise."""
    side = view.shape[0]
    if rng.random() < 0.4:
        small = int(np.exp(rng.uniform(np.log(6), np.log(50))))
        way = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST]))
        view = cv2.resize(view, (small, small), interpolation=cv2.INTER_AREA)
        view = cv2.resize(view, (side, side), interpolation=way)
    if rng.random() < 0.4:
        view = cv2.GaussianBlur(view, (0, 0), np.exp(rng.uniform(np.log(0.7), np.log(18))))
    if rng.random() < 0.1:
        length = int(rng.integers(3, 25))
        kernel = np.zeros((length, length), np.float32)
        kernel[length // 2] = 1 / length
        turn = cv2.getRotationMatrix2D((length / 2 - 0.5, length / 2 - 0.5), rng.uniform(0, 180), 1)
        kernel = cv2.warpAffine(kernel, turn, (length, length))
        view = cv2.filter2D(view, -1, kernel / max(float(kernel.sum()), 1e-6))
    pixels = view.astype(np.float32)
    if rng.random() < 0.2:
        pixels *= np.exp(rng.uniform(np.log(0.03), np.log(4)))
    if rng.random() < 0.2:
        pixels += rng.normal(0, np.exp(rng.uniform(np.log(3), np.log(50))), pixels.shape)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def main(
    faces: Annotated[Path, typer.Option(help="What models.training.embedding.teachers wrote")],
    out: Annotated[Path, typer.Option(help="Folder for the arrays")],
    views: Annotated[int, typer.Option(help="Of each face")] = 4,
    seed: int = 0,
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    compute = Compute(threads=1)
    compute.limit_libraries()
    embedder = load_embedder(ModelSettings(overrides={"embedder": EMBEDDER}), compute)
    chips = np.load(faces / "chips.npy", mmap_mode="r")
    clean = np.load(faces / "retail.npy", mmap_mode="r")
    matrices = similarities(np.load(faces / "landmarks.npy").astype(np.float64), ARCFACE)
    ended = {int(path.stem.split("-")[1]): int(path.read_text()) for path in faces.glob("done-*.txt")}
    rows = np.concatenate([np.arange(first, last) for first, last in sorted(ended.items())])
    rng = np.random.default_rng(seed)
    small = np.lib.format.open_memmap(
        out / "chips.npy", "w+", "uint8", (len(rows) * views, CROP.size, CROP.size, 3)
    )
    large = np.empty((views, 128, 128, 3), np.uint8)
    agreement = np.empty(len(rows) * views, np.float32)
    for i, row in enumerate(rows):
        for k in range(views):
            # A quarter as they are but for a detector's slips, a quarter as training has them, half of them spoilt.
            view, _ = view_of(rng, np.asarray(chips[row]), matrices[row], SIDE, min(k % 4, 1))
            view = spoilt(rng, view) if k % 4 > 1 else view
            small[i * views + k] = cv2.resize(view, (CROP.size, CROP.size), interpolation=cv2.INTER_AREA)
            large[k] = cv2.warpAffine(view, TO_VIEW[:2], (128, 128))
        before = normalize(normalize(np.asarray(clean[row], np.float32)).mean(axis=0, keepdims=True))
        agreement[i * views : (i + 1) * views] = (normalize(embedder.embed(large)) * before).sum(axis=1)
        if (i + 1) % 1000 == 0:
            print(
                f"{i + 1} of {len(rows)} faces, mean agreement {agreement[: (i + 1) * views].mean():.3f}",
                flush=True,
            )
    np.savez(out / "labels.npz", agreement=agreement, rows=np.repeat(rows, views))


if __name__ == "__main__":
    typer.run(main)
