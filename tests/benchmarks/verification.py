"""Face verification on `data/london`: python -m tests.benchmarks.verification

One person: the neutral against the smiling picture (102 pairs); two people: every other such pair (10,302).
Chips are aligned with CenterFace's landmarks. The similarity is judged on the people that its calibration did
not see.
"""

import argparse

import numpy as np
from rich.console import Console
from rich.table import Table

from prosopon.models.faces.detections import Float32
from prosopon.models.load import load_similarity
from prosopon.models.runtime.session import Compute
from tests.benchmarks.calibrate import london
from tests.benchmarks.embeddings import EMBEDDERS, detector, distances, embed, embedder, portraits

FALSE_MATCH_RATES = (1e-2, 1e-3, 1e-4)


def threshold_at(impostors: Float32, rate: float) -> float:
    """The largest threshold with a share of impostor distances below it of at most `rate`."""
    allowed = int(rate * len(impostors))
    return float(np.sort(impostors)[allowed])


def equal_error_rate(genuine: Float32, impostors: Float32) -> float:
    """Where as many genuine pairs are refused as impostors pass: the mean of both, at the nearest one."""
    thresholds = np.sort(np.concatenate([genuine, impostors]))
    missed = 1 - np.searchsorted(np.sort(genuine), thresholds, side="right") / len(genuine)
    passed = np.searchsorted(np.sort(impostors), thresholds, side="right") / len(impostors)
    best = np.argmin(np.abs(missed - passed))
    return float((missed[best] + passed[best]) / 2)


def split(matrix: Float32) -> tuple[Float32, Float32]:
    """Genuine pairs (the diagonal) and impostors (the rest) of a neutral by smiling matrix."""
    return np.diag(matrix), matrix[~np.eye(len(matrix), dtype=bool)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--detector", default="centerface")
    arguments = parser.parse_args()
    Compute().limit_libraries()
    find = detector(arguments.detector)
    neutral, smiling = (list(portraits(london(look), find)) for look in ("neutral", "smiling"))
    names = [path.name[:3] for path, _, _ in neutral]
    assert names == [path.name[:3] for path, _, _ in smiling]
    table = Table(title=f"Verification on data/london: {len(names)} people, {arguments.detector}")
    for column in ("embedder", "EER", *(f"TMR at FMR {rate:.0e}" for rate in FALSE_MATCH_RATES)):
        table.add_column(column)
    for column in ("held out: FMR at 0.5", "TMR at 0.5", "median similarity", "lowest genuine"):
        table.add_column(column)
    for name in EMBEDDERS:
        model = embedder(name)
        matrix = distances(embed(neutral, model), embed(smiling, model))
        genuine, impostors = split(matrix)
        row = [name, f"{equal_error_rate(genuine, impostors):.2%}"]
        row += [f"{np.mean(genuine < threshold_at(impostors, rate)):.2%}" for rate in FALSE_MATCH_RATES]
        held_out, held_out_impostors = split(matrix[1::2, 1::2])
        curve = load_similarity(model.name)
        similarity = curve.similarity(held_out)
        passed = curve.similarity(held_out_impostors) >= 0.5
        row += [
            f"{passed.sum()} of {len(passed)} ({passed.mean():.3%})",
            f"{np.mean(similarity >= 0.5):.2%}",
            f"{np.median(similarity):.5f}",
            f"{similarity.min():.5f}",
        ]
        table.add_row(*row)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
