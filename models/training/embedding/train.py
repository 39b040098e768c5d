"""Training the student for as long as it is given; an interrupted run goes on from its last checkpoint.

    python -m prosopon.models.training.embedding.train --teachers /tmp/embedding --labels fairface_chips.csv \\
        --retail face-reidentification-retail-0095.onnx --out /tmp/student --minutes 90

It starts as the teacher whose trunk it has, with the linear layer that repeats both teachers best on clean chips, and
learns to say of bad pictures what they say of good ones. Per view: the distance to the teachers' common embedding; how
far the view is nearer to its own face's embedding than to those of all other faces (cross-entropy over the training
set, Wu et al. 2018); the similarities within the batch, compared to the teachers', those within a group once more
where they are too high. The rate falls to nearly nothing with the time, and a running average of the weights is what
is judged and exported.
"""

import json
import math
import signal
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from queue import Queue
from typing import Annotated

import numpy as np
import onnx
import torch
import torch.nn.functional as F
import typer
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from prosopon.models.training.embedding.data import Batch, Faces
from prosopon.models.training.embedding.network import Student, fit, parameters
from prosopon.models.training.retail_trunk import start

TEMPERATURE = 1 / 16
KEEP = 0.998
WARM_UP = 100
WEIGHTS = {"cosine": 2.0, "own": 0.1, "pairs": 5.0, "fellows": 1.0}


def losses(embedding: Tensor, batch: Batch, targets: Tensor, positions: Tensor) -> dict[str, Tensor]:
    """Every part of the loss, not yet weighted. embedding: ``(N, 256)`` float32. targets: of all
    faces; positions ``(N,)``: which of them are the views'."""
    own = F.normalize(embedding)
    aim = targets[positions]
    parts = {"cosine": 1 - (own * aim).sum(dim=1).mean()}
    parts["own"] = F.cross_entropy(own @ targets.T / TEMPERATURE, positions)
    excess = own @ own.T - aim @ aim.T
    others = positions[:, None] != positions[None]
    parts["pairs"] = (excess * others).square().mean()
    fellows = others & (batch.groups[:, None] == batch.groups[None])
    parts["fellows"] = torch.where(fellows, excess, -1).amax(dim=1).clamp_min(0).square().mean()
    return parts


@torch.no_grad()
def begin(student: Student, retail: Path, faces: Faces, most: int) -> None:
    """The trunk as the teacher's, the layer as it repeats `most` clean training chips best."""
    start(student, onnx.load(retail))
    rows, features = clean_features(student, faces, most)
    fit(student.embed, features, torch.from_numpy(faces.targets[faces.positions(rows)]))


@torch.no_grad()
def clean_features(student: Student, faces: Faces, most: int) -> tuple[np.ndarray, Tensor]:
    """`most` training chips, drawn at random: their rows, and what the layer is given for them."""
    rows = np.random.default_rng(0).permutation(np.concatenate(faces.members))[:most]
    parts = np.array_split(rows, max(1, len(rows) // 50))
    return rows, torch.cat([student.features(faces.clean(part)) for part in parts])


@torch.no_grad()
def held_out(student: Student, faces: Faces) -> dict[str, object]:
    """Cosine to the targets on clean chips that are never trained on, all and by group; how many find their own."""
    rows = faces.held_out
    targets = faces.targets[faces.positions(rows)]
    with torch.autocast("cpu", torch.bfloat16):
        own = torch.cat(
            [F.normalize(student(faces.clean(rows[i : i + 100])).float()) for i in range(0, len(rows), 100)]
        )
    cosine = (own.numpy() * targets).sum(axis=1)
    first = (own.numpy() @ targets.T).argmax(axis=1) == np.arange(len(rows))
    groups = faces.groups[rows]
    by_group = {str(name): round(float(cosine[groups == i].mean()), 3) for i, name in enumerate(faces.names)}
    return {
        "cosine": round(float(cosine.mean()), 4),
        "own_first": round(float(first.mean()), 4),
        "groups": by_group,
    }


def main(
    teachers: Annotated[Path, typer.Option(help="What `teachers` wrote")],
    labels: Annotated[Path, typer.Option(help="fairface_chips.csv")],
    retail: Annotated[Path, typer.Option(help="face-reidentification-retail-0095 as ONNX")],
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint and the log")],
    minutes: Annotated[float, typer.Option(help="Of wall time, all runs with this checkpoint together")] = 90,
    each: Annotated[int, typer.Option(help="Views of every group in a batch")] = 5,
    rate: Annotated[float, typer.Option(help="The highest")] = 3e-4,
    hard: Annotated[int, typer.Option(help="Views after which the views are as hard as they get")] = 10_000,
    first: Annotated[int, typer.Option(help="Clean chips that the layer starts from")] = 4000,
    threads: int = 1,
    every: Annotated[int, typer.Option(help="Views between measurements and checkpoints")] = 10_000,
) -> None:
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    faces = Faces(teachers, labels)
    student = Student().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = AveragedModel(student, multi_avg_fn=get_ema_multi_avg_fn(KEEP))
    optimizer = torch.optim.AdamW(student.parameters(), rate, (0.9, 0.99), weight_decay=0.01)
    views, steps, spent = 0, 0, 0.0
    path = out / "checkpoint.pt"
    if path.exists():
        saved = torch.load(path)
        student.load_state_dict(saved["student"])
        average.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        views, steps, spent = saved["views"], saved["steps"], saved["spent"]
    else:
        begin(student, retail, faces, first)
        average.module.load_state_dict(student.state_dict())
        print(json.dumps({"views": 0, "held_out": held_out(student, faces)}), flush=True)
    print(f"{parameters(student)} weights, {views} views seen, {len(faces.rows)} faces", flush=True)

    began = time.monotonic() - spent
    queue: Queue[Batch] = Queue(3)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    rng = np.random.default_rng(views)

    def fill() -> None:
        while not stop.is_set():
            queue.put(faces.batch(rng, each, min(1.0, 0.3 + views / hard)))

    def keep() -> None:
        state = {
            "student": student.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict(),
            "views": views, "steps": steps, "spent": time.monotonic() - began,
        }  # fmt: skip
        torch.save(state, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    threading.Thread(target=fill, daemon=True).start()
    targets = torch.from_numpy(faces.targets)
    resumed, marked, here = views, views // every, time.monotonic()
    sums: dict[str, float] = {}
    taken = 0
    while (part := (time.monotonic() - began) / (60 * minutes)) < 1 and not stop.is_set():
        batch = queue.get()
        factor = min(1.0, (steps + 1) / WARM_UP) * (0.98 * (0.5 + 0.5 * math.cos(math.pi * part)) + 0.02)
        optimizer.param_groups[0]["lr"] = rate * factor
        positions = torch.from_numpy(faces.positions(batch.rows.numpy()))
        with torch.autocast("cpu", torch.bfloat16):
            embedding = student(batch.views)
        parts = losses(embedding.float(), batch, targets, positions)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(torch.stack([WEIGHTS[name] * value for name, value in parts.items()]).sum())
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(student)
        steps, taken, views = steps + 1, taken + 1, views + len(batch.rows)
        for name, value in parts.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
        if views // every > marked:
            marked = views // every
            line = {
                "time": datetime.now(UTC).strftime("%H:%M:%S"), "views": views, "rate": factor * rate,
                "views_per_second": round((views - resumed) / (time.monotonic() - here), 1),
                **{name: round(value / taken, 4) for name, value in sums.items()},
                "held_out": held_out(average.module, faces),  # type: ignore[arg-type]
            }  # fmt: skip
            sums, taken = {}, 0
            with (out / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)
            keep()
    stop.set()
    keep()


if __name__ == "__main__":
    typer.run(main)
