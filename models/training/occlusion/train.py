"""Training the segmenter on what `models.training.occlusion.dataset` rendered, for as long as it is given.

    python -m prosopon.models.training.occlusion.train --data /tmp/occlusion --out models/weights/occlusion.onnx

At first it learns from what the mesh and the skin tell of the pictures themselves; after `_TAUGHT` of the time the
network says what they show (`labels.refined`), and goes on with that. A run that was stopped goes on where it was; the
rate falls with the time that is spent. `--out` writes the running average of the weights.
"""

import time
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
import typer
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from prosopon.models.faces.detections import Float32
from prosopon.models.pictures.crops import crop_matrix
from prosopon.models.swap.occlusion import CROP, five_points
from prosopon.models.training.mask.augment import relit
from prosopon.models.training.occlusion.faces import SIDE, Face, Faces
from prosopon.models.training.occlusion.labels import Known, refined
from prosopon.models.training.occlusion.network import OcclusionNet, to_onnx
from prosopon.models.training.occlusion.occluders import KINDS

BATCH = 48
_RATE, _WARM = 2e-3, 0.04
_TAUGHT = 0.3
"""Share of the time after which the network corrects the labels."""
_SAVED, _VALIDATED = 60.0, 600.0
"""Seconds between checkpoints, and between validations."""
_THING = 0.02
"""Share of a thing in a pixel from which the pixel is known for certain."""
_WEIGHTS = (1.0, 0.35, 0.0, 1.0)
"""Of pixels, by `Known`."""


class Renderings:
    """The shards that are there; more may come."""

    def __init__(self, data: Path, prefix: str) -> None:
        found = sorted(data.glob(f"{prefix}*_index.npy"))
        self._parts = [
            [
                np.load(str(path).replace("_index", f"_{part}"), mmap_mode="r")
                for part in ("pixels", "alpha", "index")
            ]
            for path in found
        ]
        self.ends = np.cumsum([len(part[2]) for part in self._parts])
        self.index: NDArray[np.int64] = np.concatenate([part[2] for part in self._parts])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Pixels ``(N, 160, 160, 3)`` and alphas ``(N, 160, 160)``."""
        shards = np.searchsorted(self.ends, rows, side="right")
        starts = np.concatenate([[0], self.ends])
        taken = [(self._parts[shard], row - starts[shard]) for shard, row in zip(shards, rows, strict=True)]
        return np.stack([part[0][row] for part, row in taken]), np.stack(
            [part[1][row] for part, row in taken]
        )


def aligned(face: Face) -> Float32:
    """``(2, 3)`` from its picture to the network's crop."""
    return crop_matrix(np.zeros(4, np.float32), five_points(face.dense), CROP)


def uniform(generator: torch.Generator, count: int, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def to_crops(matrices: Tensor, generator: torch.Generator | None) -> Tensor:
    """``(N, 128, 128, 2)``: where crops look in rendered pictures, as `grid_sample` wants it.

    matrices: ``(N, 2, 3)`` from pictures to crops. generator: of a detector's and a mesh's slips, and of mirroring.
    """
    count = len(matrices)
    full = torch.cat([matrices, torch.tensor([[[0.0, 0.0, 1.0]]]).expand(count, 1, 3)], dim=1)
    inverse = torch.linalg.inv(full)[:, :2]
    ys, xs = torch.meshgrid(torch.arange(CROP.size), torch.arange(CROP.size), indexing="ij")
    places = torch.stack([xs, ys], dim=-1).float().view(1, -1, 2).expand(count, -1, 2)
    if generator is not None:
        middle = (CROP.size - 1) / 2
        turn = torch.randn(count, generator=generator).clamp(-2.5, 2.5) * 0.09
        zoom = torch.exp(torch.randn(count, generator=generator).clamp(-2, 2) * 0.06)
        mirror = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
        stretch = torch.exp(uniform(generator, count, -0.06, 0.06))
        cos, sin = turn.cos() * zoom, turn.sin() * zoom
        change = torch.stack([cos * mirror * stretch, -sin, sin * mirror, cos / stretch], dim=1).view(
            -1, 2, 2
        )
        shift = torch.randn(count, 1, 2, generator=generator).clamp(-2, 2) * 3
        places = (places - middle) @ change.transpose(1, 2) + middle + shift
    seen = places @ inverse[:, :, :2].transpose(1, 2) + inverse[:, None, :, 2]
    return (seen * 2 / (SIDE - 1) - 1).view(count, CROP.size, CROP.size, 2)


def worn(chips: Tensor, generator: torch.Generator) -> Tensor:
    """Blur, low resolution and noise."""
    chips = chips.clone()
    for factor, share in ((2, 0.12), (3, 0.06)):
        chosen = torch.rand(len(chips), generator=generator) < share
        if chosen.any():
            small = F.interpolate(chips[chosen], scale_factor=1 / factor, mode="area")
            chips[chosen] = F.interpolate(small, size=chips.shape[-2:], mode="bilinear")
    noisy = torch.rand(len(chips), generator=generator) < 0.3
    strength = uniform(generator, int(noisy.sum()), 0, 12).view(-1, 1, 1, 1)
    chips[noisy] += torch.randn(chips[noisy].shape, generator=generator) * strength
    return chips.clamp(0, 255)


class Batches:
    """Crops, how much of each pixel is not the face, and how much each pixel counts."""

    def __init__(self, data: Path, labels: NDArray[np.uint8], prefix: str) -> None:
        self.renderings, self.labels = Renderings(data, prefix), labels
        faces = Faces(data)
        matrices = [aligned(faces[index]) for index in range(len(faces))]
        self.matrices = torch.from_numpy(np.stack(matrices))

    def take(
        self, rows: NDArray[np.int64], generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``(N, 3, 128, 128)`` 0..255, then ``(N, 1, 128, 128)``: aim, weight, and the part that is rendered."""
        pixels, alphas = self.renderings[rows]
        faces = self.renderings.index[rows]
        grid = to_crops(self.matrices[faces], generator)
        alpha = torch.from_numpy(alphas).float().div(255)[:, None]
        labels = torch.from_numpy(self.labels[faces].astype(np.int64))[:, None]
        thing = alpha > _THING
        own = (labels == Known.OTHER).float()
        aim = torch.where(thing, 1 - (1 - alpha) * (1 - own), own)
        weight = torch.tensor(_WEIGHTS)[labels]
        # Of a thing that is seen through, what lies behind it must be known too.
        weight = torch.where(thing, torch.maximum(weight, (alpha > 0.9).float()), weight)
        # Thin things would be outweighed by what they lie on.
        area = thing.float().sum((1, 2, 3), keepdim=True)
        weight = weight * torch.where(thing, (1500 / (area + 1)).clamp(1, 4), torch.ones(()))
        chips = F.grid_sample(
            torch.from_numpy(pixels).permute(0, 3, 1, 2).float(),
            grid,
            padding_mode="border",
            align_corners=True,
        )
        rest = F.grid_sample(torch.cat([aim * weight, weight, alpha], dim=1), grid, align_corners=True)
        weight = rest[:, 1:2]
        aim = (rest[:, :1] / weight.clamp_min(1e-3)).clamp(0, 1)
        return chips, aim, weight, rest[:, 2:]


def validate(network: torch.nn.Module, batches: Batches) -> str:
    """By kind the intersection over the union of what is rendered, where pixels are known, and the mean."""
    network.eval()
    count = len(batches.renderings) // len(KINDS)
    scores: dict[str, float] = {}
    face = 0.0
    with torch.inference_mode():
        for number, kind in enumerate(KINDS):
            both, either, wrong, free = 0.0, 0.0, 0.0, 0.0
            for start in range(0, count, 50):
                rows = np.arange(number * count + start, number * count + min(start + 50, count))
                chips, aim, weight, alpha = batches.take(rows, None)
                found = network(chips) > 0
                known = (weight > 0.5) | (alpha > 0.5)
                # Beside what is rendered, what the picture shows by itself is left out.
                region = known & ((alpha > 0.5) | (aim < 0.05))
                both += float((found & (alpha > 0.5)).sum())
                either += float(((found | (alpha > 0.5)) & region).sum())
                bare = (aim < 0.05) & (weight > 0.9)
                wrong, free = wrong + float((found & bare).sum()), free + float(bare.sum())
            scores[kind] = both / max(either, 1)
            face += wrong / max(free, 1) / len(KINDS)
    each = ", ".join(f"{kind} {score:.3f}" for kind, score in scores.items())
    return f"{each}; mean {np.mean(list(scores.values())):.4f}; of bare face taken for other {face:.4f}"


def rate(spent: float) -> float:
    """spent: share of the time."""
    return _RATE * min(1.0, spent / _WARM) * max(0.01, 0.5 * (1 + float(np.cos(np.pi * min(1.0, spent)))))


def teach(data: Path, network: torch.nn.Module) -> None:
    """Write what the network sees in the faces' own pictures into the labels of those that were rendered on."""
    faces, labels = Faces(data), np.load(data / "labels.npy")
    used = np.unique(np.concatenate([Renderings(data, part).index for part in ("shard", "held_out")]))
    network.eval()
    options = {"flags": cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, "borderMode": cv2.BORDER_REPLICATE}
    for start in range(0, len(used), 64):
        chosen = [(index, faces[index]) for index in used[start : start + 64].tolist()]
        matrices = [aligned(face) for _, face in chosen]
        size = (CROP.size, CROP.size)
        chips = [
            cv2.warpAffine(face.pixels, matrix, size, borderMode=cv2.BORDER_REPLICATE)
            for (_, face), matrix in zip(chosen, matrices, strict=True)
        ]
        batch = torch.from_numpy(np.stack(chips)).permute(0, 3, 1, 2).float()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            found = network(batch).float().sigmoid()[:, 0].numpy()
        for (index, face), matrix, front in zip(chosen, matrices, found, strict=True):
            seen = cv2.warpAffine(front, matrix, (SIDE, SIDE), **options)
            labels[index] = refined(labels[index], np.asarray(seen, np.float32), face)
    np.save(data / "labels_taught.npy", labels)
    print(np.bincount(labels[used[::10]].ravel(), minlength=4) / labels[used[::10]].size)


def main(
    data: Annotated[Path, typer.Option(help="What models.training.occlusion.dataset wrote")],
    out: Annotated[Path, typer.Option(help="The ONNX file to write")],
    minutes: Annotated[float, typer.Option(help="Those before it was stopped counted in")] = 40,
    threads: int = 1,
    seed: int = 0,
) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    network = OcclusionNet().to(memory_format=torch.channels_last)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.998), use_buffers=True)
    checkpoint, taught = data / "checkpoint.pt", data / "labels_taught.npy"
    labels = np.load(taught if taught.exists() else data / "labels.npy")
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=0.02)
    spent, steps = 0.0, 0
    if checkpoint.exists():
        saved: dict[str, Any] = torch.load(checkpoint)
        network.load_state_dict(saved["network"])
        average.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        spent, steps = saved["spent"], saved["steps"]
    generator = torch.Generator().manual_seed(seed + steps)
    random = np.random.default_rng(seed + steps)
    checked, batches = (Batches(data, labels, part) for part in ("held_out", "shard"))
    weights = sum(parameter.numel() for parameter in network.parameters())
    print(f"{weights:,} weights, {len(batches.renderings):,} pictures", flush=True)
    whole, began, last = 60 * minutes, time.monotonic() - spent, time.monotonic()
    validated, losses = spent, []
    while spent < whole:
        if spent > _TAUGHT * whole and not taught.exists():
            print(validate(average.module, checked), flush=True)
            teach(data, average.module)
            checked.labels = batches.labels = np.load(taught)
            began = time.monotonic() - spent
        for group in optimizer.param_groups:
            group["lr"] = rate(spent / whole)
        rows = np.sort(random.choice(len(batches.renderings), BATCH, replace=False))
        chips, aim, weight, _ = batches.take(rows, generator)
        chips = worn(relit(chips, generator), generator).contiguous(memory_format=torch.channels_last)
        network.train()
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(chips)
        loss = F.binary_cross_entropy_with_logits(logits.float(), aim, weight, reduction="sum") / weight.sum()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(network)
        losses.append(float(loss.detach()))
        steps, spent = steps + 1, time.monotonic() - began
        if time.monotonic() - last > _SAVED or spent >= whole:
            last = time.monotonic()
            state = {"network": network.state_dict(), "average": average.state_dict()}
            state |= {"optimizer": optimizer.state_dict(), "spent": spent, "steps": steps}
            torch.save(state, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").replace(checkpoint)
            print(f"{spent / 60:.1f} min, {steps} steps, loss {np.mean(losses):.4f}", flush=True)
            losses = []
            if spent - validated > _VALIDATED:
                validated = spent
                print(validate(average.module, checked), flush=True)
            if len(list(data.glob("shard*_index.npy"))) > len(batches.renderings.ends):
                batches.renderings = Renderings(data, "shard")
    print(validate(average.module, checked))
    out.write_bytes(to_onnx(average.module))
    print(f"{out.stat().st_size:,} bytes")


if __name__ == "__main__":
    typer.run(main)
