"""Calibrating a trained network on held-out chips, and writing it.

    python -m prosopon.models.training.age_gender.finish --data /tmp/ages --run /tmp/ages/run.pt \\
        --run /tmp/ages/after.pt --out models/weights/age_gender.onnx

Of several runs, of which one started from another, the mean of the weights is taken (Wortsman et al. 2022).

The gender's and the age's logits are each divided by a temperature and shifted, so that the negative log
likelihood of the held-out labels is least (Guo et al. 2017, vector scaling with one temperature).
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from torch import Tensor

from prosopon.models.runtime.session import Compute, create_session, run
from prosopon.models.training.age_gender.augment import batch, plain
from prosopon.models.training.age_gender.network import Calibrated, mean_of, to_onnx
from prosopon.models.training.age_gender.prepare import HELD_OUT
from prosopon.models.training.age_gender.train import averaged

SHRINKAGE = 0.02
"""Of the shifts: what a square of one costs in log likelihood. Few held-out faces are very old or very young."""


def calibrate(logits: Tensor, truth: Tensor) -> tuple[float, Tensor]:
    """The temperature and the shifts for logits ``(N, K)`` with the classes ``(N,)``."""
    inverse = torch.ones((), requires_grad=True)
    shifts = torch.zeros(logits.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([inverse, shifts], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(logits * inverse + shifts, truth) + SHRINKAGE * shifts.square().sum()
        torch.autograd.backward(loss)
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]
    return float(1 / inverse.detach()), (shifts - shifts.mean()).detach()


def main(
    data: Annotated[Path, typer.Option(help="What models.training.age_gender.prepare wrote")],
    runs: Annotated[list[Path], typer.Option("--run", help="Checkpoints of the training")],
    out: Annotated[Path, typer.Option(help="The ONNX file to write")],
) -> None:
    torch.set_num_threads(1)
    network = mean_of([averaged(checkpoint) for checkpoint in runs])
    chips, labels = np.load(data / "chips.npy", mmap_mode="r"), np.load(data / "labels.npz")
    rows = [plain(chips[row], labels["landmarks"][row]) for row in range(HELD_OUT)]
    pictures = batch(rows)
    with torch.no_grad():
        logits = torch.cat([network(part) for part in torch.from_numpy(pictures).split(50)])
    group = labels["group"][:HELD_OUT]
    parts = {"gender": (logits[:, :2], labels["male"]), "band": (logits[:, 2:], labels["band"])}
    temperatures, shifts = [], []
    for name, (part, told) in parts.items():
        truth = torch.from_numpy(told[:HELD_OUT].astype(np.int64))
        temperature, shift = calibrate(part, truth)
        scaled = part / temperature + shift
        right = (scaled.argmax(dim=1) == truth).numpy()
        least = min(right[group == number].mean() for number in np.unique(group))
        print(
            f"{name}: temperature {temperature:.3f}, shifts {[round(float(s), 3) for s in shift]}; held out: "
            f"right {right.mean():.4f} (least of race and sex {least:.3f}), "
            f"loss {float(F.cross_entropy(part, truth)):.4f}, "
            f"calibrated {float(F.cross_entropy(scaled, truth)):.4f}"
        )
        temperatures.append(temperature)
        shifts.append(shift)
    calibrated = Calibrated(network, (temperatures[0], temperatures[1]), torch.cat(shifts))
    out.write_bytes(to_onnx(calibrated))
    print(f"{out.stat().st_size:,} bytes")
    stored = run(create_session(out, Compute()), pictures[:200])[0]
    with torch.inference_mode():
        exact = calibrated(torch.from_numpy(pictures[:200])).numpy()
    print(f"half precision changes a probability by at most {np.abs(stored - exact).max():.5f}")


if __name__ == "__main__":
    typer.run(main)
