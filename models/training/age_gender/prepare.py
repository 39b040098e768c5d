"""What training reads, computed once: labels, and what two teachers' probes answer.

    python -m prosopon.models.training.embedding.teachers ... --out /tmp/embedding
    python -m prosopon.models.training.age_gender.prepare --teachers /tmp/embedding --labels fairface_chips.csv \\
        --out /tmp/ages

`embedding.teachers` has looked at every chip with MobileFaceNet and with face-reidentification-retail-0095.
Probes, perceptrons with one hidden layer on the features of both, learn age and gender from three quarters of the
chips at a time and answer for the quarter that they have not seen: `soft.npy`. Chips that the teachers have not seen
yet have no soft answer, or that of the network that `--before` names, which is half of the others' too.
"""

import csv
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from torch import Tensor, nn

from prosopon.models.faces.age_gender import BANDS
from prosopon.models.faces.detections import Float32
from prosopon.models.runtime.session import Compute, create_session, run
from prosopon.models.training.age_gender.augment import batch, plain
from prosopon.models.training.age_gender.network import CLASSES

HELD_OUT = 3000
"""The first rows: never trained on."""
FOLDS = 4
AGES = [f"{low}-{high}" for low, high in BANDS[:-1]] + ["more than 70"]


def cross_entropy(logits: Tensor, male: Tensor, band: Tensor) -> Tensor:
    return F.cross_entropy(logits[:, :2], male) + F.cross_entropy(logits[:, 2:], band)


def fit_probe(features: Tensor, male: Tensor, band: Tensor, epochs: int = 8) -> nn.Module:
    """A perceptron from features ``(N, 2, D)``, of a chip and of its mirror image, to the logits of both."""
    rows = features.flatten(0, 1)
    male, band = male.repeat_interleave(2), band.repeat_interleave(2)
    probe = nn.Sequential(
        nn.Dropout(0.3), nn.Linear(rows.shape[1], 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, CLASSES)
    )
    optimizer = torch.optim.AdamW(probe.parameters(), weight_decay=0.05)
    steps = len(rows) // 256
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=epochs * steps)
    for _ in range(epochs):
        for part in torch.randperm(len(rows))[: steps * 256].view(steps, 256):
            optimizer.zero_grad()
            torch.autograd.backward(cross_entropy(probe(rows[part].float()), male[part], band[part]))
            optimizer.step()
            schedule.step()
    return probe.eval()


@torch.inference_mode()
def answered(probe: nn.Module, features: Tensor) -> Tensor:
    """Logits ``(N, 11)``: the mean of a chip's and its mirror image's."""
    logits: Tensor = probe(features.flatten(0, 1).float())
    return logits.view(len(features), 2, CLASSES).mean(dim=1)


def probed(features: Tensor, male: Tensor, band: Tensor, held_out: np.ndarray) -> Float32:
    """``(N, 11)`` probabilities of each row by a probe that has seen neither it nor what is held out."""
    fold = np.random.RandomState(1).randint(0, FOLDS, len(features))
    answers = torch.zeros(len(features), CLASSES)
    for number in range(FOLDS):
        seen = torch.from_numpy((fold != number) & ~held_out)
        rest = torch.from_numpy(fold == number)
        logits = answered(fit_probe(features[seen], male[seen], band[seen]), features[rest])
        answers[rest] = torch.cat([logits[:, :2].softmax(dim=1), logits[:, 2:].softmax(dim=1)], dim=1)
    return np.asarray(answers.numpy())


def answers(network: Path, chips: np.ndarray, landmarks: Float32) -> Float32:
    """``(N, 11)`` probabilities of chips ``(N, 128, 128, 3)`` uint8 RGB by a trained network, an ONNX file."""
    session, found = create_session(network, Compute()), list[Float32]()
    for first in range(0, len(chips), 64):
        part = slice(first, first + 64)
        cut = [plain(chip, points) for chip, points in zip(chips[part], landmarks[part], strict=True)]
        found.append(run(session, batch(cut))[0])
    return np.concatenate(found)


def teachers_features(folder: Path, rows: np.ndarray) -> Tensor:
    """Embeddings and inner maps, pooled to four parts, standardised: ``(N, 2, D)`` in half precision."""
    found = [np.load(folder / f"{name}.npy", mmap_mode="r")[rows] for name in ("retail", "mobile")]
    for name in ("retail8", "mobile7"):
        maps, pooled = np.load(folder / f"{name}.npy", mmap_mode="r"), []
        for part in np.array_split(rows, max(1, len(rows) // 500)):
            some = torch.from_numpy(maps[part]).float().flatten(0, 1)
            pooled.append(F.adaptive_avg_pool2d(some, 2).reshape(len(part), 2, -1).numpy())
        found.append(np.concatenate(pooled))
    features = np.concatenate([part.astype(np.float32) for part in found], axis=2)
    standard = (features - features.mean(axis=(0, 1))) / (features.std(axis=(0, 1)) + 1e-3)
    return torch.from_numpy(standard).half()


def main(
    teachers: Annotated[Path, typer.Option(help="Folder that models.training.embedding.teachers wrote")],
    labels: Annotated[Path, typer.Option(help="Age, gender and race of FairFace's chips, CSV")],
    out: Annotated[Path, typer.Option(help="Folder for the arrays")],
    before: Annotated[Path | None, typer.Option(help="A trained network that answers too, ONNX")] = None,
) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    out.mkdir(parents=True, exist_ok=True)
    files = (teachers / "files.txt").read_text().split("\n")
    with labels.open() as file:
        told = {row["file"]: row for row in csv.DictReader(file)}
    rows = [told[Path(name).name] for name in files]
    male = np.array([row["gender"] == "Male" for row in rows])
    band = np.array([AGES.index(row["age"]) for row in rows])
    races = sorted({row["race"] for row in rows})
    group = np.array([2 * races.index(row["race"]) + (row["gender"] == "Male") for row in rows])
    np.savez(
        out / "labels.npz", male=male, band=band, group=group, landmarks=np.load(teachers / "landmarks.npy")
    )
    if not (out / "chips.npy").exists():
        (out / "chips.npy").symlink_to((teachers / "chips.npy").absolute())
    seen = np.load(teachers / "retail.npy", mmap_mode="r")[:, 0].any(axis=1)
    looked = np.flatnonzero(seen)
    features = teachers_features(teachers, looked)
    genders, bands = torch.from_numpy(male[looked].astype(np.int64)), torch.from_numpy(band[looked])
    soft = np.zeros((len(rows), CLASSES), np.float32)
    soft[looked] = probed(features, genders, bands, looked < HELD_OUT)
    np.save(out / "soft.npy", soft if before is None else _with(soft, before, out))
    held_out = looked[looked < HELD_OUT]
    print(
        f"probes, held out: gender {(soft[held_out, :2].argmax(axis=1) == male[held_out]).mean():.4f}, "
        f"band {(soft[held_out, 2:].argmax(axis=1) == band[held_out]).mean():.4f}"
    )


def _with(soft: Float32, before: Path, out: Path) -> Float32:
    told = answers(
        before, np.load(out / "chips.npy", mmap_mode="r"), np.load(out / "labels.npz")["landmarks"]
    )
    return np.where(soft.any(axis=1, keepdims=True), (soft + told) / 2, told).astype(np.float32)


if __name__ == "__main__":
    typer.run(main)
