"""FaceCheck's scores: how often strangers reach each band, and how often the same person does.

    python -m tests.benchmarks.scores            # judge models/matching/scores.json
    python -m tests.benchmarks.scores --write    # calibrate, write it, and judge it

Calibrated on people that the judgement does not see: pairs of two people are all pairs of 6,000 chips of FairFace's
training part, pairs of one person the neutral and the smiling picture of every second person of `data/london`. How
pictures of one person differ is learnt from every fifth of the chips and worse copies of them. Judged
on all pairs of `data/fairface` (its validation part), and on the other people of `data/london`, also on worse copies of
their smiling picture.

Of who is in `data/fairface` twice, as far as it is known (`prosopon.models.evaluation.sets`), one picture is taken.
"""

import argparse
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from prosopon.models.evaluation.sets import fairface as fairface_set
from prosopon.models.faces.detections import Detections, Float32, RGBImage
from prosopon.models.matching.scores import (
    BANDS,
    PARTS,
    SPACES,
    FaceSpace,
    ScoreCurve,
    as_entry,
    fit,
    learn_space,
    load_space,
    plain_space,
)
from prosopon.models.roles import FaceDetector, FaceEmbedder
from prosopon.models.runtime.session import Compute
from tests.benchmarks.degraded import DEGRADATIONS
from tests.benchmarks.embeddings import EMBEDDERS, detector, embed, embedder, london, portraits
from tests.paths import DATA, ROOT
from tests.weights import model_settings

TABLE = ROOT / "models" / "matching" / "scores.json"
CHIPS = 6000
_EVERY = 5
_BORDER = 64
UNKNOWN = ScoreCurve((0.0, 2.0), (100.0, 0.0))

Found = list[tuple[Path, RGBImage, Detections]]


def chips(find: FaceDetector) -> Iterator[tuple[Path, RGBImage, Detections]]:
    """Every so many of FairFace's chips, with a border: a detector does not find a face that fills the picture."""
    with tarfile.open(DATA / "fairface_chips.tar") as file:
        names = sorted(file.getnames())
        for name in names[:: len(names) // CHIPS][:CHIPS]:
            member = file.extractfile(name)
            assert member is not None
            chip = np.array(Image.open(io.BytesIO(member.read())).convert("RGB"))
            picture = cv2.copyMakeBorder(chip, *[_BORDER] * 4, cv2.BORDER_REPLICATE)
            faces = find.detect([picture], 0.5)[0].largest_first()
            if len(faces):
                yield Path(name), picture, faces.take(np.arange(1))


def degraded(found: Found, find: FaceDetector, seed: int = 0) -> dict[str, Found]:
    """Worse copies of portraits by kind; one whose face is not found any more is left out."""
    rng = np.random.default_rng(seed)
    made: dict[str, Found] = {}
    for kind, change in DEGRADATIONS.items():
        copies = [(path, change(picture, faces, rng)) for path, picture, faces in found]
        looked = ((path, copy, find.detect([copy], 0.5)[0].largest_first()) for path, copy in copies)
        made[kind] = [(path, copy, faces.take(np.arange(1))) for path, copy, faces in looked if len(faces)]
    return made


def pair_distances(space: FaceSpace, vectors: Float32) -> Float32:
    return space.all_distances(vectors, vectors)[np.triu_indices(len(vectors), 1)]


def calibrated(space: FaceSpace, strangers: Float32, first: Float32, second: Float32) -> ScoreCurve:
    """first, second: embeddings of the same people."""
    genuine = np.diag(space.all_distances(space.project(first), space.project(second)))
    return fit(pair_distances(space, space.project(strangers)), genuine)


def shares(curve: ScoreCurve, found: Float32) -> list[str]:
    """The share of pairs that reach each band."""
    scores = curve.score(found)
    return [f"{np.mean(scores >= least):.2e}" for least, _ in BANDS]


def write(find: FaceDetector, models: dict[str, FaceEmbedder]) -> None:
    """What `models.matching.scores` reads."""
    strangers = list(chips(find))
    worse = [face for found in degraded(strangers[::_EVERY], find).values() for face in found]
    place = {path: number for number, (path, _, _) in enumerate(strangers)}
    better = [place[path] for path, _, _ in worse]
    pairs = [list(portraits(london(look, 0), find)) for look in ("neutral", "smiling")]
    table: dict[str, dict[str, object]] = {}
    learnt: dict[str, NDArray[np.float16]] = {}
    for model in models.values():
        people = embed(strangers, model)
        first, second = (embed(pair, model) for pair in pairs)
        plain = plain_space(model.dim, UNKNOWN)
        space = learn_space(people, people[better], embed(worse, model), UNKNOWN)
        learnt |= {f"{model.fingerprint}/{part}": getattr(space, part).astype(np.float16) for part in PARTS}
        table[model.fingerprint] = {
            "impostor_pairs": len(people) * (len(people) - 1) // 2,
            "genuine_pairs": len(first),
            "worse_copies": len(worse),
            "plain": as_entry(calibrated(plain, people, first, second)),
            "learnt": as_entry(calibrated(space, people, first, second)),
        }
    kept = dict(np.load(SPACES))
    np.savez(SPACES, **{**kept, **learnt})  # type: ignore[arg-type]
    table = {**json.loads(TABLE.read_text()), **table}
    lines = [f"{json.dumps(name)}: {json.dumps(known)}" for name, known in table.items()]
    TABLE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--embedders", nargs="+", default=EMBEDDERS)
    arguments = parser.parse_args()
    Compute().limit_libraries()
    find = detector()
    models = {name: embedder(name) for name in arguments.embedders}
    if arguments.write:
        write(find, models)
    one_each = {portrait.person: portrait.path for portrait in fairface_set(DATA).portraits}
    fairface = list(portraits(sorted(one_each.values()), find))
    neutral, smiling = (list(portraits(london(look, 1), find)) for look in ("neutral", "smiling"))
    worse = degraded(smiling, find)
    place = {path.name[:3]: number for number, (path, _, _) in enumerate(neutral)}
    spaces = {
        name: load_space(model_settings(), model.fingerprint, model.dim) for name, model in models.items()
    }

    def vectors(name: str, found: Found) -> Float32:
        return spaces[name].project(embed(found, models[name]))

    shown = Table(title="Share of pairs at or above a score")
    for column in ("embedder", "pairs", "number", *(str(least) for least, _ in BANDS)):
        shown.add_column(column)
    for name in models:
        enrolled = vectors(name, neutral)
        matrix = spaces[name].all_distances(enrolled, vectors(name, smiling))
        rows = {
            "two people, FairFace": pair_distances(spaces[name], vectors(name, fairface)),
            "two people, London": matrix[~np.eye(len(matrix), dtype=bool)],
            "one person, London": np.diag(matrix),
        }
        for kind, found in worse.items():
            own = enrolled[[place[path.name[:3]] for path, _, _ in found]]
            rows[f"... {kind}"] = np.diag(spaces[name].all_distances(vectors(name, found), own))
        for title, between in rows.items():
            shown.add_row(name, title, str(len(between)), *shares(spaces[name].curve, between))
    Console(width=140).print(shown)


if __name__ == "__main__":
    main()
