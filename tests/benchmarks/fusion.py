"""Several bad pictures of a person as one probe: python -m tests.benchmarks.fusion

Looked for are the 102 people of `data/london` by worse copies of their smiling picture (blurred, tiny, noisy,
compressed, half covered, each made three times), in a gallery of their neutral pictures among the people of
`data/fairface` and `data/faker`. Every pair and triple of kinds is one probe. What it is compared with are searches by
its pictures alone: all of them, the one that is chosen for its quality, and the one that ranks best, which only
hindsight knows. Intervals are of 95 %, from resampling the people (bootstrap).

The constants of `models.matching.scores` are chosen on every second person; all other figures are of the others. The
space is learnt from other people (`tests.benchmarks.scores`), by copies that are made worse in the same five ways.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from prosopon.models.faces.detections import Float32
from prosopon.models.matching.scores import BANDS, FaceSpace, Probe, combined, load_space
from prosopon.models.matching.vectors import normalize
from prosopon.models.runtime.session import Compute
from tests.benchmarks.embeddings import EMBEDDERS, detector, embed, embedder, london, portraits
from tests.benchmarks.scores import degraded
from tests.paths import DATA
from tests.weights import model_settings

EXPONENTS = (0, 1, 2, 4, 6)
SEEDS = range(3)
RESAMPLED = 2000

Ranks = NDArray[np.int64]
Fuse = Callable[[list[Float32]], Float32]
"""Embeddings ``(N, D)`` of each probe to scores for everybody in the gallery ``(probes, G)``."""

Copies = dict[tuple[str, int], Float32]
"""Embeddings by the kind of copy and the person."""


@dataclass(frozen=True)
class Trials:
    """probes: embeddings ``(N, D)`` of a person's pictures; people: who it is, by place in the gallery."""

    probes: list[Float32] = field(default_factory=list)
    people: list[int] = field(default_factory=list)

    def ranks(self, fuse: Fuse) -> Ranks:
        """Of the person looked for, from 1."""
        scores = fuse(self.probes)
        right = np.take_along_axis(scores, np.array(self.people)[:, np.newaxis], axis=1)
        ranks: Ranks = 1 + (scores > right).sum(axis=1)
        return ranks

    def singles(self, fuse: Fuse) -> Ranks:
        """Of each picture alone, ``(trials, N)``."""
        alone = [self.picture(number).ranks(fuse) for number in range(len(self.probes[0]))]
        return np.stack(alone, axis=1)

    def picture(self, number: int) -> "Trials":
        """Of the picture of that place alone."""
        return Trials([probe[number : number + 1] for probe in self.probes], self.people)


def trials(makes: list[Copies], size: int, remainder: int) -> Trials:
    """Every combination of so many kinds of copies, of every second person."""
    found = Trials()
    for copies in makes:
        kinds = dict.fromkeys(kind for kind, _ in copies)
        people = sorted({person for _, person in copies if person % 2 == remainder})
        for chosen in itertools.combinations(kinds, size):
            for person in people:
                if all((kind, person) in copies for kind in chosen):
                    found.probes.append(np.stack([copies[kind, person] for kind in chosen]))
                    found.people.append(person)
    return found


def served(space: FaceSpace, gallery: Float32, exponent: float | None = None) -> Fuse:
    """As the server does it, but that it looks at the index' nearest 300 alone. exponent: of other weights."""
    people = space.project(gallery)

    def fuse(probes: list[Float32]) -> Float32:
        made = [space.probe(probe) if exponent is None else space.probe(probe, exponent) for probe in probes]
        return -probe_distances(space, made, people)

    return fuse


def probe_distances(space: FaceSpace, probes: list[Probe], people: Float32) -> Float32:
    """As `FaceSpace.distances`, of many probes of as many pictures to vectors ``(G, D)``: ``(probes, G)``."""
    pictures = np.stack([probe.pictures for probe in probes])  # (probes, N, D)
    alone = [space.all_distances(pictures[:, number], people) for number in range(pictures.shape[1])]
    fused = space.all_distances(np.stack([probe.fused for probe in probes]), people)
    return combined(fused, np.stack(alone))


def mean(gallery: Float32) -> Fuse:
    """The plain mean of unit embeddings."""
    return lambda probes: normalize(np.stack([probe.sum(axis=0) for probe in probes])) @ gallery.T


def best_score(fuse: Fuse) -> Fuse:
    """The nearest of the pictures decides."""
    return lambda probes: np.max(
        [fuse([probe[number : number + 1] for probe in probes]) for number in range(len(probes[0]))], axis=0
    )


def share(hits: NDArray[np.bool_], people: NDArray[np.int64]) -> str:
    """And its interval. hits: ``(trials,)`` or, of several searches each, ``(trials, N)``."""
    _, person = np.unique(people, return_inverse=True)
    rates = hits.reshape(len(people), -1).mean(axis=1)
    number, hit = np.bincount(person), np.bincount(person, rates)
    drawn = np.random.default_rng(0).integers(0, len(number), (RESAMPLED, len(number)))
    low, high = np.quantile(hit[drawn].sum(axis=1) / number[drawn].sum(axis=1), [0.025, 0.975])
    return f"{rates.mean():.1%} ({low:.1%} to {high:.1%})"


def compare(found: Trials, space: FaceSpace, gallery: Float32, table: Table) -> None:
    fuse, people = served(space, gallery), np.array(found.people)
    singles = found.singles(fuse)
    best = singles.min(axis=1)
    chosen = [int(np.argmax([space.quality(picture) for picture in probe])) for probe in found.probes]
    finest = singles[np.arange(len(singles)), chosen]
    for title, ranks in (
        ("each picture alone", singles),
        ("the one of best quality", finest),
        ("the best one, by hindsight", best),
        ("plain mean of embeddings", found.ranks(mean(gallery))),
        ("best score of any picture", found.ranks(best_score(fuse))),
        ("served", found.ranks(fuse)),
    ):
        each = ranks.reshape(len(people), -1)
        table.add_row(
            str(singles.shape[1]),
            title,
            share(each == 1, people),
            f"{np.mean(each <= 10):.1%}",
            f"{10 ** np.mean(np.log10(each)):.3f}",
            share(each <= singles.mean(axis=1, keepdims=True), people),
            share(each <= finest[:, np.newaxis], people),
            share(each <= best[:, np.newaxis], people),
        )


def places_in_index(found: Trials, space: FaceSpace, gallery: Float32) -> str:
    """Where the index puts those who are first in the end: what has to be looked at more closely."""
    probes = np.stack([space.direction(space.probe(probe)) for probe in found.probes])
    places = found.ranks(lambda _: probes @ gallery.T)[found.ranks(served(space, gallery)) == 1]
    common = np.quantile(places, 0.99)
    return f"those found first are among the index' {common:.0f} nearest in 99 %, {places.max()} in all"


def strangers_scores(space: FaceSpace, found: Trials, strangers: Float32) -> list[str]:
    """The share of FairFace's people who reach each band."""
    probes = [space.probe(probe) for probe in found.probes]
    scores = space.curve.score(probe_distances(space, probes, space.project(strangers)))
    return [f"{np.mean(scores >= least):.1e}" for least, _ in BANDS]


def main() -> None:
    Compute().limit_libraries()
    find = detector()
    neutral, smiling = (list(portraits(london(look), find)) for look in ("neutral", "smiling"))
    place = {path.name[:3]: number for number, (path, _, _) in enumerate(neutral)}
    worse = [degraded(smiling, find, seed) for seed in SEEDS]
    fairface = list(portraits(sorted((DATA / "fairface").glob("*.jpg")), find))
    others = list(portraits(sorted((DATA / "faker").glob("*.jpg")), find))
    for name in EMBEDDERS:
        model = embedder(name)
        space = load_space(model_settings(), model.fingerprint, model.dim)
        strangers = embed(fairface, model)
        gallery = np.concatenate([embed(neutral, model), strangers, embed(others, model)])
        makes = [
            {
                (kind, place[path.name[:3]]): embedding
                for kind, copies in made.items()
                for (path, _, _), embedding in zip(copies, embed(copies, model), strict=True)
            }
            for made in worse
        ]
        for exponent in EXPONENTS:
            firsts = [
                f"{np.mean(trials(makes, size, 0).ranks(served(space, gallery, exponent)) == 1):.1%}"
                for size in (2, 3)
            ]
            print(f"{name}, exponent {exponent}, other people: first in {', '.join(firsts)}")
        table = Table(title=f"{name}: rank of the right person among {len(gallery):,}")
        for column in ("pictures", "probe", "first", "in 10", "mean rank"):
            table.add_column(column)
        for column in ("average one", "best in quality", "best by hindsight"):
            table.add_column(f"no worse than the {column}")
        for size in (2, 3):
            compare(trials(makes, size, 1), space, gallery, table)
        Console(width=190).print(table)
        for size in (1, 2, 3):
            found = trials(makes, size, 1)
            shares = ", ".join(strangers_scores(space, found, strangers))
            print(f"{name}, {size} pictures: strangers at or above {[least for least, _ in BANDS]}: {shares}")
            print(f"  {places_in_index(found, space, gallery)}")


if __name__ == "__main__":
    main()
