"""What face-reidentification-retail-0095 shares between strangers, found and taken out.

    python -m prosopon.models.training.embedding.directions --teachers /tmp/embedding \\
        --labels fairface_chips.csv --out models/weights/retail_directions.npz

Strangers of one race, sex and age are nearer to each other than strangers at large, since embeddings tell groups apart
as well as people. Three things that all embeddings of a group have in common are removed: the mean face, the
directions in which groups differ (the span of their means), and the directions in which those strangers of a group
agree whom a threshold takes for one person. The first is centring, the removal of few directions from all vectors is
that of Mu and Viswanath 2018 ("All-but-the-top"), of directions that name a group that of Bolukbasi et al. 2016 ("Man
is to computer programmer"), here chosen by false matches. Every group weighs the same, however many faces it has.

Reads what `teachers` wrote; needs no pictures. Every second face is held out: first the directions of the others are
judged on these, then those that are written are learnt from all.
"""

import csv
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from prosopon.models.faces.detections import Float32
from prosopon.models.faces.retail_reidentification import DIRECTIONS, Shared
from prosopon.models.matching.vectors import normalize

OF_GROUPS, OF_LOOKALIKES = 30, 4
"""How many directions: chosen on the faces that are held out."""

RATE = 1e-3
"""False match rate, over all pairs, of the threshold that lookalikes reach."""

_LEAST = 10
"""Faces that a group must have."""
_PAIRED = 5000
"""People of whom thresholds over all pairs are taken."""
_AGES = {"50-59": "40-49", "30-39": "20-29", "more than 70": "60-69"}
"""Age bands that are one group with another: there are few old faces."""

Labels = NDArray[np.str_]


def read(teachers: Path, labels: Path) -> tuple[Float32, Labels, Labels]:
    """Unit embeddings ``(N, 256)`` of the chips in which a face was found; race and sex; and age besides, of each."""
    with labels.open() as stream:
        rows = {row["file"]: row for row in csv.DictReader(stream)}
    found = np.load(teachers / "detected.npy")
    # Rows that `teachers` has not come to are zeros, and not detected.
    places = np.flatnonzero(found)
    files = (teachers / "files.txt").read_text().split("\n")
    groups, ages = groups_of([rows[Path(files[place]).name] for place in places])
    embeddings = np.load(teachers / "retail.npy", mmap_mode="r")[places, 0]
    return normalize(np.asarray(embeddings)), groups, ages


def groups_of(rows: list[dict[str, str]]) -> tuple[Labels, Labels]:
    """Race and sex, and age besides, of the rows of `fairface_chips.csv`."""
    groups = np.array([f"{row['race']}, {row['gender']}" for row in rows])
    ages = np.array([f"{row['race']}, {row['gender']}, {_AGES.get(row['age'], row['age'])}" for row in rows])
    return groups, ages


def learn(embeddings: Float32, groups: Labels, ages: Labels) -> Shared:
    """embeddings: ``(N, D)`` unit, each of somebody else; groups, ages: labels of each, as `read` gives them."""
    means = np.stack(
        [embeddings[ages == age].mean(axis=0) for age in np.unique(ages) if (ages == age).sum() >= _LEAST]
    )
    mean: Float32 = means.mean(axis=0)
    found: Float32 = np.linalg.svd(means - mean, full_matrices=False)[2][:OF_GROUPS]
    for _ in range(OF_LOOKALIKES):
        found = np.vstack([found, _of_lookalikes(Shared(mean, found).remove(embeddings), groups)])
    return Shared(mean, np.linalg.qr(found.T)[0].T.astype(np.float32))


def _of_lookalikes(vectors: Float32, groups: Labels) -> Float32:
    """``(D,)``, the direction in which pairs beyond the threshold agree most, over all groups."""
    limit = thresholds(vectors, (RATE,))[0]
    shared = np.zeros((vectors.shape[1],) * 2, np.float32)
    for group in np.unique(groups):
        members = vectors[groups == group]
        alike = members @ members.T >= limit
        np.fill_diagonal(alike, False)
        shared += members.T @ (alike.astype(np.float32) @ members) / (len(members) * (len(members) - 1))
    strongest: Float32 = np.linalg.eigh((shared + shared.T) / 2)[1][:, -1].astype(np.float32)
    return strongest


def thresholds(vectors: Float32, rates: tuple[float, ...]) -> list[float]:
    """Inner products of unit vectors that the given shares of all pairs of two people reach."""
    some = vectors[np.random.default_rng(0).permutation(len(vectors))[:_PAIRED]]
    pairs = (some @ some.T)[np.triu_indices(len(some), 1)]
    return [float(np.quantile(pairs, 1 - rate)) for rate in rates]


def within(vectors: Float32, groups: Labels, limits: list[float]) -> dict[str, list[float]]:
    """Of each group the share of its pairs that reach each limit."""
    told = {}
    for group in np.unique(groups):
        members = vectors[groups == group]
        pairs = (members @ members.T)[np.triu_indices(len(members), 1)]
        told[str(group)] = [float((pairs >= limit).mean()) for limit in limits]
    return told


def report(
    title: str, vectors: Float32, groups: Labels, rates: tuple[float, ...] = (1e-2, 1e-3, 1e-4)
) -> str:
    """How much oftener two people of a group are taken for one than two people at large."""
    told = within(vectors, groups, thresholds(vectors, rates))
    lines = [f"{title}: false matches within a group, in those of all pairs, at {', '.join(map(str, rates))}"]
    for group, shares in told.items():
        ratios = (f"{share / rate:6.1f}" for share, rate in zip(shares, rates, strict=True))
        lines.append(f"  {group:26}" + "".join(ratios))
    worst = (max(shares[i] for shares in told.values()) / rate for i, rate in enumerate(rates))
    return "\n".join([*lines, f"  {'worst':26}" + "".join(f"{ratio:6.1f}" for ratio in worst)])


def main(
    teachers: Annotated[Path, typer.Option(help="Folder that `teachers` wrote")],
    labels: Annotated[Path, typer.Option(help="fairface_chips.csv")],
    out: Annotated[Path, typer.Option(help="The file to write")] = DIRECTIONS,
) -> None:
    embeddings, groups, ages = read(teachers, labels)
    kept, held = slice(0, None, 2), slice(1, None, 2)
    print(f"{len(embeddings):,} faces; judged on every second, which the directions do not know")
    print(report("as the network gives them", embeddings[held], groups[held]))
    halves = learn(embeddings[kept], groups[kept], ages[kept])
    print(report("without what strangers share", halves.remove(embeddings[held]), groups[held]))
    learn(embeddings, groups, ages).save(out)


if __name__ == "__main__":
    typer.run(main)
