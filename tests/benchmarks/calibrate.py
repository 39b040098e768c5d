"""Make `models/matching/calibration.json`: python -m tests.benchmarks.calibrate

Pairs of two people are all pairs of `data/fairface`: about 1,200 people in the wild, of all ages and of
seven ethnic groups. Pairs of one person are the neutral and the smiling picture of every second person of
`data/london`; `verification` judges on the others. `data/faker` is left out of the fit: its portraits are
synthetic and resemble one another more than people do.

Also printed: the false match rate at the fitted threshold among FairFace's pairs of one sex and ethnic group,
and within `data/faker`. They are higher than the 1 in 1,000 of all pairs, and say how far the threshold
carries.
"""

import csv
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prosopon.models.matching.calibration import fit
from prosopon.models.runtime.session import Compute
from tests.benchmarks.embeddings import (
    EMBEDDERS,
    detector,
    embed,
    embedder,
    impostor_distances,
    portraits,
)
from tests.paths import DATA, ROOT

TABLE = ROOT / "models" / "calibration.json"


def london(expression: str, remainder: int | None = None) -> list[Path]:
    """Pictures of the London set, by person; remainder 0 or 1: of every second person."""
    paths = sorted((DATA / "london").glob(f"*_{expression}.jpg"))
    return paths if remainder is None else paths[remainder::2]


def pairs_of_one_group(names: list[str]) -> NDArray[np.bool_]:
    """For each pair, in the order of `impostor_distances`, whether sex and ethnic group are the same."""
    with (DATA / "fairface" / "labels.csv").open() as file:
        groups = {row["file"]: (row["gender"], row["race"]) for row in csv.DictReader(file)}
    first, second = np.triu_indices(len(names), 1)
    codes = {group: code for code, group in enumerate(sorted(set(groups.values())))}
    group = np.array([codes[groups[name]] for name in names])
    return group[first] == group[second]


def main() -> None:
    Compute().limit_libraries()
    find = detector()
    strangers = list(portraits(sorted((DATA / "fairface").glob("*.jpg")), find))
    neutral = list(portraits(london("neutral", 0), find))
    smiling = list(portraits(london("smiling", 0), find))
    synthetic = list(portraits(sorted((DATA / "faker").glob("*.jpg")), find))
    alike = pairs_of_one_group([path.name for path, _, _ in strangers])
    table: dict[str, dict[str, object]] = {}
    for name in EMBEDDERS:
        model = embedder(name)
        impostors = impostor_distances(embed(strangers, model))
        genuine = np.linalg.norm(embed(neutral, model) - embed(smiling, model), axis=1)
        curve = fit(impostors, genuine)
        table[model.name] = {
            "c0": round(curve.c0, 4),
            "c1": round(curve.c1, 3),
            "fingerprint": model.fingerprint,
            "impostor_pairs": len(impostors),
            "genuine_pairs": len(genuine),
        }
        print(f"{name}: {table[model.name]}")
        within_group = np.mean(impostors[alike] < curve.c0)
        within_faker = np.mean(impostor_distances(embed(synthetic, model)) < curve.c0)
        print(f"  false match rate within one sex and ethnic group: {within_group:.2%}")
        print(f"  within data/faker: {within_faker:.2%}")
    TABLE.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
