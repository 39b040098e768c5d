"""Error rates of verification: pairs of one person and of two."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prosopon.models.evaluation.embedded import Embedded
from prosopon.models.evaluation.sets import common, labels_of
from prosopon.models.faces.detections import Float32

FALSE_MATCH_RATES = (1e-2, 1e-3, 1e-4)

Places = tuple[NDArray[np.intp], NDArray[np.intp]]
"""Of the first and of the second picture of pairs, in a set."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """L2 distances of unit embeddings: of pairs of one person and of two."""

    genuine: Float32
    impostors: Float32


def distances(a: Float32, b: Float32) -> Float32:
    """``(N, M)`` L2 distances of unit embeddings ``(N, D)`` and ``(M, D)``."""
    found: Float32 = np.sqrt(np.maximum(0, 2 - 2 * (a @ b.T))).astype(np.float32)
    return found


def pairs_of(embedded: Embedded) -> Pairs:
    """All pairs of a set, each once, by whose they are."""
    people = np.array(whose(embedded))
    first, second = np.triu_indices(len(people), 1)
    same = people[first] == people[second]
    found = distances(embedded.embeddings, embedded.embeddings)[first, second]
    return Pairs(found[same], found[~same])


def whose(embedded: Embedded) -> list[str]:
    return [portrait.person for portrait in embedded.portraits]


def strangers_of(people: Sequence[str], members: NDArray[np.intp] | None = None) -> Places:
    """Places of all pairs of two people, each once, as a matrix is indexed.

    people: who each picture shows; members: places of the pictures that are paired, all of them without.
    """
    names = np.array(people)
    members = np.arange(len(names)) if members is None else members
    first, second = (members[ends] for ends in np.triu_indices(len(members), 1))
    apart = names[first] != names[second]
    return first[apart], second[apart]


def genuine_between(enrolled: Embedded, probes: Embedded) -> Float32:
    """Distances of every probe to its person's enrolled pictures."""
    whose = np.array([portrait.person for portrait in enrolled.portraits])
    asked = np.array([portrait.person for portrait in probes.portraits])
    found: Float32 = distances(probes.embeddings, enrolled.embeddings)[asked[:, np.newaxis] == whose]
    return found


def threshold_at(impostors: Float32, rate: float) -> float:
    """The largest threshold with a share of impostor distances below it of at most `rate`."""
    return float(np.sort(impostors)[int(rate * len(impostors))])


def true_match_rate(pairs: Pairs, rate: float, missed: int = 0) -> float:
    """At a false match rate. missed: genuine pairs that could not be compared, which count as not matched."""
    passed = np.count_nonzero(pairs.genuine < threshold_at(pairs.impostors, rate))
    return float(passed / max(1, len(pairs.genuine) + missed))


def equal_error_rate(pairs: Pairs) -> float:
    """Where as many genuine pairs are refused as impostors pass: the mean of both, at the nearest threshold."""
    genuine, impostors = np.sort(pairs.genuine), np.sort(pairs.impostors)
    thresholds = np.concatenate([genuine, impostors])
    refused = 1 - np.searchsorted(genuine, thresholds, side="right") / len(genuine)
    passed = np.searchsorted(impostors, thresholds, side="right") / len(impostors)
    best = np.argmin(np.abs(refused - passed))
    return float((refused[best] + passed[best]) / 2)


def accuracy(pairs: Pairs, threshold: float) -> float:
    """Share of right decisions at a distance, where genuine pairs and impostors are equally frequent."""
    return float((np.mean(pairs.genuine <= threshold) + np.mean(pairs.impostors > threshold)) / 2)


@dataclass(frozen=True, slots=True)
class GroupRate:
    """impostors: distances of all pairs of two people who are both of the group."""

    kind: str
    group: str
    people: int
    impostors: Float32


def groups(embedded: Embedded, least: int = 10) -> list[tuple[str, str, NDArray[np.intp]]]:
    """Kind, name and members of every race and sex together, and of every age band, with so many people at least."""
    of = {name: labels_of(embedded.portraits, name) for name in ("race", "sex", "age")}
    both = [f"{race}, {sex}" if race and sex else "" for race, sex in zip(of["race"], of["sex"], strict=True)]
    kinds = {"race and sex": np.array(both), "age": np.array(of["age"])}
    return [
        (kind, group, np.flatnonzero(labels == group))
        for kind, labels in kinds.items()
        for group in common(labels.tolist(), least)
    ]


def by_group(embedded: Embedded) -> list[GroupRate]:
    """Pairs within every group of `groups`."""
    matrix, people = distances(embedded.embeddings, embedded.embeddings), whose(embedded)
    return [
        GroupRate(kind, group, len(members), matrix[strangers_of(people, members)])
        for kind, group, members in groups(embedded)
    ]
