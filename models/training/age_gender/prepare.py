"""What training reads, computed once: chips, landmarks, labels, and what two other networks make of each chip.

    prosopon models pull centerface face-reidentification-retail-0095
    python -m prosopon.models.training.age_gender.prepare --chips fairface_chips.tar --labels fairface_chips.csv \\
        --start faceres.json --out /tmp/ages

face-reidentification-retail-0095 (Intel, Open Model Zoo, Apache-2.0) and FaceRes, from which the network starts,
look at every chip. Probes, perceptrons with one hidden layer on both of their features, learn age and gender from
two thirds of the chips at a time and answer for the third that they have not seen: `soft.npy`. The network also
learns to predict the features of the first, `retail.npy`. An interrupted run goes on with the chips that are missing.
"""

import csv
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import torch.nn.functional as F
import typer
from torch import Tensor, nn

from prosopon.configs.settings import DetectionSettings, ModelSettings
from prosopon.models.faces.age_gender import BANDS, CROP
from prosopon.models.faces.centerface import CenterFace
from prosopon.models.faces.detections import Float32
from prosopon.models.faces.retail_reidentification import RetailReidentification
from prosopon.models.pictures.crops import similarity_transform
from prosopon.models.roles import Chips
from prosopon.models.runtime.session import Compute
from prosopon.models.training.age_gender.network import FEATURES, AgeGenderNet, start
from prosopon.models.training.age_gender.train import HELD_OUT
from prosopon.models.weights.catalogue import CATALOGUE
from prosopon.models.weights.registry import Registry

MARGIN = 16
"""Black pixels around a chip when the detector sees it: FairFace's chips end at the face."""
FAR = 40
"""Pixels from the template beyond which a found landmark is not believed."""
SIDE = 160
"""Pixels of a chip for FaceRes, which saw faces of 224."""
FOLDS = 3


def read(archive: Path) -> tuple[list[str], Chips]:
    """Names and pictures ``(N, 128, 128, 3)`` uint8 RGB."""
    names, chips = [], []
    with tarfile.open(archive) as tar:
        for member in tar:
            if (stream := tar.extractfile(member)) is not None:
                picture = cv2.imdecode(np.frombuffer(stream.read(), np.uint8), cv2.IMREAD_COLOR)
                names.append(Path(member.name).name)
                chips.append(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
    return names, np.stack(chips)


def landmarks(detector: CenterFace, chips: Chips) -> Float32:
    """``(N, 5, 2)`` of the face in the middle of each chip; the template where none is found."""
    usual = np.asarray(CROP.template, np.float32)
    found = np.tile(usual, (len(chips), 1, 1))
    middle = CROP.size / 2 + MARGIN
    for row, chip in enumerate(chips):
        framed = cv2.copyMakeBorder(chip, *[MARGIN] * 4, cv2.BORDER_CONSTANT)
        faces = detector.detect([framed], 0.3)[0]
        if len(faces):
            distance = np.abs(faces.boxes.reshape(-1, 2, 2).mean(axis=1) - middle).sum(axis=1)
            points = faces.landmarks[distance.argmin()] - MARGIN
            if np.abs(points - usual).max() <= FAR:
                found[row] = points
    return found


def in_parts(path: Path, count: int, dim: int, features: Callable[[np.ndarray], Float32]) -> Float32:
    """``(count, dim)`` features of the rows, 32 at a time; those that the file has are not computed again."""
    if path.exists():
        table = np.load(path, mmap_mode="r+")
    else:
        table = np.lib.format.open_memmap(path, "w+", np.float32, (count, dim))
    missing = np.flatnonzero(~table.any(axis=1))
    for i in range(0, len(missing), 32):
        rows = missing[i : i + 32]
        table[rows] = features(rows)
        if i % 3200 == 0:
            print(f"{path.stem}: {i:,} of {len(missing):,}", flush=True)
    return np.asarray(table)


def fit_probe(features: Tensor, male: Tensor, band: Tensor, epochs: int = 10) -> nn.Module:
    """A perceptron from standardised features ``(N, D)`` to the logits of gender and of `BANDS`."""
    probe = nn.Sequential(
        nn.Dropout(0.3),
        nn.Linear(features.shape[1], 192),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(192, 2 + len(BANDS)),
    )
    optimizer = torch.optim.AdamW(probe.parameters(), weight_decay=0.05)
    count = len(features) // 256
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=epochs * count)
    for _ in range(epochs):
        for rows in torch.randperm(len(features))[: count * 256].view(count, 256):
            out = probe(features[rows])
            loss = F.cross_entropy(out[:, :2], male[rows]) + F.cross_entropy(out[:, 2:], band[rows])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    return probe.eval()


def probed(features: Float32, male: np.ndarray, band: np.ndarray, held_out: np.ndarray) -> Float32:
    """``(N, 11)`` probabilities of each row by a probe that has seen neither it nor what is held out."""
    standard = torch.from_numpy((features - features.mean(axis=0)) / (features.std(axis=0) + 1e-3))
    fold = np.random.default_rng(1).integers(0, FOLDS, len(features))
    answers = np.zeros((len(features), 2 + len(BANDS)), np.float32)
    genders, bands = torch.from_numpy(male).long(), torch.from_numpy(band)
    for part in range(FOLDS):
        seen = fold != part
        seen[held_out] = False
        probe = fit_probe(standard[seen], genders[seen], bands[seen])
        with torch.inference_mode():
            out = probe(standard[fold == part])
        answers[fold == part] = torch.cat(
            [out[:, :2].softmax(dim=1), out[:, 2:].softmax(dim=1)], dim=1
        ).numpy()
    return answers


def main(
    chips: Annotated[Path, typer.Option(help="FairFace's aligned chips, 128 pixels, a tar file")],
    labels: Annotated[Path, typer.Option(help="Their file, age, gender and race as CSV")],
    graph: Annotated[Path, typer.Option("--start", help="faceres.json of @vladmandic/human 3.3.6")],
    out: Annotated[Path, typer.Option(help="Folder for the arrays")],
    seed: int = 0,
) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    registry = Registry.of(ModelSettings())
    names, pictures = read(chips)
    np.save(out / "chips.npy", pictures)
    with labels.open() as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    ages = [f"{low}-{high}" for low, high in BANDS[:-1]] + ["more than 70"]
    male = np.array([rows[name]["gender"] == "Male" for name in names])
    band = np.array([ages.index(rows[name]["age"]) for name in names])
    races = sorted({row["race"] for row in rows.values()})
    race = np.array([races.index(rows[name]["race"]) for name in names])
    order = np.random.default_rng(seed).permutation(len(names))
    detector = CenterFace(registry.weights(CATALOGUE["centerface"]).path, Compute(), DetectionSettings())
    points = landmarks(detector, pictures)
    np.savez(out / "labels.npz", landmarks=points, male=male, band=band, group=race * 2 + male, order=order)

    reid = RetailReidentification(
        *registry.weights(CATALOGUE["face-reidentification-retail-0095"]).paths, Compute()
    )
    template = np.asarray(reid.crop.template, np.float32)
    size = (reid.crop.size, reid.crop.size)

    def embeddings(part: np.ndarray) -> Float32:
        return reid.embed(
            np.stack(
                [cv2.warpAffine(pictures[i], similarity_transform(points[i], template), size) for i in part]
            )
        )

    network = AgeGenderNet().eval()
    start(network, graph)

    def features(part: np.ndarray) -> Float32:
        large = np.stack([cv2.resize(pictures[i], (SIDE, SIDE)) for i in part]).transpose(0, 3, 1, 2)
        with torch.inference_mode():
            return np.asarray(network.features(torch.from_numpy(large).float()).numpy())

    both = np.concatenate(
        [
            in_parts(out / "retail.npy", len(names), reid.dim, embeddings),
            in_parts(out / "faceres.npy", len(names), FEATURES, features),
        ],
        axis=1,
    )
    held_out = order[:HELD_OUT]
    soft = probed(both, male, band, held_out)
    np.save(out / "soft.npy", soft)
    print(
        f"probes, held out: gender {(soft[held_out, :2].argmax(axis=1) == male[held_out]).mean():.4f}, "
        f"band {(soft[held_out, 2:].argmax(axis=1) == band[held_out]).mean():.4f}"
    )


if __name__ == "__main__":
    typer.run(main)
