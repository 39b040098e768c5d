"""Open-set identification: python -m tests.benchmarks.identification

Half of the people of `data/london` are enrolled with their neutral picture; everybody's smiling picture is a probe, and
so are strangers: `data/faker`, or those of FairFace's people who are not enrolled. 50 random halves. Detection and
identification rate (Grother and Ngan, NIST IR 8271): probes of enrolled people whose best candidate is right and above
the threshold at which the given share of strangers is falsely identified. `at 0.5` is what a client of /v1/identify
gets without choosing a threshold: the rate, and the share of strangers that pass.

Strangers of the same studio are the hardest: seven people of London enrolled, and only others of London asked. Harder
than the pictures of a studio: 600 people of FairFace enrolled besides, and probes of 36 pixels with noise.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from prosopon.models.evaluation.sets import fairface as fairface_set
from prosopon.models.evaluation.verification import distances
from prosopon.models.faces.detections import Float32
from prosopon.models.matching.calibration import SimilarityCurve, load_similarity
from prosopon.models.matching.cohort import GeneratedStrangers, cohort_path, compute_cohort
from prosopon.models.matching.identification import OpenSetClassifier, fit
from prosopon.models.matching.vectors import normalize
from prosopon.models.roles import Chips, FaceEmbedder
from prosopon.models.runtime.session import Compute
from prosopon.pipelines.commands.support.progress import progress_bar
from tests.benchmarks.embeddings import EMBEDDERS, detector, embedder, london, portraits, settings
from tests.paths import DATA
from tests.weights import weights

SPLITS = 50
RATES = (1e-2, 1e-3)
CROWD, FEW = 600, 7
_LOW_PIXELS, _BRIGHTNESS, _NOISE = 36, (0.6, 1.2), 5.0
_BATCH = 32

Scores = Callable[[Float32], Float32]
"""Probes ``(P, D)`` to a score for everybody enrolled, ``(P, N)``."""


@dataclass(frozen=True)
class Condition:
    """probes: of the people of london, in their order. crowd: enrolled besides them. known: people of london who are
    enrolled; half without. The others are strangers too."""

    name: str
    enrolled: Float32
    probes: Float32
    strangers: Float32
    crowd: Float32
    known: int | None = None


@dataclass(frozen=True)
class Rates:
    """at_half: identification rate and false positive rate at a score of 0.5."""

    identified: list[float]
    at_half: tuple[float, float]


def chips_of(folder: str, pattern: str, model: FaceEmbedder, find: object) -> tuple[Chips, list[str]]:
    """Of the pictures with a face, and these pictures' names."""
    found = list(portraits(sorted((DATA / folder).glob(pattern)), find))  # type: ignore[arg-type]
    chips = np.stack([cut_face(picture, faces, model) for _, picture, faces in found])
    return chips, [path.name for path, _, _ in found]


def cut_face(picture: np.ndarray, faces: object, model: FaceEmbedder) -> np.ndarray:
    from prosopon.models.pictures.crops import cut

    return cut(picture, faces.boxes[0], faces.landmarks[0], model.crop).pixels  # type: ignore[attr-defined]


def low_quality(chips: Chips) -> Chips:
    """Shrunk and enlarged again, darker or brighter, with noise."""
    rng = np.random.default_rng(0)
    size = chips.shape[1]
    made = []
    for chip in chips:
        small = cv2.resize(chip, (_LOW_PIXELS, _LOW_PIXELS), interpolation=cv2.INTER_AREA)
        large = cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC).astype(np.float32)
        noisy = large * rng.uniform(*_BRIGHTNESS) + rng.normal(0, _NOISE, large.shape)
        made.append(np.clip(noisy, 0, 255).astype(np.uint8))
    return np.stack(made)


def embedded(chips: Chips, model: FaceEmbedder) -> Float32:
    parts = [model.embed(chips[start : start + _BATCH]) for start in range(0, len(chips), _BATCH)]
    return normalize(np.concatenate(parts))


def judge(condition: Condition, people: np.ndarray, scorer: Callable[[Float32], Scores]) -> Rates:
    rng = np.random.default_rng(0)
    identified: list[list[float]] = []
    at_half: list[tuple[float, float]] = []
    for _ in range(SPLITS):
        order = rng.permutation(people)
        known, unknown = np.split(order, [condition.known or len(order) // 2])
        scores = scorer(np.concatenate([condition.enrolled[known], condition.crowd]))
        mated = scores(condition.probes[known])
        best, right = mated.max(axis=1), mated.argmax(axis=1) == np.arange(len(known))
        strangers = np.concatenate([condition.probes[unknown], condition.strangers])
        false = np.sort(scores(strangers).max(axis=1))[::-1]
        identified.append([float(np.mean(right & (best > false[int(rate * len(false))]))) for rate in RATES])
        at_half.append((float(np.mean(right & (best >= 0))), float(np.mean(false >= 0))))
    hits, passed = np.mean(at_half, axis=0)
    return Rates(np.mean(identified, axis=0).tolist(), (float(hits), float(passed)))


def nearest_neighbour(curve: SimilarityCurve) -> Callable[[Float32], Scores]:
    """Scores are distances below that of similarity 0.5."""
    return lambda enrolled: lambda probes: curve.c0 - distances(probes, enrolled)


def classifier(curve: SimilarityCurve, strangers: Float32 | None) -> Callable[[Float32], Scores]:
    """Scores are the logits of confidences, which are too near 0 and 1 to be told apart."""
    return lambda enrolled: _fitted(enrolled, curve, strangers).log_odds


def _fitted(enrolled: Float32, curve: SimilarityCurve, strangers: Float32 | None) -> OpenSetClassifier:
    return fit([str(number) for number in range(len(enrolled))], enrolled, curve, strangers)


def conditions(model: FaceEmbedder) -> list[Condition]:
    find = detector()
    neutral = embedded(chips_of("london", "*_neutral.jpg", model, find)[0], model)
    smiling, _ = chips_of("london", "*_smiling.jpg", model, find)
    faker, _ = chips_of("faker", "*.jpg", model, find)
    fairface, names = chips_of("fairface", "*.jpg", model, find)
    person = {portrait.key: portrait.person for portrait in fairface_set(DATA).portraits}
    enrolled = {person[name] for name in names[:CROWD]}
    others = [place for place in range(CROWD, len(names)) if person[names[place]] not in enrolled]
    assert len(neutral) == len(smiling) == len(london("neutral"))
    crowd, outside = embedded(fairface[:CROWD], model), fairface[others]
    nobody = np.empty((0, neutral.shape[1]), np.float32)
    made = []
    for quality, change in (("", lambda chips: chips), (", probes of 36 px", low_quality)):
        probes = embedded(change(smiling), model)
        made.append(Condition(f"{FEW} of London, of London{quality}", neutral, probes, nobody, nobody, FEW))
        for name, strangers in (("faker", faker), ("FairFace", outside)):
            made.append(
                Condition(f"{name}{quality}", neutral, probes, embedded(change(strangers), model), nobody)
            )
        strangers_of_crowd = made[-1].strangers
        made.append(
            Condition(f"FairFace, {CROWD} more enrolled{quality}", neutral, probes, strangers_of_crowd, crowd)
        )
    return made


def cohort_of(model: FaceEmbedder) -> Float32:
    for name in ("mobilestylegan-mapper", "mobilestylegan-generator"):
        weights(name)
    compute, models = Compute(), settings()
    with progress_bar("strangers") as progress:
        path = cohort_path(models, model.fingerprint)
        found = compute_cohort(GeneratedStrangers(models, compute), detector(), model, path, progress)
    return found.embeddings


def training_time(curve: SimilarityCurve, strangers: Float32, profiles: int = 1000, each: int = 3) -> None:
    rng, dim = np.random.default_rng(0), strangers.shape[1]
    people = np.repeat(rng.standard_normal((profiles, dim)), each, axis=0)
    embeddings = normalize((people + 0.1 * rng.standard_normal(people.shape)).astype(np.float32))
    labels = [str(number // each) for number in range(len(embeddings))]
    started = time.perf_counter()
    stored = fit(labels, embeddings, curve, strangers).to_bytes()
    trained = time.perf_counter()
    loaded = OpenSetClassifier.from_bytes(stored)
    loaded.rank(embeddings[0])
    answered = time.perf_counter()
    for _ in range(20):
        loaded.rank(embeddings[0])
    each_ms = (time.perf_counter() - answered) / 20 * 1000
    print(
        f"{profiles} profiles of {each} pictures: trained in {trained - started:.3f} s, {len(stored) / 1e6:.1f} MB, "
        f"loaded in {answered - trained:.3f} s, {each_ms:.1f} ms for one probe"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--embedder", default="retail-0095-even", choices=EMBEDDERS)
    arguments = parser.parse_args()
    Compute().limit_libraries()
    model = embedder(arguments.embedder)
    curve, strangers = load_similarity(settings(), model.fingerprint), cohort_of(model)
    methods = {
        "nearest neighbour": nearest_neighbour(curve),
        "classifier": classifier(curve, None),
        "classifier, unknowns": classifier(curve, strangers),
    }
    people = np.arange(len(london("neutral")))
    table = Table(title=f"Open-set identification by {model.name}: mean of {SPLITS} random halves")
    for column in ("strangers", "method", "DIR at FPIR 1%", "0.1%", "DIR at 0.5", "FPIR at 0.5"):
        table.add_column(column)
    for condition in conditions(model):
        for method, scorer in methods.items():
            found = judge(condition, people, scorer)
            shown = [f"{rate:.1%}" for rate in (*found.identified, *found.at_half)]
            table.add_row(condition.name, method, *shown)
    Console(width=160).print(table)
    training_time(curve, strangers)


if __name__ == "__main__":
    main()
