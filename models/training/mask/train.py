"""Training the mask classifier on what `models.training.mask.dataset` rendered.

    python -m prosopon.models.training.mask.train --data /tmp/masks --out models/weights/mask.onnx

The epoch with the lowest loss on the held-out and the validation pictures (their mean) is the one exported.
"""

import copy
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from torch import Tensor

from prosopon.models.faces.attributes.mask import CLASSES
from prosopon.models.training.mask.augment import augment, middle
from prosopon.models.training.mask.network import MaskNet, to_onnx

PRIOR = (0.475, 0.05, 0.475)
"""Shares of the classes that the exported network assumes: few masks are worn incorrectly."""


def load(data: Path, part: str) -> tuple[Tensor, Tensor]:
    """Chips ``(N, 3, 80, 80)`` uint8 RGB and labels ``(N,)`` int64."""
    chips = torch.from_numpy(np.load(data / f"{part}_chips.npy")).permute(0, 3, 1, 2)
    return chips, torch.from_numpy(np.load(data / f"{part}_labels.npy"))


def predict(network: MaskNet, chips: Tensor) -> Tensor:
    """``(N, 3)`` logits of stored chips."""
    network.eval()
    with torch.inference_mode():
        batches = (chips[i : i + 256] for i in range(0, len(chips), 256))
        return torch.cat([network(middle(batch.float())) for batch in batches])


def confusion(logits: Tensor, labels: Tensor) -> Tensor:
    """``(3, 3)`` int64: rows are the truth, columns the answer."""
    counts = torch.zeros(3, 3, dtype=torch.int64)
    counts.index_put_((labels, logits.argmax(dim=1)), torch.ones_like(labels), accumulate=True)
    return counts


def train_epoch(
    network: MaskNet,
    data: tuple[Tensor, Tensor],
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    generator: torch.Generator,
    batch_size: int,
) -> float:
    """One pass over the data in random order; the mean loss."""
    chips, labels = data
    network.train()
    total = 0.0
    shuffled = torch.randperm(len(labels), generator=generator)
    count = len(labels) // batch_size
    for order in shuffled[: count * batch_size].view(count, batch_size):
        inputs = augment(chips[order].float(), labels[order], generator).contiguous(
            memory_format=torch.channels_last
        )
        loss = F.cross_entropy(network(inputs), labels[order], label_smoothing=0.05)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        total += float(loss.detach())
    return total / count


def assume_prior(network: MaskNet, labels: Tensor) -> None:
    """Shift the output's bias from the training set's shares to `PRIOR` (Saerens, Latinne & Decaestecker 2002)."""
    trained = torch.bincount(labels, minlength=len(PRIOR)) / len(labels)
    output = network.head[-1]
    assert isinstance(output, torch.nn.Linear)
    with torch.no_grad():
        output.bias.add_(torch.tensor(PRIOR).log() - trained.log())


def main(
    data: Annotated[Path, typer.Option(help="What models.training.mask.dataset wrote")],
    out: Annotated[Path, typer.Option(help="The ONNX file to write")],
    epochs: int = 8,
    batch_size: int = 128,
    seed: int = 0,
    threads: int = 1,
    minutes: Annotated[float, typer.Option(help="Start no epoch that would end later than this")] = 25,
) -> None:
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(seed)
    train, held_out, validate = (load(data, part) for part in ("train", "hold_out", "validate"))
    network = MaskNet()
    print(f"{sum(p.numel() for p in network.parameters()):,} weights, {len(train[1]):,} training chips")
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.02)
    steps = epochs * (len(train[1]) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps, pct_start=0.15)
    best, kept = float("inf"), copy.deepcopy(network.state_dict())
    started = time.monotonic()
    for epoch in range(epochs):
        loss = train_epoch(network, train, optimizer, schedule, generator, batch_size)
        losses, accuracies = [], []
        for chips, labels in (held_out, validate):
            logits = predict(network, chips)
            losses.append(float(F.cross_entropy(logits, labels)))
            accuracies.append(float((logits.argmax(dim=1) == labels).float().mean()))
        minutes_spent = (time.monotonic() - started) / 60
        print(
            f"epoch {epoch + 1:2d}: loss {loss:.4f}; held out {losses[0]:.4f} {accuracies[0]:.4f}; "
            f"validation {losses[1]:.4f} {accuracies[1]:.4f}; {minutes_spent:.1f} min",
            flush=True,
        )
        if sum(losses) < best:
            best, kept = sum(losses), copy.deepcopy(network.state_dict())
            out.parent.mkdir(parents=True, exist_ok=True)
            torch.save(kept, out.with_suffix(".pt"))
        if minutes_spent * (epoch + 2) / (epoch + 1) > minutes:
            break
    network.load_state_dict(kept)
    assume_prior(network, train[1])
    for name, (chips, labels) in (("held out", held_out), ("validation", validate)):
        print(f"{name}, rows truth, columns answer: {', '.join(CLASSES)}")
        print(confusion(predict(network, chips), labels).numpy())
    out.write_bytes(to_onnx(network))
    out.with_suffix(".pt").unlink()
    print(f"{out.stat().st_size:,} bytes")


if __name__ == "__main__":
    typer.run(main)
