"""Training the segmenter on what `models.training.occlusion.dataset` rendered, for as long as it is given.

    python -m prosopon.models.training.occlusion.train --data /tmp/occlusion --out models/weights/occlusion.onnx

At first it learns from what the mesh and the skin tell of the pictures themselves; after each `_TAUGHT` of the time the
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

from prosopon.models.swap.occlusion import CROP
from prosopon.models.training.mask.augment import relit
from prosopon.models.training.occlusion.batches import Batches, Renderings, aligned, uniform
from prosopon.models.training.occlusion.evaluate import by_kind
from prosopon.models.training.occlusion.faces import SIDE, Faces
from prosopon.models.training.occlusion.labels import refined
from prosopon.models.training.occlusion.network import OcclusionNet, to_onnx

BATCH = 48
_RATE, _WARM = 2e-3, 0.04
_TAUGHT = (0.3,)
"""Shares of the time after which the network corrects the labels."""
_SAVED, _CHECKED = 60.0, 600.0
"""Seconds between checkpoints, and between validations."""


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


def validated(network: torch.nn.Module, batches: Batches) -> str:
    network.eval()

    @torch.inference_mode()
    def segment(chips: NDArray[np.float32]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = network(torch.from_numpy(chips)).sigmoid().numpy()
        return found

    found = by_kind(segment, batches)
    mean = np.mean([each.overlap for each in found.values()])
    return ", ".join(f"{kind} {each}" for kind, each in found.items()) + f"; mean {mean:.4f}"


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
    network = OcclusionNet()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.998), use_buffers=True)
    checkpoint, taught = data / "checkpoint.pt", data / "labels_taught.npy"
    labels = np.load(taught if taught.exists() else data / "labels.npy")
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=0.02)
    spent, steps, lessons = 0.0, 0, 0
    if checkpoint.exists():
        saved: dict[str, Any] = torch.load(checkpoint)
        network.load_state_dict(saved["network"])
        average.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        spent, steps, lessons = saved["spent"], saved["steps"], saved["lessons"]
    generator = torch.Generator().manual_seed(seed + steps)
    random = np.random.default_rng(seed + steps)
    checked, batches = (Batches(data, labels, part) for part in ("held_out", "shard"))
    weights = sum(parameter.numel() for parameter in network.parameters())
    print(f"{weights:,} weights, {len(batches.renderings):,} pictures", flush=True)
    whole, began, last = 60 * minutes, time.monotonic() - spent, time.monotonic()
    checked_at, losses = spent, []
    while spent < whole:
        if lessons < len(_TAUGHT) and spent > _TAUGHT[lessons] * whole:
            print(validated(average.module, checked), flush=True)
            teach(data, average.module)
            checked.labels = batches.labels = np.load(taught)
            began, lessons = time.monotonic() - spent, lessons + 1
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
            state: dict[str, Any] = {"network": network.state_dict(), "average": average.state_dict()}
            state |= {"optimizer": optimizer.state_dict(), "spent": spent, "steps": steps, "lessons": lessons}
            torch.save(state, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").replace(checkpoint)
            print(f"{spent / 60:.1f} min, {steps} steps, loss {np.mean(losses):.4f}", flush=True)
            losses = []
            if spent - checked_at > _CHECKED:
                checked_at = spent
                print(validated(average.module, checked), flush=True)
            if len(list(data.glob("shard*_index.npy"))) > len(batches.renderings.ends):
                batches.renderings = Renderings(data, "shard")
    print(validated(average.module, checked))
    network.load_state_dict(average.module.state_dict())
    out.write_bytes(to_onnx(network))
    print(f"{out.stat().st_size:,} bytes")


if __name__ == "__main__":
    typer.run(main)
