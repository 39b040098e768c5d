"""Calibrating a trained network on held-out chips, and writing it.

    python -m prosopon.models.training.age_gender.finish --data /tmp/ages --run /tmp/ages/run \\
        --out models/weights/age_gender.onnx

The gender's and the age's logits are each divided by a temperature and shifted, so that the negative log
likelihood of the held-out labels is least (Guo et al. 2017, vector scaling with one temperature).
"""

from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import torch.nn.functional as F
import typer
from torch import Tensor

from prosopon.models.faces.age_gender import CROP
from prosopon.models.runtime.session import Compute, create_session, run
from prosopon.models.training.age_gender.augment import plain
from prosopon.models.training.age_gender.network import AgeGenderNet, Calibrated, to_onnx
from prosopon.models.training.age_gender.train import HELD_OUT, Data

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


def logits_of(network: AgeGenderNet, data: Data, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Of the chips as serving cuts them, in full precision."""
    network.eval()
    found = []
    with torch.inference_mode():
        for part in np.array_split(rows, max(1, len(rows) // 32)):
            pictures = np.stack([plain(data.chips[row], data.landmarks[row]) for row in part])
            found.append(network(torch.from_numpy(pictures).permute(0, 3, 1, 2).float()))
    gender, age = zip(*found, strict=True)
    return torch.cat(gender), torch.cat(age)


def main(
    data: Annotated[Path, typer.Option(help="What models.training.age_gender.prepare wrote")],
    run_folder: Annotated[Path, typer.Option("--run", help="Folder of the training run")],
    out: Annotated[Path, typer.Option(help="The ONNX file to write")],
) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    faces = Data.load(data)
    rows = faces.order[:HELD_OUT]
    network = AgeGenderNet()
    stored = torch.load(run_folder / "checkpoint.pt")
    averaged = torch.optim.swa_utils.AveragedModel(network)
    averaged.load_state_dict(stored["average"])
    network.load_state_dict(averaged.module.state_dict())
    print(f"{sum(p.numel() for p in network.parameters()):,} weights, step {stored['step']}")
    gender, age = logits_of(network, faces, rows)
    male, band = torch.from_numpy(faces.male[rows]).long(), torch.from_numpy(faces.band[rows])
    temperatures, shifts = zip(calibrate(gender, male), calibrate(age, band), strict=True)
    for name, logits, truth, temperature, shift in zip(
        ("gender", "band"), (gender, age), (male, band), temperatures, shifts, strict=True
    ):
        scaled = logits / temperature + shift
        print(
            f"{name}: temperature {temperature:.3f}, shifts {[round(float(s), 3) for s in shift]}; held out: "
            f"right {float((scaled.argmax(dim=1) == truth).float().mean()):.4f}, "
            f"loss {float(F.cross_entropy(logits, truth)):.4f}, "
            f"calibrated {float(F.cross_entropy(scaled, truth)):.4f}"
        )
    calibrated = Calibrated(network, (temperatures[0], temperatures[1]), torch.cat(shifts))
    out.write_bytes(to_onnx(calibrated))
    print(f"{out.stat().st_size:,} bytes")
    few = np.stack([plain(faces.chips[row], faces.landmarks[row]) for row in rows[:200]])
    batch = np.ascontiguousarray(few.transpose(0, 3, 1, 2), np.float32)
    stored_answers = run(create_session(out, Compute()), batch)[0]
    with torch.inference_mode():
        exact = calibrated(torch.from_numpy(batch)).numpy()
    print(f"eight bits change a probability by at most {np.abs(stored_answers - exact).max():.4f}")
    assert few.shape[1] == CROP.size


if __name__ == "__main__":
    typer.run(main)
