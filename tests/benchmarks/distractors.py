"""The right person among a million: python -m tests.benchmarks.distractors

In the index are the neutral pictures of the 102 people of `data/london`, and distractors. Of these 1,200 are people,
those of `data/fairface`. The others are no people and no pictures: embeddings of these 1,200 with noise, drawn from the
covariance of all 1,200 and so strong that one keeps a cosine of 0.5 to whom it was drawn from. They crowd the space
about real people evenly, which people, who have relatives and doubles, do not.

Probes are the smiling pictures, made worse in ten ways, compared as FaceCheck compares them. Pictures are embedded
once, and kept where `prosopon evaluate` keeps them.
"""

import argparse
from functools import partial

import numpy as np
from rich.console import Console
from rich.table import Table

from prosopon.models.evaluation import sets
from prosopon.models.evaluation.degradations import DEGRADATIONS
from prosopon.models.evaluation.embedded import Embedded, Embedder
from prosopon.models.faces.detections import Float32
from prosopon.models.matching.scores import FaceSpace, load_space
from prosopon.models.matching.vectors import normalize
from prosopon.models.runtime.session import Compute
from prosopon.pipelines.commands.support.evaluating import cache_of
from tests.benchmarks.embeddings import detector, embedder
from tests.paths import DATA
from tests.weights import model_settings

COMPARED = ("dlib-resnet29", "retail-0095-even")
MILLION = 1_000_000
STEPS = (1_200, 10_000, 100_000, MILLION)
KEPT = 0.5
_CHUNK = 20_000


def noisy(people: Float32, count: int, seed: int) -> Float32:
    """``(count, D)`` unit vectors: embeddings of people, drawn in turn, with noise."""
    rng = np.random.default_rng(seed)
    spread = np.linalg.cholesky(np.cov(people.T) + 1e-9 * np.eye(people.shape[1])).astype(np.float32)
    noise = normalize(rng.standard_normal((count, people.shape[1]), np.float32) @ spread.T)
    of = people[rng.integers(0, len(people), count)]
    # What of the noise lies along the embedding would change the cosine.
    across = normalize(noise - (noise * of).sum(axis=1, keepdims=True) * of)
    return KEPT * of + np.float32((1 - KEPT**2) ** 0.5) * across


def nearer(space: FaceSpace, probes: Float32, right: Float32, people: Float32, most: int) -> list[int]:
    """For each of `STEPS`, how many of the probes have nobody nearer than the right one, at the distances `right`."""
    nearest = np.full(len(probes), np.inf, np.float32)
    firsts, done = [], 0
    while done < most:
        if done == 0:
            distractors = people
        else:
            distractors = noisy(people, min(_CHUNK, min(s for s in STEPS if s > done) - done), done)
        found = space.all_distances(probes, space.project(distractors)).min(axis=1)
        nearest = np.minimum(nearest, found)
        done += len(distractors)
        if done in STEPS:
            firsts.append(int((right < nearest).sum()))
    return firsts


def rows(space: FaceSpace, enrolled: Embedded, probes: dict[str, Embedded], strangers: Embedded) -> list[str]:
    """Rank-1 of all probes together at each of `STEPS`. A probe without a face that is found is not found."""
    place = {portrait.person: row for row, portrait in enumerate(enrolled.portraits)}
    gallery = space.project(enrolled.embeddings)
    vectors, right = [], []
    asked = missed = 0
    for looked in probes.values():
        mine = space.project(looked.embeddings)
        between = space.all_distances(mine, gallery)
        own = [place[portrait.person] for portrait in looked.portraits]
        distances = between[np.arange(len(own)), own]
        between[np.arange(len(own)), own] = np.inf
        # Who is taken for another of London's people is lost, whatever the distractors.
        distances[between.min(axis=1) <= distances] = np.inf
        vectors.append(mine)
        right.append(distances)
        asked, missed = asked + len(looked.portraits) + looked.missed, missed + looked.missed
    firsts = nearer(space, np.concatenate(vectors), np.concatenate(right), strangers.embeddings, max(STEPS))
    return [str(asked), str(missed), *(f"{first / asked:.1%}" for first in firsts)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--embedders", nargs="+", default=COMPARED)
    arguments = parser.parse_args()
    Compute().limit_libraries()
    shown = Table(title="The right person first, of degraded probes, among so many distractors")
    for column in ("embedder", "probes", "no face found", *(f"{step:,}" for step in STEPS)):
        shown.add_column(column, justify="right")
    find = detector()
    for name in arguments.embedders:
        model = embedder(name)
        embed = Embedder(find, model, cache_of(model_settings()), 0.5)
        smiling = sets.london(DATA, "smiling")
        probes = {
            kind: embed(smiling, partial(change), kind.replace(" ", ""))
            for kind, change in DEGRADATIONS.items()
        }
        space = load_space(model_settings(), model.fingerprint, model.dim)
        shown.add_row(
            name, *rows(space, embed(sets.london(DATA, "neutral")), probes, embed(sets.fairface(DATA)))
        )
    Console(width=120).print(shown)


if __name__ == "__main__":
    main()
