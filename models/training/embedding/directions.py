"""What face-reidentification-retail-0095 shares between strangers, found and taken out.

    python -m prosopon.models.training.embedding.directions --teachers /tmp/embedding \\
        --labels fairface_chips.csv --retail face-reidentification-retail-0095.onnx

Strangers of one race, sex and age are nearer to each other than strangers at large, since embeddings tell groups apart
as well as people. Three things that all embeddings of a group have in common are removed: the mean face, the
directions in which groups differ (the span of their means), and the directions in which those strangers of a group
agree whom a threshold takes for one person. The first is centring, the removal of few directions from all vectors is
that of Mu and Viswanath 2018 ("All-but-the-top"), of directions that name a group that of Bolukbasi et al. 2016 ("Man
is to computer programmer"), here chosen by false matches. Every group weighs the same, however many faces it has.

The more directions go, the more true pairs are missed among bad pictures. So what is left is spread: directions in
which worse copies of a chip differ from it are shrunk (Hatch et al. 2006, within-class covariance normalisation),
by a part of the exponent, since copies say little of poses and years.

Reads what `teachers` wrote. Every second face is held out: first the map of the others is judged on these, then the
one that is written is learnt from all.
"""

import csv
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from numpy.typing import NDArray

from prosopon.models.faces.detections import Float32
from prosopon.models.faces.retail_reidentification import EVEN, SIZE, Shared
from prosopon.models.matching.vectors import normalize
from prosopon.models.runtime.session import Compute, create_session, run
from prosopon.models.training.embedding.augment import view_of
from prosopon.models.training.embedding.teachers import ARCFACE, RETAIL, similarity

OF_GROUPS, OF_LOOKALIKES = 45, 4
"""How many directions: as many as cost held-out faces no true pairs, once what is left is spread."""
COPIED, STRENGTHS = 2000, (0.5, 1.0)
"""Faces of which there are worse copies, and how bad these are (`augment.view_of`)."""
EXPONENT, LEAST_VARIANCE = 0.25, 0.1
"""A direction is divided by this power of how much copies vary in it; to that, this share of the mean is added."""

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
        found = np.vstack([found, _of_lookalikes(Shared.of(mean, found).remove(embeddings), groups)])
    return Shared.of(mean, np.linalg.qr(found.T)[0].T.astype(np.float32))


def spread(shared: Shared, clean: Float32, worse: Float32) -> Shared:
    """With directions shrunk in which copies differ. clean: ``(N, D)``; worse: ``(N, K, D)``, K copies of each."""
    away = np.stack([shared.remove(copies) for copies in worse.transpose(1, 0, 2)]) - shared.remove(clean)
    rows = away.reshape(-1, clean.shape[1]).astype(np.float64)
    variances, axes = np.linalg.eigh(rows.T @ rows / len(rows))
    # Directions that were taken out vary in nothing but rounding.
    left = variances > 1e-6 * variances.max()
    mean = variances[left].mean()
    factors = np.where(left, (np.maximum(variances, 0) / mean + LEAST_VARIANCE) ** -EXPONENT, 0)
    return Shared(shared.mean, (shared.matrix @ (axes * factors) @ axes.T).astype(np.float32))


def worse_copies(teachers: Path, places: NDArray[np.intp], retail: Path) -> Float32:
    """``(N, K, D)``: what the network says of K worse copies of the chips at N places."""
    chips, points = (np.load(teachers / f"{name}.npy", mmap_mode="r") for name in ("chips", "landmarks"))
    session, rng = create_session(retail, Compute()), np.random.default_rng(7)
    found = []
    for place in places:
        small, large = (_square(similarity(points[place], template)) for template in (ARCFACE, RETAIL))
        to_view = large @ np.linalg.inv(small)
        views = [view_of(rng, np.array(chips[place]), small, SIZE, s, to_view)[0] for s in STRENGTHS]
        batch = np.ascontiguousarray(np.stack(views)[..., ::-1].transpose(0, 3, 1, 2), np.float32)
        found.append(normalize(run(session, batch)[0].reshape(len(views), -1)))
    return np.stack(found)


def _square(matrix: np.ndarray) -> np.ndarray:
    return np.vstack([matrix, [0, 0, 1]])


def _of_lookalikes(vectors: Float32, groups: Labels) -> Float32:
    """``(D,)``, the direction in which pairs beyond the threshold agree most, over all groups."""
    limit = thresholds(vectors, (RATE,))[0]
    agreed = np.zeros((vectors.shape[1],) * 2, np.float32)
    for group in np.unique(groups):
        members = vectors[groups == group]
        alike = members @ members.T >= limit
        np.fill_diagonal(alike, False)
        agreed += members.T @ (alike.astype(np.float32) @ members) / (len(members) * (len(members) - 1))
    strongest: Float32 = np.linalg.eigh((agreed + agreed.T) / 2)[1][:, -1].astype(np.float32)
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


def true_matches(strangers: Float32, clean: Float32, worse: list[Float32]) -> str:
    """How many worse copies are told to be the same as their clean chip. worse: for each strength ``(N, D)``."""
    limits = thresholds(strangers, (1e-2, 1e-3, 1e-4))
    lines = ["  worse copies matched"]
    for strength, copies in zip(STRENGTHS, worse, strict=True):
        alike = (clean * copies).sum(axis=1)
        lines.append(
            f"    of strength {strength}: " + ", ".join(f"{(alike >= x).mean():.4f}" for x in limits)
        )
    return "\n".join(lines)


def main(
    teachers: Annotated[Path, typer.Option(help="Folder that `teachers` wrote")],
    labels: Annotated[Path, typer.Option(help="fairface_chips.csv")],
    retail: Annotated[Path, typer.Option(help="face-reidentification-retail-0095 as ONNX")],
    out: Annotated[Path, typer.Option(help="The file to write")] = EVEN,
) -> None:
    cv2.setNumThreads(1)
    embeddings, groups, ages = read(teachers, labels)
    copied = np.flatnonzero(np.load(teachers / "detected.npy"))[:COPIED]
    worse = worse_copies(teachers, copied, retail)
    print(f"{len(embeddings):,} faces; judged on every second, which the map does not know")
    kept, held = slice(0, None, 2), slice(1, None, 2)
    clean = embeddings[:COPIED]
    half = learn(embeddings[kept], groups[kept], ages[kept])
    maps = {
        "as the network gives them": normalize,
        "without what strangers share": half.remove,
        "and spread": spread(half, clean[kept], worse[kept]).remove,
    }
    for title, change in maps.items():
        strangers = change(embeddings[held])
        print(report(title, strangers, groups[held]))
        print(
            true_matches(strangers, change(clean[held]), [change(w) for w in worse[held].transpose(1, 0, 2)])
        )
    spread(learn(embeddings, groups, ages), clean, worse).save(out)


if __name__ == "__main__":
    typer.run(main)
