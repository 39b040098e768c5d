"""Training the network that tells age and gender, on what `models.training.age_gender.prepare` computed.

    python -m prosopon.models.training.age_gender.train --data /tmp/ages --start faceres.json --out /tmp/ages/run

Resumable: a run goes on from its last checkpoint. Processes of one thread each share the work and seldom meet:
where other programs have the cores too, threads that wait for each other are several times slower.
`models.training.age_gender.finish` calibrates the result and writes the ONNX file.
"""

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import torch.distributed
import torch.multiprocessing
import torch.nn.functional as F
import typer
from torch import Tensor, nn

from prosopon.models.faces.age_gender import BANDS
from prosopon.models.training.age_gender.augment import augment, plain
from prosopon.models.training.age_gender.network import FEATURES, AgeGenderNet, start

HELD_OUT = 3000
FROZEN = 11
"""Convolutions of the trunk that stay as they are: edges, colours and parts of faces, at half of the cost."""
WARM_UP = 0.06
SHARED = 16
"""Steps after which the processes put the mean of their weights in the place of each one's (McMahan et al. 2017)."""
AVERAGED = 0.85
"""The weights that are kept are a moving average; so much of it stays each time that weights are shared."""
HINT = 0.2
EVERY = 48
SOFT = 0.5
"""Share of the probes' answers in the labels that are learnt."""
SMOOTHING = 0.04
NEIGHBOURS = 0.05
"""Share of an age label that goes to each neighbouring band: nobody changes on a birthday."""


@dataclass(frozen=True)
class Data:
    """Rows are those of `names.txt`; the first `HELD_OUT` of `order` never train."""

    chips: np.ndarray
    landmarks: np.ndarray
    male: np.ndarray
    band: np.ndarray
    groups: np.ndarray
    soft: np.ndarray
    hints: np.ndarray
    order: np.ndarray

    @staticmethod
    def load(folder: Path) -> "Data":
        labels = np.load(folder / "labels.npz")
        hints = np.load(folder / "retail.npy")
        known = np.abs(hints).sum(axis=1) > 0
        scaled = (hints - hints[known].mean(axis=0)) / hints[known].std(axis=0)
        soft = np.load(folder / "soft.npy")
        return Data(
            np.load(folder / "chips.npy", mmap_mode="r"),
            labels["landmarks"],
            labels["male"],
            labels["band"],
            labels["group"],
            soft,
            np.where(known[:, None], scaled, np.nan).astype(np.float32),
            labels["order"],
        )

    def targets(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """``(N, 2)`` and ``(N, 9)``: smoothed labels, mixed with what the probes say."""
        gender = np.eye(2)[self.male[rows].astype(int)] * (1 - SMOOTHING) + SMOOTHING / 2
        near = np.eye(len(BANDS)) * (1 - 2 * NEIGHBOURS) + NEIGHBOURS * (
            np.eye(len(BANDS), k=1) + np.eye(len(BANDS), k=-1)
        )
        near[0, 0] = near[-1, -1] = 1 - NEIGHBOURS
        age = near[self.band[rows]]
        soft = self.soft[rows]
        share = SOFT * (soft.sum(axis=1, keepdims=True) > 0)
        return (
            torch.tensor((1 - share) * gender + share * soft[:, :2], dtype=torch.float32),
            torch.tensor((1 - share) * age + share * soft[:, 2:], dtype=torch.float32),
        )

    def sampling(self, rows: np.ndarray) -> np.ndarray:
        """How often each row is seen: rare ages, and rare groups of race and sex, more often than they occur."""
        weight = np.ones(len(rows))
        for values in (self.band[rows], self.groups[rows]):
            weight *= (np.bincount(values) / len(rows) + 1e-9)[values] ** -0.25
        return weight / weight.sum()


def loss_of(out: tuple[Tensor, Tensor], gender: Tensor, age: Tensor) -> Tensor:
    """Cross-entropies, and the squared distance of the cumulative distributions of age (Hou et al. 2016)."""
    distance = (F.softmax(out[1], dim=1).cumsum(dim=1) - age.cumsum(dim=1)).square().sum(dim=1).mean()
    return F.cross_entropy(out[0], gender) + 0.7 * F.cross_entropy(out[1], age) + distance


def batches(rng: np.random.Generator, data: Data, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Augmented chips ``(N, 3, S, S)`` float32."""
    pictures = np.stack([augment(rng, data.chips[row], data.landmarks[row])[0] for row in rows])
    inputs = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
    return inputs.contiguous(memory_format=torch.channels_last), torch.from_numpy(data.hints[rows])


def predict(
    network: AgeGenderNet, data: Data, rows: np.ndarray, mirrored: bool = False
) -> tuple[Tensor, Tensor]:
    """Logits of chips as serving cuts them."""
    network.eval()
    found = []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for part in np.array_split(rows, max(1, len(rows) // 64)):
            pictures = np.stack([plain(data.chips[row], data.landmarks[row]) for row in part])
            if mirrored:
                pictures = pictures[:, :, ::-1].copy()
            out = network(torch.from_numpy(pictures).permute(0, 3, 1, 2).float())
            found.append([value.float() for value in out])
    network.train()
    gender, age = zip(*found, strict=True)
    return torch.cat(gender), torch.cat(age)


def report(network: AgeGenderNet, data: Data, rows: np.ndarray) -> str:
    gender, age = predict(network, data, rows)
    male, band = torch.from_numpy(data.male[rows]).long(), torch.from_numpy(data.band[rows])
    right = (gender.argmax(dim=1) == male).float()
    groups = torch.from_numpy(data.groups[rows])
    worst = min(float(right[groups == group].mean()) for group in groups.unique())
    return (
        f"gender {float(right.mean()):.4f} (worst group {worst:.3f}), "
        f"loss {float(F.cross_entropy(gender, male)):.4f}; "
        f"band {float((age.argmax(dim=1) == band).float().mean()):.4f}, loss {float(F.cross_entropy(age, band)):.4f}"
    )


def shared(values: list[Tensor], processes: int) -> None:
    """Replace tensors, in place, by their mean over the processes."""
    if processes == 1:
        return
    flat = torch.cat([value.flatten() for value in values])
    torch.distributed.all_reduce(flat)
    for value, part in zip(values, flat.div_(processes).split([v.numel() for v in values]), strict=True):
        value.copy_(part.view_as(value))


def rate_at(progress: float) -> float:
    """Share of the highest rate after a share of the training: a warm-up, then half a cosine."""
    return min(progress / WARM_UP, 1.0) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def work(
    rank: int,
    processes: int,
    data: Path,
    graph: Path,
    out: Path,
    minutes: float,
    batch_size: int,
    seed: int,
    rate: float,
) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(seed)
    if processes > 1:
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        meeting = f"file://{(out / 'meeting').resolve()}"
        torch.distributed.init_process_group("gloo", meeting, rank=rank, world_size=processes)
    faces = Data.load(data)
    held_out, rows = faces.order[:HELD_OUT], faces.order[HELD_OUT:]
    chance = faces.sampling(rows)
    network = AgeGenderNet().to(memory_format=torch.channels_last)
    start(network, graph)
    network.trunk[:FROZEN].requires_grad_(False)
    adaptor = nn.Linear(FEATURES, faces.hints.shape[1])
    head = {name: torch.from_numpy(value) for name, value in np.load(data / "head.npz").items()}
    network.head.load_state_dict({name: head[name] for name in ("weight", "bias")})
    adaptor.load_state_dict({name: head[f"adaptor_{name}"] for name in ("weight", "bias")})
    trunk = [p for p in network.trunk.parameters() if p.requires_grad]
    fresh = [*network.head.parameters(), *adaptor.parameters()]
    optimizer = torch.optim.AdamW(
        [{"params": trunk, "lr": 0.0}, {"params": fresh, "lr": 0.0}], weight_decay=0.02
    )
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGED)
    )
    parts = {"network": network, "adaptor": adaptor, "optimizer": optimizer, "average": average}
    checkpoint, step, spent = out / "checkpoint.pt", 0, 0.0
    if checkpoint.exists():
        stored = torch.load(checkpoint)
        step, spent = stored.pop("step"), stored.pop("spent")
        for name, state in stored.items():
            parts[name].load_state_dict(state)
    network.train()
    began, total, progress = time.monotonic() - spent, 0.0, spent / 60 / minutes
    while progress < 1:
        for group, factor in zip(optimizer.param_groups, (1, 3), strict=True):
            group["lr"] = factor * rate * rate_at(progress)
        rng = np.random.default_rng((seed, rank, step))
        chosen = rng.choice(rows, batch_size, p=chance)
        inputs, hints = batches(rng, faces, chosen)
        gender, age = faces.targets(chosen)
        with torch.autocast("cpu", torch.bfloat16):
            features = network.features(inputs).float()
        scores = network.head(F.dropout(features, 0.2))
        loss = loss_of((scores[:, :2], scores[:, 2:]), gender, age)
        known = torch.isfinite(hints)
        loss = loss + HINT * F.mse_loss(adaptor(features)[known], hints[known])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(trunk + fresh, 3.0)
        optimizer.step()
        total += float(loss.detach())
        step += 1
        if step % SHARED:
            continue
        # The clocks differ: all go by their mean, and so end together.
        clock = torch.tensor([time.monotonic() - began])
        with torch.no_grad():
            shared([*trunk, *fresh, clock], processes)
        progress = float(clock) / 60 / minutes
        average.update_parameters(network)
        if rank == 0 and (step % EVERY == 0 or progress >= 1):
            seen = step * batch_size * processes
            print(
                f"step {step}, {seen:,} pictures, {float(clock) / 60:.1f} min: loss {total / EVERY:.4f}",
                flush=True,
            )
            total = 0.0
            state = {name: part.state_dict() for name, part in parts.items()}
            torch.save(state | {"step": step, "spent": float(clock)}, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").replace(checkpoint)
        if rank == 0 and (step % (6 * EVERY) == 0 or progress >= 1):
            averaged = average.module
            assert isinstance(averaged, AgeGenderNet)
            print("  held out:", report(averaged, faces, held_out[::3]), flush=True)


def main(
    data: Annotated[Path, typer.Option(help="What models.training.age_gender.prepare wrote")],
    graph: Annotated[Path, typer.Option("--start", help="faceres.json, whose weights the trunk starts from")],
    out: Annotated[Path, typer.Option(help="Folder of this run")],
    minutes: float = 50,
    batch_size: Annotated[int, typer.Option(help="Of each process")] = 40,
    processes: int = 2,
    seed: int = 0,
    rate: float = 1.5e-4,
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "meeting").unlink(missing_ok=True)
    options = (processes, data, graph, out, minutes, batch_size, seed, rate)
    torch.multiprocessing.spawn(work, options, nprocs=processes)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    typer.run(main)
