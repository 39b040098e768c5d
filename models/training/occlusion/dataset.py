"""Rendering the training set: faces with things before them, and how much of each pixel these things are.

    python -m prosopon.models.training.occlusion.dataset --faces /tmp/occlusion --shards 4

`models.training.occlusion.faces` writes what this reads. A shard has `EACH` pictures; held-out faces get one thing of
one kind each, and lie in `held_out_*.npy`.
"""

from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer

from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.training.mask.dataset import spoil
from prosopon.models.training.occlusion.canvas import Random, capsule, noise, ramp, turned, view
from prosopon.models.training.occlusion.faces import SIDE, Face, Faces, held_out
from prosopon.models.training.occlusion.labels import known
from prosopon.models.training.occlusion.occluders import KINDS, SHARES

EACH = 4_000
_COUNTS = (0.12, 0.55, 0.25, 0.08)
"""Shares of pictures with no, one, two and three things."""
_VALIDATED = 200
"""Held-out pictures of each kind."""


def shone(rng: Random, face: Face, picture: Float32) -> Float32:
    """Cast shadows and patches of light, which are no things."""
    where = view(face)
    if rng.random() < 0.5:
        at = (rng.normal(0, 0.6), rng.normal(0.3, 0.6))
        x, _ = turned(where.x, where.y, at, float(rng.uniform(0, 2 * np.pi)))
        edge = x + rng.uniform(0, 0.3) * noise(rng, int(rng.integers(3, 8)))
        if rng.random() < 0.4:  # a band
            edge = np.abs(edge) - rng.uniform(0.05, 0.4)
    else:
        start, end = rng.normal(0, 0.9, (2, 2))
        edge = capsule(where.x, where.y, start, end, (rng.uniform(0.05, 0.5), rng.uniform(0.05, 0.5)))[0]
    soft = rng.uniform(0.02, 0.4)
    shape = ramp(soft, -soft, np.asarray(edge, np.float32))[..., None]
    gain = rng.uniform(0.35, 0.85) if rng.random() < 0.75 else rng.uniform(1.15, 1.6)
    tint = 1 + rng.normal(0, 0.04, 3)
    return np.asarray(picture * (1 + shape * (gain * tint - 1)), np.float32)


def rendered(rng: Random, face: Face, others: list[Face], kinds: list[str]) -> tuple[RGBImage, Float32]:
    """The picture ``(160, 160, 3)`` with things before the face, and ``(160, 160)`` 0..1 how much of a pixel they are.

    kinds: of `KINDS`, one of `others` for each.
    """
    picture = face.pixels.astype(np.float32)
    if rng.random() < 0.3:
        picture = shone(rng, face, picture)
    free = np.ones((SIDE, SIDE), np.float32)
    for kind, other in zip(kinds, others, strict=True):
        layer = KINDS[kind](rng, face, other)
        shadow = rng.uniform(0, 0.5) if kind != "surroundings" and rng.random() < 0.6 else 0.0
        alpha = layer.alpha
        if kind != "mask" and rng.random() < 0.4:  # out of focus
            alpha = cv2.GaussianBlur(alpha, (0, 0), float(rng.uniform(0.4, 1.2)))
        picture = type(layer)(layer.colour, alpha).over(rng, picture, shadow)
        free *= 1 - alpha
    pixels = np.asarray(np.clip(picture + rng.normal(0, rng.uniform(0, 2), picture.shape), 0, 255), np.uint8)
    return spoil(rng, pixels), 1 - free


def _write(out: Path, name: str, faces: Faces, seed: int, plan: list[tuple[int, list[str]]]) -> None:
    """plan: of each picture its face and the kinds of what lies before it."""
    rng = np.random.default_rng(seed)
    pixels = np.empty((len(plan), SIDE, SIDE, 3), np.uint8)
    alphas = np.empty((len(plan), SIDE, SIDE), np.uint8)
    for row, (index, kinds) in enumerate(plan):
        others = [faces[int(other)] for other in rng.integers(len(faces), size=len(kinds))]
        picture, alpha = rendered(rng, faces[index], others, kinds)
        pixels[row], alphas[row] = picture, np.round(alpha * 255)
    np.save(out / f"{name}_pixels.npy", pixels)
    np.save(out / f"{name}_alpha.npy", alphas)
    # Last, since training looks for it.
    np.save(out / f"{name}_index.npy", np.array([index for index, _ in plan]))


def main(
    faces: Annotated[
        Path, typer.Option(help="What models.training.occlusion.faces wrote; results go there too")
    ],
    shards: int = 4,
    first: Annotated[int, typer.Option(help="Number of the first shard")] = 0,
) -> None:
    cv2.setNumThreads(1)
    stored = Faces(faces)
    out = np.array([held_out(name) for name in stored.names])
    inner, outer = np.flatnonzero(~out), np.flatnonzero(out)
    if first == 0:
        np.save(faces / "labels.npy", np.stack([known(stored[index]) for index in range(len(stored))]))
        rng = np.random.default_rng(len(stored))
        each = [(kind, int(index)) for kind in KINDS for index in rng.choice(outer, _VALIDATED)]
        _write(faces, "held_out", stored, 1, [(index, [kind]) for kind, index in each])
    for shard in range(first, first + shards):
        rng = np.random.default_rng(100 + shard)
        plan = []
        for index in rng.choice(inner, EACH):
            kinds = rng.choice(list(KINDS), size=int(rng.choice(4, p=_COUNTS)), p=SHARES)
            plan.append((int(index), [str(kind) for kind in kinds]))
        _write(faces, f"shard{shard}", stored, 200 + shard, plan)
        print(f"shard {shard}", flush=True)


if __name__ == "__main__":
    typer.run(main)
