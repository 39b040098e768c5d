"""Fit the previews' heads: python -m prosopon.models.training.inversion.heads --out mobilestylegan_previews.npz

Least squares of each inner level's wavelet bands, 3x3 pixels of them, to the shrunken picture.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from prosopon.models.generation.mobile_stylegan_previews import bands
from prosopon.models.training.inversion.faces import RandomStyles, generator, layered

SIDES = (64, 128, 256)
FITTED, JUDGED = 70, 8
_SAMPLES = 1500
"""Pixels of each face that enter the fit."""
_RIDGE = 1e-5


def neighbourhoods(x: Tensor) -> Tensor:
    """3x3 pixels of every channel, and one: ``(9 C + 1, pixels)``."""
    unfolded = functional.unfold(x, 3, padding=1)[0]
    return torch.cat([unfolded, torch.ones(1, unfolded.shape[1])])


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.manual_seed(0)
    network, name = generator()
    styles = torch.from_numpy(layered(RandomStyles(5).draw(FITTED + JUDGED)))
    pictures = [network(row[None]) for row in styles]
    saved: dict[str, np.ndarray] = {"generator": np.array(name)}
    for side in SIDES:
        targets = [functional.avg_pool2d(picture, picture.shape[-1] // side)[0] for picture in pictures]
        gram, target = torch.zeros(()), torch.zeros(())
        for row in range(FITTED):
            inputs = neighbourhoods(bands(network, styles[row : row + 1], side))
            chosen = torch.randint(0, side * side, (_SAMPLES,))
            inputs, wanted = inputs[:, chosen], targets[row].flatten(1)[:, chosen]
            gram, target = gram + (inputs @ inputs.T).double(), target + (inputs @ wanted.T).double()
        ridge = _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
        head = torch.linalg.solve(gram + ridge, target).float()  # (9 C + 1, 3)
        saved[f"weight{side}"] = head[:-1].T.reshape(3, -1, 3, 3).numpy().astype(np.float16)
        saved[f"bias{side}"] = head[-1].numpy()
        for row in range(FITTED, FITTED + JUDGED):
            made = head.T @ neighbourhoods(bands(network, styles[row : row + 1], side))
            error = (made - targets[row].flatten(1)).square().mean()
            print(f"{side} px: {float(10 * torch.log10(4 / error)):.1f} dB")
    np.savez_compressed(options.out, allow_pickle=False, **saved)


if __name__ == "__main__":
    main()
