"""Train the encoder of inversions.

    python -m prosopon.models.training.inversion.train --pairs FOLDER --minutes 25 --out inversion_encoder.npz

Shards that are written meanwhile are taken up as they come. The first shard is held out.
"""

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from prosopon.configs.settings import ModelSettings
from prosopon.models.faces.detections import RGBImages
from prosopon.models.inversion.encoder import SIDE, InversionEncoder, save_encoder
from prosopon.models.inversion.latent_prior import LatentPrior
from prosopon.models.inversion.loss import face_mask, from_pixels
from prosopon.models.load import load_mapper
from prosopon.models.runtime.session import Compute
from prosopon.models.training.inversion.faces import generator

BATCH = 16
RATE = 1.5e-3


def augmented(pictures: RGBImages, random: np.random.Generator) -> Tensor:
    """As photographs come: misaligned, in other light and colours, before other backgrounds, blurred, compressed."""
    n = len(pictures)
    x = from_pixels(pictures)
    zoom, turn = random.normal(1, 0.03, n), random.normal(0, 0.03, n)
    shift = random.normal(0, 0.02, (n, 2))
    matrices = np.stack(
        [
            zoom * np.cos(turn),
            -zoom * np.sin(turn),
            shift[:, 0],
            zoom * np.sin(turn),
            zoom * np.cos(turn),
            shift[:, 1],
        ],
        axis=1,
    ).reshape(n, 2, 3)
    grid = functional.affine_grid(torch.from_numpy(matrices).float(), [n, 3, SIDE, SIDE], align_corners=False)
    x = functional.grid_sample(x, grid, align_corners=False, padding_mode="reflection")
    plain = torch.from_numpy(random.uniform(-1, 1, (n, 3, 2, 2))).float()
    ground = functional.interpolate(plain, SIDE, mode="bilinear", align_corners=True)
    # Only far from the face: hair belongs to it.
    share = ((0.7 - (face_mask(SIDE) - 0.25) / 0.75 * 2).clamp(0, 1) ** 2)[None, None]
    x = torch.where(torch.from_numpy(random.random((n, 1, 1, 1)) < 0.25), x + share * (ground - x), x)
    gain = torch.from_numpy(
        random.normal(1, 0.12, (n, 1, 1, 1)) * random.normal(1, 0.04, (n, 3, 1, 1))
    ).float()
    offset = torch.from_numpy(
        random.normal(0, 0.08, (n, 1, 1, 1)) + random.normal(0, 0.02, (n, 3, 1, 1))
    ).float()
    x = (x * gain + offset).clamp(-1, 1)
    made = (x.permute(0, 2, 3, 1).numpy() * 127.5 + 127.5).astype(np.uint8)
    for row in range(n):
        if random.random() < 0.3:
            made[row] = cv2.GaussianBlur(made[row], (0, 0), random.uniform(0.4, 1.2))
        if random.random() < 0.3:
            quality = [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(30, 95))]
            made[row] = np.asarray(
                cv2.imdecode(cv2.imencode(".jpg", made[row], quality)[1], cv2.IMREAD_COLOR), np.uint8
            )
    x = from_pixels(made)
    return x + 0.02 * torch.from_numpy(random.standard_normal(x.shape).astype(np.float32))


class Pairs:
    """What has been written so far."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._read = folder, set[Path]()
        self.pictures = np.empty((0, SIDE, SIDE, 3), np.uint8)
        self.styles = np.empty((0, 4, 512), np.float32)

    def look(self) -> int:
        for path in sorted(self._folder.glob("*-????.npz")):
            if path in self._read:
                continue
            self._read.add(path)
            with np.load(path) as saved:
                pictures = saved["pictures"]
                if pictures.shape[1] != SIDE:
                    pictures = np.stack(
                        [cv2.resize(p, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for p in pictures]
                    )
                self.pictures = np.concatenate([self.pictures, pictures])
                self.styles = np.concatenate([self.styles, saved["styles"].astype(np.float32)])
        return len(self.pictures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--held-out", type=int, default=256)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.manual_seed(0)
    cv2.setNumThreads(1)
    random, settings = np.random.default_rng(0), ModelSettings()
    prior = LatentPrior.of(load_mapper(settings, Compute()))
    name = generator()[1]
    # Errors count as they do in w: an axis of small variance changes little in a picture.
    weight = prior.deviations.square() / prior.deviations.square().mean()
    network = InversionEncoder()
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=0.02)
    pairs, seen, step, began = Pairs(options.pairs), 0, 0, time.monotonic()
    while (progress := (time.monotonic() - began) / 60 / options.minutes) < 1:
        if step % 250 == 0:
            count = pairs.look()
            held = from_pixels(pairs.pictures[: options.held_out])
            held_p = prior.to_p(torch.from_numpy(pairs.styles[: options.held_out]))
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / 100) * 0.5 * (1 + np.cos(np.pi * progress))
        rows = random.integers(options.held_out, count, BATCH)
        wanted = prior.to_p(torch.from_numpy(pairs.styles[rows]))
        network.train()
        loss = ((network.groups(augmented(pairs.pictures[rows], random)) - wanted).square() * weight).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        step, seen = step + 1, seen + BATCH
        if step % 250 == 0:
            network.eval()
            with torch.no_grad():
                errors = (network.groups(held) - held_p).square() * weight
                base = held_p.square() * weight
            explained = 1 - errors.mean(dim=(0, 2)) / base.mean(dim=(0, 2))
            leading = 1 - errors[..., -20:].mean() / base[..., -20:].mean()
            minutes = (time.monotonic() - began) / 60
            print(
                f"{minutes:5.1f} min, {count} pairs, {seen} seen, loss {float(loss.detach()):.3f}, "
                f"held out {float(errors.mean()):.3f}, explained of each group "
                f"{[round(float(share), 3) for share in explained]}, of 20 axes {float(leading):.3f}",
                flush=True,
            )
            save_encoder(network, name, options.out)
    network.eval()
    save_encoder(network, name, options.out)


if __name__ == "__main__":
    main()
