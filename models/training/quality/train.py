"""Training the network of quality on what `models.training.quality.dataset` wrote.

    python -m prosopon.models.training.quality.train --data /tmp/quality --out models/weights/quality.onnx

It is taught each view's agreement (the cosine of embeddings, not below 0) by squared error. One face in `HOLD_OUT` is
never trained on; the epoch with the least error there is the one exported.
"""

import copy
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor, nn

from prosopon.models.convert.onnx_export import export
from prosopon.models.faces.attributes.quality import CROP
from prosopon.models.training.mask.network import Block

HOLD_OUT = 14

WIDTHS = (16, 24, 48, 64)


class QualityNet(nn.Module):
    """``(N, 3, 64, 64)`` float32 RGB, 0..255, to ``(N, 1)``, 0..1."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, WIDTHS[0], 3, 2, 1, bias=False), nn.BatchNorm2d(WIDTHS[0]), nn.ReLU()
        )
        self.blocks = nn.Sequential(*(Block(inputs, outputs) for inputs, outputs in pairwise(WIDTHS)))
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(WIDTHS[-1], 1))

    def forward(self, x: Tensor) -> Tensor:
        features = self.blocks(self.stem(x / 127.5 - 1))
        return torch.sigmoid(self.head(features.mean(dim=(2, 3))))


def predict(network: QualityNet, chips: np.ndarray) -> np.ndarray:
    """``(N,)`` float32. chips: ``(N, 64, 64, 3)`` uint8 RGB."""
    network.eval()
    with torch.inference_mode():
        parts = [network(as_input(chips[i : i + 256])) for i in range(0, len(chips), 256)]
        return torch.cat(parts)[:, 0].numpy()


def as_input(chips: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(chips)).permute(0, 3, 1, 2).float()


def main(
    data: Annotated[Path, typer.Option(help="What models.training.quality.dataset wrote")],
    out: Annotated[Path, typer.Option(help="The ONNX file to write")],
    epochs: int = 8,
    batch_size: int = 128,
    seed: int = 0,
    threads: int = 1,
) -> None:
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    rng = np.random.default_rng(seed)
    chips, labels = np.load(data / "chips.npy"), np.load(data / "labels.npz")
    held_out = labels["rows"] % HOLD_OUT == 0
    agreement = np.clip(labels["agreement"], 0, 1).astype(np.float32)
    training = np.flatnonzero(~held_out)
    network = QualityNet()
    print(f"{sum(p.numel() for p in network.parameters()):,} weights, {len(training):,} views")
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.02)
    steps = epochs * (len(training) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps, pct_start=0.15)
    least, kept = float("inf"), copy.deepcopy(network.state_dict())
    for epoch in range(epochs):
        network.train()
        order = rng.permutation(training)[: steps // epochs * batch_size].reshape(-1, batch_size)
        for some in order:
            inputs = as_input(chips[some]).contiguous(memory_format=torch.channels_last)
            mirrored = torch.from_numpy(rng.random(batch_size) < 0.5)
            inputs[mirrored] = inputs[mirrored].flip(3)
            loss = (network(inputs)[:, 0] - torch.from_numpy(agreement[some])).square().mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
        found = predict(network, chips[held_out])
        error = float(np.abs(found - agreement[held_out]).mean())
        correlation = float(np.corrcoef(found, agreement[held_out])[0, 1])
        print(
            f"epoch {epoch + 1}: held out, mean error {error:.4f}, correlation {correlation:.4f}", flush=True
        )
        if error < least:
            least, kept = error, copy.deepcopy(network.state_dict())
    network.load_state_dict(kept)
    out.write_bytes(export(network, torch.zeros(2, 3, CROP.size, CROP.size), "chips", "quality"))
    print(f"{out.stat().st_size:,} bytes")


if __name__ == "__main__":
    typer.run(main)
