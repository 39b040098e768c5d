"""Several bad pictures of a person as one probe: python -m tests.benchmarks.fusion

Looked for are the 102 people of `data/london` by worse copies of their smiling picture (blurred, tiny, noisy,
compressed, half covered), in a gallery of their neutral pictures among the people of `data/fairface` and `data/faker`.
Every pair and triple of kinds is one probe. `best single` is the picture of a probe that ranks best, which only
hindsight knows.

The weights' exponent is chosen on every second person; all other figures are of the others. The mean face is that of
FairFace's training part (`tests.benchmarks.scores`), so it knows nobody of the gallery.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from models.scores import BANDS, FaceSpace, load_space
from models.session import Compute
from models.types import Float32
from models.vectors import normalize
from tests.benchmarks.calibrate import london
from tests.benchmarks.embeddings import EMBEDDERS, detector, embed, embedder, portraits
from tests.benchmarks.scores import degraded
from tests.paths import DATA

EXPONENTS = (0, 1, 2, 4, 6, 8)

Ranks = NDArray[np.int64]
Fuse = Callable[[Float32], Float32]
"""Embeddings ``(N, D)`` of one probe to scores for everybody in the gallery ``(G,)``."""


@dataclass(frozen=True)
class Trials:
    """probes: embeddings ``(N, D)`` of a person's pictures; people: who it is, by place in the gallery."""

    probes: list[Float32]
    people: list[int]

    def ranks(self, fuse: Fuse) -> Ranks:
        """Of the person looked for, from 1."""
        found = []
        for probe, person in zip(self.probes, self.people, strict=True):
            scores = fuse(probe)
            found.append(1 + int((scores > scores[person]).sum()))
        return np.array(found)

    def singles(self, fuse: Fuse) -> Ranks:
        """Of each picture alone, ``(trials, N)``."""
        return np.array(
            [
                [
                    1 + int((scores > scores[person]).sum())
                    for scores in (fuse(picture[np.newaxis]) for picture in probe)
                ]
                for probe, person in zip(self.probes, self.people, strict=True)
            ]
        )


def trials(copies: dict[str, dict[int, Float32]], size: int, remainder: int) -> Trials:
    """Every combination of so many kinds of copies, of every second person."""
    probes, people = [], []
    for kinds in itertools.combinations(copies, size):
        there = set.intersection(*(set(copies[kind]) for kind in kinds))
        for person in sorted(there):
            if person % 2 == remainder:
                probes.append(np.stack([copies[kind][person] for kind in kinds]))
                people.append(person)
    return Trials(probes, people)


def served(space: FaceSpace, gallery: Float32, exponent: float | None = None) -> Fuse:
    """As the server does it. exponent: of another weight than its own."""
    centered = space.center(gallery)

    def fuse(probe: Float32) -> Float32:
        if exponent is None:
            weights = np.array([space.quality(picture) for picture in probe], np.float32)
        else:
            weights = np.linalg.norm(probe - space.mean, axis=1) ** exponent
        scores: Float32 = centered @ space.probe(probe, weights)
        return scores

    return fuse


def mean(gallery: Float32) -> Fuse:
    """The plain mean of unit embeddings."""
    return lambda probe: gallery @ normalize(probe.sum(axis=0))


def best_score(space: FaceSpace, gallery: Float32) -> Fuse:
    """The most similar of the pictures decides."""
    centered = space.center(gallery)
    return lambda probe: np.max(centered @ space.center(probe).T, axis=1)


def row(ranks: Ranks, best: Ranks) -> list[str]:
    return [
        f"{np.mean(ranks == 1):.1%}",
        f"{np.mean(ranks <= 10):.1%}",
        f"{10 ** np.mean(np.log10(ranks)):.2f}",
        f"{np.mean(ranks <= best):.1%}",
        f"{np.mean(ranks < best):.1%}",
    ]


def fused_strangers(space: FaceSpace, copies: dict[str, dict[int, Float32]], strangers: Float32) -> list[str]:
    """The share of FairFace's people who reach each band for a probe of three pictures."""
    found = trials(copies, 3, 1)
    vectors = [
        space.probe(probe, np.array([space.quality(picture) for picture in probe], np.float32))
        for probe in found.probes
    ]
    products = np.stack(vectors) @ space.center(strangers).T
    scores = space.curve.score(np.sqrt(np.maximum(0, 2 - 2 * products)))
    return [f"{np.mean(scores >= least):.2e}" for least, _ in BANDS]


def main() -> None:
    Compute().limit_libraries()
    find = detector()
    neutral, smiling = (list(portraits(london(look), find)) for look in ("neutral", "smiling"))
    place = {path.name[:3]: number for number, (path, _, _) in enumerate(neutral)}
    worse = degraded(smiling, find)
    fairface = list(portraits(sorted((DATA / "fairface").glob("*.jpg")), find))
    others = list(portraits(sorted((DATA / "faker").glob("*.jpg")), find))
    for name in EMBEDDERS:
        model = embedder(name)
        space = load_space(model.name, model.fingerprint, model.dim)
        strangers = embed(fairface, model)
        gallery = np.concatenate([embed(neutral, model), strangers, embed(others, model)])
        copies = {
            kind: dict(zip((place[path.name[:3]] for path, _, _ in found), embed(found, model), strict=True))
            for kind, found in worse.items()
        }
        chosen = trials(copies, 3, 0)
        for exponent in EXPONENTS:
            ranks = chosen.ranks(served(space, gallery, exponent))
            print(f"{name}, exponent {exponent}, other people: first in {np.mean(ranks == 1):.1%}")
        table = Table(title=f"{name}: rank of the right person among {len(gallery):,}")
        for column in ("pictures", "probe", "first", "in 10", "mean rank", "no worse than best", "better"):
            table.add_column(column)
        for size in (2, 3):
            found = trials(copies, size, 1)
            fuse = served(space, gallery)
            singles = found.singles(fuse)
            best = singles.min(axis=1)
            chosen_by = [
                int(np.argmax([space.quality(picture) for picture in probe])) for probe in found.probes
            ]
            finest = singles[np.arange(len(singles)), chosen_by]
            plain, nearest = found.ranks(mean(gallery)), found.ranks(best_score(space, gallery))
            for title, ranks in (
                ("average single", singles.ravel()),
                ("single of best quality", finest),
                ("best single (hindsight)", best),
                ("plain mean of embeddings", plain),
                ("best score of any picture", nearest),
                ("served", found.ranks(fuse)),
            ):
                against = np.repeat(best, size) if len(ranks) > len(best) else best
                table.add_row(str(size), title, *row(ranks, against))
        Console(width=140).print(table)
        shares = fused_strangers(space, copies, strangers)
        print(
            f"{name}, three pictures: strangers at or above {[least for least, _ in BANDS]}: {', '.join(shares)}"
        )


if __name__ == "__main__":
    main()
