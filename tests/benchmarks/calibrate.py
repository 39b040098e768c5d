"""Make `models/calibration.json`: python -m tests.benchmarks.calibrate

Pairs of two people are all pairs of `data/fairface`: about 1,200 people in the wild, of all ages and of seven
ethnic groups, hence closer to each other for a network than the young Londoners that it is judged on. Pairs of one
person are the neutral and the smiling picture of every second person of `data/london`; `verification` judges on the
others. `data/faker` is left out, since several of its synthetic portraits show one person.
"""

import json
from pathlib import Path

import numpy as np

from models.calibration import fit
from models.session import Compute
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


def main() -> None:
    Compute().limit_libraries()
    find = detector()
    strangers = list(portraits(sorted((DATA / "fairface").glob("*.jpg")), find))
    neutral = list(portraits(london("neutral", 0), find))
    smiling = list(portraits(london("smiling", 0), find))
    table: dict[str, dict[str, object]] = {}
    for name in EMBEDDERS:
        try:
            model = embedder(name)
        except ModuleNotFoundError as error:
            print(f"{name}: {error}")
            continue
        impostors = impostor_distances(embed(strangers, model))
        genuine = np.linalg.norm(embed(neutral, model) - embed(smiling, model), axis=1)
        curve = fit(impostors, genuine)
        table[name] = {
            "c0": round(curve.c0, 4),
            "c1": round(curve.c1, 3),
            "fingerprint": model.fingerprint,
            "impostor_pairs": len(impostors),
            "genuine_pairs": len(genuine),
        }
        print(f"{name}: {table[name]}")
    TABLE.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
