"""Train the student; what was learnt is never thrown away: a run goes on from its last checkpoint.

    python -m prosopon.models.training.embedding.train --teachers /tmp/embedding \\
        --labels fairface_chips.csv --out /tmp/student

Per view: the distance to the teachers' common embedding; how far the view is nearer to its own face's embedding
than to those of all other faces (cross-entropy over the training set, Wu et al. 2018); the similarities within the
batch, compared to the teachers', those within a group once more where they are too high; and the teachers' inner
maps, sampled where the view shows their cells.

Several runs with other numbers (`--worker 1`, started later) work on one network: every so often each goes half the
way to what the others have learnt (local SGD, Stich 2019).
"""

import json
import signal
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from queue import Queue
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from torch import Tensor

from prosopon.models.training.embedding.data import Batch, Faces
from prosopon.models.training.embedding.muon import Muon
from prosopon.models.training.embedding.network import Adaptors, Student, parameters, smoothed
from prosopon.models.training.embedding.teachers import HINTS

TEMPERATURE = 1 / 16
KEEP = 0.998


def losses(
    embedding: Tensor, hints: list[Tensor], batch: Batch, targets: Tensor, positions: Tensor
) -> dict[str, Tensor]:
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
    for hint, guess, aimed, place in zip(HINTS, hints, batch.hints, batch.places, strict=True):
        grid = F.affine_grid(place, [len(guess), 1, hint.side, hint.side], align_corners=False)
        seen = F.grid_sample(guess.float(), grid, padding_mode="border", align_corners=False)
        parts[hint.name] = (seen - aimed).square().sum(dim=1).mean()
    return parts


WEIGHTS = {
    "cosine": 2.0,
    "own": 0.1,
    "pairs": 5.0,
    "fellows": 1.0,
    "mobile14": 0.5,
    "mobile7": 0.5,
    "retail8": 0.5,
}


@torch.no_grad()
def held_out(student: Student, faces: Faces, side: int) -> dict[str, object]:
    """Cosine to the targets on clean chips that are never trained on, all and by group; how many find their own."""
    student.eval()
    found = []
    rows = faces.held_out
    targets = faces.targets[np.searchsorted(faces.rows, rows)]
    for start in range(0, len(rows), 100):
        with torch.autocast("cpu", torch.bfloat16):
            found.append(F.normalize(student(faces.clean(rows[start : start + 100], side)).float()))
    student.train()
    own = torch.cat(found).numpy()
    cosine = (own * targets).sum(axis=1)
    first = (own @ targets.T).argmax(axis=1) == np.arange(len(rows))
    groups = faces.groups[rows]
    by_group = {
        name: round(float(cosine[groups == group].mean()), 3) for group, name in enumerate(faces.names)
    }
    return {
        "cosine": round(float(cosine.mean()), 4),
        "own_first": round(float(first.mean()), 4),
        "groups": by_group,
    }


def main(
    teachers: Annotated[Path, typer.Option(help="What `teachers` wrote")],
    labels: Annotated[Path, typer.Option(help="fairface_chips.csv")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints and the log")],
    side: Annotated[int, typer.Option(help="Pixels of the views: fewer at first, 112 at last")] = 112,
    each: Annotated[int, typer.Option(help="Views of every group in a batch")] = 5,
    rate: Annotated[float, typer.Option(help="Relative length of a step")] = 0.06,
    fall: Annotated[
        int, typer.Option(help="Views after which the rate falls as one over the root")
    ] = 200_000,
    hard: Annotated[int, typer.Option(help="Views after which the views are as hard as they get")] = 600_000,
    cool: Annotated[int, typer.Option(help="Views over which the rate falls to zero; then the run ends")] = 0,
    until: Annotated[int, typer.Option(help="Views in all")] = 100_000_000,
    worker: Annotated[
        int, typer.Option(help="Runs side by side have other numbers; 0 measures and saves")
    ] = 0,
    exchange: Annotated[int, typer.Option(help="Steps between exchanges of weights among workers")] = 40,
    threads: int = 1,
    seconds: Annotated[float, typer.Option(help="Between checkpoints")] = 240,
    every: Annotated[int, typer.Option(help="Views between measurements on the held-out chips")] = 20_000,
) -> None:
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    faces = Faces(teachers, labels)
    student = Student().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    adaptors = Adaptors(HINTS[0].components, tuple(hint.components for hint in HINTS[1:]))
    shaped = [
        w for n, w in student.named_parameters() if w.ndim == 4 and not n.startswith(("weigh.", "stem."))
    ]
    ids = {id(weight) for weight in shaped}
    rest = [w for w in student.parameters() if id(w) not in ids] + list(adaptors.parameters())
    turning, moving = Muon(shaped, rate), torch.optim.AdamW(rest, 1e-3, (0.9, 0.99), weight_decay=1e-4)
    average = {name: value.clone() for name, value in student.state_dict().items()}
    views, steps = 0, 0
    path = out / "checkpoint.pt"
    if path.exists():
        saved = torch.load(path, weights_only=True)
        student.load_state_dict(saved["student"])
        adaptors.load_state_dict(saved["adaptors"])
        turning.load_state_dict(saved["turning"])
        moving.load_state_dict(saved["moving"])
        average, views, steps = saved["average"], saved["views"], saved["steps"]
    print(f"{parameters(student)} weights, {views} views seen, {len(faces.rows)} faces", flush=True)

    def save() -> None:
        state = {
            "student": student.state_dict(), "adaptors": adaptors.state_dict(), "turning": turning.state_dict(),
            "moving": moving.state_dict(), "average": average, "views": views, "steps": steps,
        }  # fmt: skip
        torch.save(state, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    def meet() -> int:
        """Leave the weights for the other workers, go half the way to theirs; how many views they added."""
        weights = student.state_dict() | {f"adaptors.{n}": v for n, v in adaptors.state_dict().items()}
        added = 0
        for theirs in sorted(out.glob("worker-*.pt")):
            number = int(theirs.stem.split("-")[1])
            if number == worker or time.time() - theirs.stat().st_mtime > 600:
                continue
            other = torch.load(theirs, weights_only=True)
            added += max(0, other["views"] - met.get(number, other["views"]))
            met[number] = other["views"]
            with torch.no_grad():
                for name, value in weights.items():
                    if value.is_floating_point():
                        value.lerp_(other["weights"][name], 0.5)
        mine = out / f"worker-{worker}.pt"
        torch.save({"weights": weights, "views": own_views}, mine.with_suffix(".new"))
        mine.with_suffix(".new").replace(mine)
        return added

    met: dict[int, int] = {}
    own_views = 0
    smooth = Student().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    queue: Queue[Batch] = Queue(3)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    rng = np.random.default_rng((views, worker))

    def fill() -> None:
        while not stop.is_set():
            queue.put(faces.batch(rng, each, side, min(1.0, views / hard)))

    threading.Thread(target=fill, daemon=True).start()
    targets = torch.from_numpy(faces.targets)
    started, marked, begun = views, views // every, time.monotonic()
    kept = time.monotonic()
    sums: dict[str, float] = {}
    taken = 0
    while views < until and not stop.is_set() and not (cool and views - started >= cool):
        batch = queue.get()
        pace = min(1.0, (steps + 1) / 100) * min(1.0, (fall / max(views, 1)) ** 0.5)
        if cool:
            pace *= 1 - (views - started) / cool
        positions = torch.from_numpy(np.searchsorted(faces.rows, batch.rows.numpy()))
        for optimizer, base in ((turning, rate), (moving, 2e-3)):
            optimizer.param_groups[0]["lr"] = base * pace
        with torch.autocast("cpu", torch.bfloat16):
            middle, last = student.maps(batch.views)
            embedding, hints = student.pool(last), adaptors(middle, last)
        parts = losses(embedding.float(), hints, batch, targets, positions)
        loss = torch.stack([WEIGHTS[name] * part for name, part in parts.items()]).sum()
        for optimizer in (turning, moving):
            optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for optimizer in (turning, moving):
            optimizer.step()
        steps, taken = steps + 1, taken + 1
        views += len(batch.rows)
        own_views += len(batch.rows)
        if steps % exchange == 0:
            views += meet()
        if steps % 400 == 0:
            faces.refresh()
            targets = torch.from_numpy(faces.targets)
        if worker:
            continue
        smoothed(student, average, min(KEEP, (1 + steps) / (10 + steps)))
        for name, part in parts.items():
            sums[name] = sums.get(name, 0.0) + float(part.detach())
        if views // every > marked:
            marked = views // every
            smooth.load_state_dict(average)
            line = {
                "time": datetime.now(UTC).strftime("%H:%M:%S"), "views": views, "side": side, "pace": round(pace, 3),
                "views_per_second": round((views - started) / (time.monotonic() - begun), 1),
                **{name: round(value / taken, 4) for name, value in sums.items()},
                "held_out": held_out(smooth, faces, side),
                "faces": len(faces.rows),
            }  # fmt: skip
            sums, taken = {}, 0
            with (out / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)
        if time.monotonic() - kept > seconds:
            save()
            kept = time.monotonic()
    stop.set()
    if not worker:
        save()


if __name__ == "__main__":
    typer.run(main)
