"""Training the upper stages of the network on what `prepare` wrote, for as long as it is given.

    python -m prosopon.models.training.age_gender.train --data /tmp/ages --run /tmp/ages/run.pt --minutes 35 \\
        --retail face-reidentification-retail-0095.onnx

The targets are mixed of the labels, softened towards neighbouring bands, and of the probes' answers. The loss of ages
also compares cumulative distributions (Hou et al. 2017, squared earth mover's distance), since bands have an order. A
group of race and sex weighs as the probes err in it, so that none is given up for another; children and rare bands
weigh more, too. Maps are mixed in pairs (Zhang et al. 2018, mixup). The rate falls to nearly nothing with the time; an
interrupted run goes on with what it has left. `--after` starts where earlier runs ended, for which a smaller `--rate`
is enough.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import onnx
import torch
import torch.nn.functional as F
import typer
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from prosopon.models.convert.onnx_export import export
from prosopon.models.faces.age_gender import BANDS
from prosopon.models.faces.detections import RGBImage
from prosopon.models.runtime.session import Compute, create_session
from prosopon.models.runtime.session import run as infer
from prosopon.models.training.age_gender.augment import SIZE, batch, plain, varied
from prosopon.models.training.age_gender.network import KEPT, AgeGenderNet, Lower, mean_of, stored
from prosopon.models.training.age_gender.prepare import HELD_OUT
from prosopon.models.training.retail_trunk import resized, start

BATCH = 64
WARM_UP = 60
RATE, HEAD_RATE = 2.5e-4, 4.0
"""Of the trunk; of the head, how many times that."""
GENDER_OF_BANDS = torch.tensor([2.0, 1.4, 1, 1, 1, 1, 1, 1.1, 1.5])
"""Weights of the loss of gender: where faces tell it least."""

SOFT = 0.6
"""Of the targets: the share of the probes' answers, where there are any."""


def softened() -> Tensor:
    """``(9, 9)``: the target of each band."""
    target = 0.82 * torch.eye(len(BANDS)) + 0.07 * (
        torch.diag(torch.ones(len(BANDS) - 1), 1) + torch.diag(torch.ones(len(BANDS) - 1), -1)
    )
    return target + (1 - target.sum(dim=1, keepdim=True)) / len(BANDS)


def balanced(counted: np.ndarray, power: float) -> Tensor:
    """``(N,)`` weights of rows by how many share their class, one on average over classes."""
    counts = np.bincount(counted)
    return torch.from_numpy((counts.mean() / counts[counted]) ** power).float()


def group_rates(group: np.ndarray, wrong: np.ndarray, groups: int) -> Tensor:
    """``(groups,)``: how often each group's rows are wrong, one on average over groups. group, wrong: ``(N,)``.

    A row more in each group, half wrong, keeps small groups apart from nothing.
    """
    rates = (np.bincount(group, wrong, groups) + 0.5) / (np.bincount(group, minlength=groups) + 1)
    return torch.from_numpy(rates / rates.mean()).float()


@dataclass(frozen=True)
class Targets:
    """gender ``(N, 2)``, age ``(N, 9)``: distributions; weights: ``(N, 2)``, of the losses of gender and age."""

    gender: Tensor
    age: Tensor
    weights: Tensor

    @classmethod
    def of(cls, data: Path) -> "Targets":
        labels = np.load(data / "labels.npz")
        male, band = torch.from_numpy(labels["male"].astype(np.int64)), torch.from_numpy(labels["band"])
        soft = torch.from_numpy(np.load(data / "soft.npy"))
        probed = soft.sum(dim=1) > 0
        share = SOFT * probed[:, None].float()
        gender = F.one_hot(male, 2) * 0.96 + 0.02
        group, wrong = labels["group"], (soft[:, :2].argmax(dim=1) != male).numpy()
        rates = group_rates(group[probed], wrong[probed], int(group.max()) + 1)
        weights = balanced(group, 0.5) * rates[group] * GENDER_OF_BANDS[band]
        return cls(
            (1 - share) * gender + share * soft[:, :2],
            (1 - share) * softened()[band] + share * soft[:, 2:],
            torch.stack([weights, balanced(labels["band"], 0.25)], dim=1),
        )

    def at(self, rows: Tensor) -> "Targets":
        return Targets(self.gender[rows], self.age[rows], self.weights[rows])

    def mixed(self, share: float, other: Tensor) -> "Targets":
        """share of each row, the rest of the row that `other` names."""

        def mix(x: Tensor) -> Tensor:
            return share * x + (1 - share) * x[other]

        return Targets(mix(self.gender), mix(self.age), mix(self.weights))


def loss(logits: Tensor, targets: Targets) -> Tensor:
    gender = -(logits[:, :2].log_softmax(dim=1) * targets.gender).sum(dim=1)
    age = -(logits[:, 2:].log_softmax(dim=1) * targets.age).sum(dim=1)
    apart = (logits[:, 2:].softmax(dim=1).cumsum(dim=1) - targets.age.cumsum(dim=1)).square().sum(dim=1)
    return (1.3 * gender * targets.weights[:, 0] + (age + 0.5 * apart) * targets.weights[:, 1]).mean()


class Stream:
    """Batches of what the kept stages make of chips. Every time a chip is varied anew."""

    def __init__(self, data: Path, network: AgeGenderNet, rng: np.random.Generator) -> None:
        self._chips, self._rng = np.load(data / "chips.npy", mmap_mode="r"), rng
        self._landmarks = np.load(data / "labels.npz")["landmarks"]
        kept = export(Lower(network).eval(), torch.zeros(2, 3, SIZE, SIZE), "chips", "maps")
        self._lower = create_session(kept, Compute())

    def held_out(self) -> Iterator[Tensor]:
        """Maps of the first `HELD_OUT` chips, as serving cuts them."""
        for first in range(0, HELD_OUT, BATCH):
            rows = range(first, min(first + BATCH, HELD_OUT))
            yield self._maps([plain(self._chips[row], self._landmarks[row]) for row in rows])

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Maps of the others with the numbers of their rows, without end."""
        while True:
            order = HELD_OUT + self._rng.permutation(len(self._chips) - HELD_OUT)
            for rows in order[: len(order) // BATCH * BATCH].reshape(-1, BATCH):
                mirrored = self._rng.random(BATCH) < 0.5
                chips = [
                    varied(self._rng, self._chips[row], self._landmarks[row], bool(flip))
                    for row, flip in zip(rows, mirrored, strict=True)
                ]
                yield self._maps(chips), torch.from_numpy(rows)

    def _maps(self, chips: list[RGBImage]) -> Tensor:
        return torch.from_numpy(infer(self._lower, batch(chips))[0]).to(memory_format=torch.channels_last)


def averaged(path: Path) -> AgeGenderNet:
    """The network that a run ended with: the moving average of its weights; or that of an ONNX file.

    That of a run at another size of chips is fitted to this one.
    """
    if path.suffix == ".onnx":
        return stored(onnx.load(path))
    average = torch.load(path)["average"]
    weights = {name.removeprefix("module."): value for name, value in average.items() if name != "n_averaged"}
    weights["pool.weight"] = resized(weights["pool.weight"], SIZE // 16)
    network = AgeGenderNet()
    network.load_state_dict(weights)
    return network.eval()


@torch.inference_mode()
def judged(average: AveragedModel, data: Path, stream: Stream) -> str:
    """How it answers for what is held out."""
    network = average.module
    assert isinstance(network, AgeGenderNet)
    labels = np.load(data / "labels.npz")
    network.eval()
    logits = torch.cat([network.upper(maps) for maps in stream.held_out()])
    male, band, group = (labels[name][:HELD_OUT] for name in ("male", "band", "group"))
    right = logits[:, :2].argmax(dim=1).numpy() == male
    worst = min(right[group == number].mean() for number in np.unique(group))
    genders = F.cross_entropy(logits[:, :2], torch.from_numpy(male.astype(np.int64)))
    return (
        f"held out: gender {right.mean():.4f} (worst group {worst:.3f}), loss {genders:.4f}; "
        f"band {(logits[:, 2:].argmax(dim=1).numpy() == band).mean():.4f}, "
        f"loss {F.cross_entropy(logits[:, 2:], torch.from_numpy(band)):.4f}"
    )


def main(
    data: Annotated[Path, typer.Option(help="What models.training.age_gender.prepare wrote")],
    retail: Annotated[Path, typer.Option(help="face-reidentification-retail-0095 as ONNX")],
    run: Annotated[Path, typer.Option(help="The checkpoint, read where it is there")],
    minutes: Annotated[
        float, typer.Option(help="Of processor time, all runs with this checkpoint together")
    ] = 35,
    after: Annotated[
        list[Path] | None,
        typer.Option(help="Checkpoints of earlier runs, from the mean of whose weights to start"),
    ] = None,
    rate: Annotated[float, typer.Option(help="The highest of the trunk")] = RATE,
) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    network = AgeGenderNet()
    start(network, onnx.load(retail))
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.trunk.requires_grad_(False)
    trained = [*network.trunk[KEPT:].parameters(), *network.pool.parameters()]
    for parameter in trained:
        parameter.requires_grad_(True)
    stream = Stream(data, network, rng)
    batches = iter(stream)
    network.standardise(torch.cat([next(batches)[0] for _ in range(16)]))
    if after:
        network.load_state_dict(mean_of([averaged(checkpoint) for checkpoint in after]).state_dict())
    groups = [
        {"params": trained, "lr": rate},
        {"params": list(network.head.parameters()), "lr": HEAD_RATE * rate, "weight_decay": 0.1},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.02, betas=(0.9, 0.99))
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.998))
    step, spent = 0, 0.0
    if run.exists():
        kept = torch.load(run)
        network.load_state_dict(kept["network"])
        average.load_state_dict(kept["average"])
        optimizer.load_state_dict(kept["optimizer"])
        step, spent = kept["step"], kept["spent"]
    targets, losses = Targets.of(data), list[float]()
    began = time.process_time() - spent

    def keep() -> None:
        state = {
            "network": network.state_dict(),
            "average": average.state_dict(),
            "optimizer": optimizer.state_dict(),
            "step": step,
            "spent": time.process_time() - began,
        }
        torch.save(state, run.with_suffix(".new"))
        run.with_suffix(".new").replace(run)

    while (part := (time.process_time() - began) / (60 * minutes)) < 1:
        network.train()
        maps, rows = next(batches)
        wanted = targets.at(rows)
        if rng.random() < 0.4:
            share, other = float(rng.beta(0.3, 0.3)), torch.randperm(len(maps))
            maps, wanted = share * maps + (1 - share) * maps[other], wanted.mixed(share, other)
        found = loss(network.upper(maps, dropout=0.3), wanted)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(found)
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        factor = min(1.0, (step + 1) / WARM_UP) * (0.98 * (0.5 + 0.5 * math.cos(math.pi * part)) + 0.02)
        for group, most in zip(optimizer.param_groups, (rate, HEAD_RATE * rate), strict=True):
            group["lr"] = most * factor
        optimizer.step()
        average.update_parameters(network)
        step += 1
        losses.append(float(found.detach()))
        if step % 50 == 0:
            print(f"step {step}, {part * minutes:.1f} min: loss {np.mean(losses):.4f}", flush=True)
            losses.clear()
        if step % 300 == 0:
            print(judged(average, data, stream), flush=True)
            keep()
    print(judged(average, data, stream), flush=True)
    keep()


if __name__ == "__main__":
    typer.run(main)
