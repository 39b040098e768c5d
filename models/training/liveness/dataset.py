"""Rendering the training set: live people and attacks, as the two crops that the network sees.

    python -m prosopon.models.training.liveness.dataset --detector centerface.onnx --teacher MiniFASNetV2.pth \\
        --teacher MiniFASNetV1SE.pth --portraits faker --portraits openpeople --chips fairface_chips.tar \\
        --panoramas panoramas --out /tmp/liveness --processes 2

Written in pieces, one file each; those that are there already are left as they are, so it can be stopped and go on.
The portraits are `@faker-js/assets-person-portrait` (CC0) and the pictures of the package `openpeople` (MIT), the
chips FairFace's training part (CC BY 4.0), the panoramas Poly Haven's as `pmndrs/drei-assets` has them (CC0).
"""

from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from prosopon.configs.settings import DetectionSettings
from prosopon.models.faces.attributes.liveness import CONTEXT, DETAIL
from prosopon.models.faces.centerface import CenterFace
from prosopon.models.faces.minifasnet import MiniFASNetEnsemble
from prosopon.models.pictures.crops import cut
from prosopon.models.runtime.session import Compute
from prosopon.models.training.liveness.attacks import KINDS, take
from prosopon.models.training.liveness.sources import chips, portraits, views

PIECE = 500

LIVE = 0.4
"""Share of live pictures."""

TIGHT = 0.3
"""Share of pictures made of faces without their surroundings, of each kind alike."""

VIEWS = 30
"""Photographs taken of each panorama."""

NO_LANDMARKS = np.zeros((5, 2), np.float32)


def render(
    shard: int,
    shards: int,
    pieces: int,
    detector: Path,
    teacher: tuple[Path, Path],
    folders: tuple[Path, ...],
    tar: Path,
    faces: int,
    panoramas: Path,
    out: Path,
) -> None:
    """Every `shards`-th piece, of every `shards`-th face."""
    compute = Compute()
    compute.limit_libraries()
    find = CenterFace(detector, compute, DetectionSettings())
    wide = [source for folder in folders for source in portraits(folder, find, slice(shard, None, shards))]
    tight = list(chips(tar, find, slice(shard, faces, shards)))
    teachers = MiniFASNetEnsemble(*teacher, compute)
    scenes = views(sorted(panoramas.glob("*.hdr")), VIEWS, np.random.default_rng(shard))
    print(f"shard {shard}: {len(wide)} portraits, {len(tight)} chips, {len(scenes)} places", flush=True)
    for piece in range(shard, pieces, shards):
        path = out / f"{piece:04d}.npz"
        if path.exists():
            continue
        rng = np.random.default_rng(piece)
        rows: dict[str, list[object]] = {
            key: [] for key in ("context", "detail", "wider", "kind", "held_out", "tight")
        }
        for _ in range(PIECE):
            kind = 0 if rng.random() < LIVE else int(rng.integers(1, len(KINDS)))
            choice = tight if rng.random() < TIGHT else wide
            source = choice[rng.integers(len(choice))]
            others = [other for other in wide if other.held_out == source.held_out]
            taken = take(rng, KINDS[kind], source, scenes, others)
            for key, spec in (("context", CONTEXT), ("detail", DETAIL), ("wider", teachers.crops[1])):
                rows[key].append(cut(taken.pixels, taken.box, NO_LANDMARKS, spec).pixels)
            rows["kind"].append(kind)
            rows["held_out"].append(source.held_out)
            rows["tight"].append(source.tight)
        arrays = {key: np.array(values) for key, values in rows.items()}
        arrays["teacher"] = teachers.score([arrays["context"], arrays.pop("wider")])
        partial_path = out / f".{piece:04d}.npz"
        np.savez(partial_path, **arrays)  # type: ignore[arg-type]
        partial_path.rename(path)
        print(f"{path.name}", flush=True)


def main(
    detector: Annotated[Path, typer.Option(help="centerface.onnx")],
    teacher: Annotated[list[Path], typer.Option(help="MiniFASNet V2 and V1SE, in this order")],
    portrait_folders: Annotated[list[Path], typer.Option("--portraits", help="Folders of portraits")],
    tar: Annotated[Path, typer.Option("--chips", help="FairFace's aligned chips, a tar file")],
    panoramas: Annotated[Path, typer.Option(help="Folder of Radiance files")],
    out: Annotated[Path, typer.Option(help="Folder for the pieces")],
    pieces: int = 40,
    faces: Annotated[int, typer.Option(help="At most so many chips")] = 4000,
    processes: int = 1,
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    v2, v1se = teacher
    work = partial(
        render,
        shards=processes,
        pieces=pieces,
        detector=detector,
        teacher=(v2, v1se),
        folders=tuple(portrait_folders),
        tar=tar,
        faces=faces,
        panoramas=panoramas,
        out=out,
    )
    with get_context("spawn").Pool(processes) as pool:
        pool.map(work, range(processes), chunksize=1)


if __name__ == "__main__":
    typer.run(main)
