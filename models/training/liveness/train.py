"""Training the liveness network on what `prosopon.models.training.liveness.dataset` rendered.

    python -m prosopon.models.training.liveness.train --data /tmp/liveness --out models/weights/liveness.onnx
    python -m prosopon.models.training.liveness.train --data /tmp/liveness --out /tmp/fold.onnx --without print

The labels are what was rendered. Where MiniFASNet comes to the same answer, its probability counts too: it was
trained on real attacks, and knows which are hard. `--without` leaves one kind of attack out and then tells how
much of it is caught. Each epoch leaves a checkpoint, from which the same command goes on.
"""

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from prosopon.models.training.liveness.attacks import KINDS
from prosopon.models.training.liveness.network import LivenessNet, live_logit, to_onnx

WINDOW = 80
"""Side of the part of the detail crop that one training step sees: less work, and never twice the same."""

TEACHER = 0.3
"""Weight of the teacher's probability where it agrees with the truth."""

HAZY_LIVE, HAZY_ATTACKS = 0.5, 0.25
"""Shares that are seen through haze: dulled blacks are what paper looks like, too, and must not be all that tells it.
Attacks are hazy as well, so that haze does not tell live faces in turn."""

REFUSED = 0.025
"""Share of the held-out live pictures that the exported network calls an attack."""

Batch = dict[str, Tensor]


def load(data: Path) -> Batch:
    """All pieces: crops ``(N, 3, S, S)`` uint8 RGB, and ``(N,)`` of the other columns."""
    pieces = [np.load(path) for path in sorted(data.glob("[0-9]*.npz"))]
    columns = {
        key: torch.from_numpy(np.concatenate([piece[key] for piece in pieces])) for key in pieces[0].files
    }
    for key in ("context", "detail"):
        columns[key] = columns[key].permute(0, 3, 1, 2)
    return columns


def rows(columns: Batch, which: Tensor) -> Batch:
    return {key: values[which] for key, values in columns.items()}


def augment(
    context: Tensor, detail: Tensor, live: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mirrored, under other light, a little noisy, partly covered, some dark and hazy.

    context, detail: ``(N, 3, S, S)`` float32 0..255, as what comes back; live: ``(N,)`` bool.
    """
    count = len(context)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=generator)

    mirrored = uniform(0, 1, 1, 1, 1) < 0.5
    gain = torch.exp(0.15 * torch.randn(count, 1, 1, 1, generator=generator))
    gain = gain * torch.exp(0.06 * torch.randn(count, 3, 1, 1, generator=generator))
    contrast = torch.exp(0.15 * torch.randn(count, 1, 1, 1, generator=generator))
    saturation = uniform(0.7, 1.25, 1, 1, 1)
    noise = uniform(0, 8, 1, 1, 1) * (uniform(0, 1, 1, 1, 1) < 0.3)
    share = torch.where(live, HAZY_LIVE, HAZY_ATTACKS).view(-1, 1, 1, 1)
    hazy = uniform(0, 1, 1, 1, 1) < share
    veil = torch.where(hazy, uniform(0, 70, 1, 1, 1), 0.0)
    gamma = torch.where(hazy, uniform(0.8, 1.8, 1, 1, 1), 1.0)
    changed = []
    for crop in (context, detail):
        x = torch.where(mirrored, crop.flip(3), crop)
        grey = x.mean(dim=1, keepdim=True)
        x = (grey + saturation * (x - grey) - 110) * contrast + 110
        x = (x * gain).clamp(0, 255)
        x = veil + (255 - veil) * (x / 255) ** gamma
        x = x + noise * torch.randn(x.shape, generator=generator)
        changed.append(x.clamp(0, 255))
    x = changed[0]
    ys, xs = torch.arange(x.shape[2]).view(1, 1, -1, 1), torch.arange(x.shape[3]).view(1, 1, 1, -1)
    half = uniform(3, 12, 1, 1, 1)
    near = (ys - uniform(0, x.shape[2], 1, 1, 1)).abs() < half
    near = near & ((xs - uniform(0, x.shape[3], 1, 1, 1)).abs() < half) & (uniform(0, 1, 1, 1, 1) < 0.2)
    changed[0] = torch.where(near, uniform(0, 255, 3, 1, 1), x)
    return changed[0], changed[1]


def train_epoch(
    network: LivenessNet,
    average: AveragedModel,
    data: Batch,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    generator: torch.Generator,
    batch_size: int,
) -> float:
    """One pass over the data in random order; the mean loss."""
    network.train()
    total = 0.0
    count = len(data["kind"]) // batch_size
    shuffled = torch.randperm(len(data["kind"]), generator=generator)
    for order in shuffled[: count * batch_size].view(count, batch_size):
        batch = rows(data, order)
        spare = batch["detail"].shape[2] - WINDOW
        y, x = (int(v) for v in torch.randint(0, spare + 1, (2,), generator=generator))
        detail = batch["detail"][:, :, y : y + WINDOW, x : x + WINDOW]
        is_live = batch["kind"] == 0
        context, detail = augment(batch["context"].float(), detail.float(), is_live, generator)
        live = is_live.float()
        agrees = (batch["teacher"] > 0.5) == is_live
        target = torch.where(agrees, (1 - TEACHER) * live + TEACHER * batch["teacher"], live)
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(
                context.contiguous(memory_format=torch.channels_last),
                detail.contiguous(memory_format=torch.channels_last),
            )
        logits = logits.float()
        loss = F.binary_cross_entropy_with_logits(live_logit(logits), target)
        loss = loss + 0.4 * F.cross_entropy(logits, batch["kind"], label_smoothing=0.05)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        average.update_parameters(network)
        total += float(loss.detach())
    return total / count


def predict(network: LivenessNet, data: Batch) -> Tensor:
    """``(N,)`` logits of being live."""
    network.eval()
    found = []
    with torch.inference_mode():
        for i in range(0, len(data["kind"]), 256):
            crops = (data[key][i : i + 256].float() for key in ("context", "detail"))
            found.append(live_logit(network(*crops)))
    return torch.cat(found)


def threshold(logits: Tensor, kinds: Tensor) -> float:
    """The logit below which `REFUSED` of the live pictures lie."""
    return float(torch.quantile(logits[kinds == 0], REFUSED))


def report(logits: Tensor, data: Batch, at: float) -> str:
    """Share of each kind that is called an attack, of live ones of pictures that end at the face apart."""
    parts = []
    for index, name in enumerate(KINDS):
        chosen = data["kind"] == index
        parts.append(f"{name} {float((logits[chosen] < at).float().mean()):.3f}")
    tight = (data["kind"] == 0) & data["tight"]
    return " ".join([*parts, f"(live and tight {float((logits[tight] < at).float().mean()):.3f})"])


def main(
    data: Annotated[Path, typer.Option(help="What prosopon.models.training.liveness.dataset wrote")],
    out: Annotated[Path, typer.Option(help="The ONNX file to write")],
    without: Annotated[str, typer.Option(help="A kind of attack to leave out of training")] = "",
    epochs: int = 12,
    batch_size: int = 64,
    rate: float = 3e-3,
    seed: int = 0,
    threads: int = 1,
    start: Annotated[Path | None, typer.Option(help="A checkpoint whose weights to start from")] = None,
) -> None:
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    everything = load(data)
    train, judge = rows(everything, ~everything["held_out"]), rows(everything, everything["held_out"])
    if without:
        train = rows(train, train["kind"] != KINDS.index(without))
    network = LivenessNet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if start:
        network.load_state_dict(torch.load(start, weights_only=True)["network"])
    ema = get_ema_multi_avg_fn(0.99)  # type: ignore[no-untyped-call]
    average = AveragedModel(network, multi_avg_fn=ema, use_buffers=True)
    print(
        f"{sum(p.numel() for p in network.parameters()):,} weights; {len(train['kind']):,} pictures to train on, "
        f"{len(judge['kind']):,} of other people",
        flush=True,
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.02)
    steps = epochs * (len(train["kind"]) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.15)
    checkpoint, first = out.with_suffix(".pt"), 0
    out.parent.mkdir(parents=True, exist_ok=True)
    parts = {"network": network, "average": average, "optimizer": optimizer, "schedule": schedule}
    if checkpoint.exists():
        kept = torch.load(checkpoint, weights_only=True)
        first = kept.pop("epoch")
        for name, part in parts.items():
            part.load_state_dict(kept[name])
    started = time.monotonic()
    smooth: LivenessNet = average.module  # type: ignore[assignment]
    for epoch in range(first, epochs):
        generator = torch.Generator().manual_seed(seed + epoch)
        loss = train_epoch(network, average, train, optimizer, schedule, generator, batch_size)
        torch.save(
            {**{name: part.state_dict() for name, part in parts.items()}, "epoch": epoch + 1}, checkpoint
        )
        logits = predict(smooth, judge)
        at = threshold(logits, judge["kind"])
        print(
            f"epoch {epoch + 1:2d}: loss {loss:.4f}; at 0: {report(logits, judge, 0.0)}; at {at:.2f}: "
            f"{report(logits, judge, at)}; {(time.monotonic() - started) / 60:.1f} min",
            flush=True,
        )
    at = threshold(predict(smooth, judge), judge["kind"])
    out.write_bytes(to_onnx(smooth, -at))
    print(f"{out.stat().st_size:,} bytes, logits moved by {-at:.3f}")


if __name__ == "__main__":
    typer.run(main)
