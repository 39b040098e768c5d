"""The project's own swappers on pairs of pictures, judged by a network that takes no part in them:
python -m tests.benchmarks.swap [--pairs known|drawn|hard] [--methods warp regenerate] [--seconds S] [--count N]
[--led-by NAME]

known: twenty pairs; drawn: as many as asked for out of FairFace, by a seed; hard: the same, of which the pictures of
three in ten are made grey, sepia and soft. Prints for each pair and method the
judge's similarity of the result to the face and to the picture, how far the landmarks and the pose are from the
picture's, pixels changed outside the face, and the time, then their means and the memory; writes
docs/aifaceswap_swaps.jpg for the warp alone, else docs/aifaceswap_PAIRS.jpg: face, picture
and a result of each method side by side.
"""

import argparse
import csv
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import mean, median

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
from PIL import Image

from prosopon.configs.settings import ModelSettings, SwapSettings
from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.faces.head_pose import head_pose
from prosopon.models.faces.insightface_pack import mobilefacenet
from prosopon.models.load import load_regenerator
from prosopon.models.matching.vectors import normalize
from prosopon.models.pictures.crops import cut
from prosopon.models.roles import FaceEmbedder
from prosopon.models.runtime.session import Compute
from prosopon.models.swap.geometry import interocular
from prosopon.models.swap.types import FaceGeometry, FaceSwapper, Replacement, SourceFace
from prosopon.models.swap.verdict import Gate
from prosopon.models.swap.warp import WarpSwapper
from prosopon.models.weights.catalogue import CATALOGUE, LED_BY
from tests.faces import around, face_near, faces_of, portrait
from tests.paths import DATA, ROOT
from tests.weights import model_settings, weights

PAIRS = (
    # The picture, and the face that is put into its biggest one.
    ("london/002_neutral.jpg", "faker/female_22.jpg"),
    ("london/017_smiling.jpg", "faker/male_0.jpg"),
    ("london/025_neutral.jpg", "london/113_neutral.jpg"),
    ("london/069_neutral.jpg", "faker/male_50.jpg"),
    ("london/092_neutral.jpg", "london/043_neutral.jpg"),
    ("london/134_smiling.jpg", "faker/male_32.jpg"),
    ("faker/female_11.jpg", "london/127_smiling.jpg"),
    ("faker/female_14.jpg", "london/030_neutral.jpg"),
    ("faker/female_39.jpg", "london/009_smiling.jpg"),
    ("faker/male_67.jpg", "london/012_neutral.jpg"),
    ("faker/male_15.jpg", "london/105_neutral.jpg"),
    ("faker/male_50.jpg", "london/041_neutral.jpg"),
    ("faker/female_52.jpg", "faker/female_65.jpg"),
    ("compreface_samples/002_A.jpg", "london/126_neutral.jpg"),
    ("compreface_samples/005_A.jpg", "faker/female_48.jpg"),
    ("compreface_samples/007_B.jpg", "london/100_neutral.jpg"),
    ("compreface_samples/009_C.jpg", "london/024_neutral.jpg"),
    ("compreface_samples/011_3.jpg", "london/172_neutral.jpg"),
    ("london/042_neutral.jpg", "compreface_samples/009_C.jpg"),
    ("compreface_samples/006_A.jpg", "faker/female_42.jpg"),
)
TILE, ACROSS = 200, 3
PAIR_SETS = ("known", "drawn", "hard")
SEED, LEAST_EYES = 18, 20.0
SEARCHED = frozenset({"mobilestylegan-generator", "mobilestylegan-mapper", "mediapipe-face-mesh"})
"""What every search looks through."""


def drawn(count: int) -> list[tuple[str, str]]:
    """Pairs of FairFace, whose pictures have hard poses and light: the picture, and the face, of another group of age,
    sex and race. Faces of fewer pixels than a source must have are passed over, nothing else is."""
    with (DATA / "fairface" / "labels.csv").open() as file:
        rows = [(row["file"], (row["age"], row["gender"], row["race"])) for row in csv.DictReader(file)]
    order = np.random.default_rng(SEED).permutation(len(rows))
    seen, pairs = [], []
    for index in order:
        name, group = rows[index]
        try:
            _, face = portrait(f"fairface/{name}")
        except IndexError:  # No face is found.
            continue
        if interocular(face.dense) >= LEAST_EYES:
            seen.append((f"fairface/{name}", group))
        if len(seen) >= 2 and seen[-1][1] != seen[-2][1]:
            pairs.append((seen[-2][0], seen[-1][0]))
            seen.clear()
        if len(pairs) == count:
            break
    return pairs


# Of ten pictures of the hard pairs, by their place.
ALTERED: dict[int, Callable[[RGBImage], RGBImage]] = {
    2: lambda picture: np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2),
    5: lambda picture: np.clip(
        cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None] * [1.08, 0.9, 0.68] + [14, 10, 6], 0, 255
    ).astype(np.uint8),
    8: lambda picture: cv2.GaussianBlur(picture, (0, 0), 2.5),
}


@cache
def seen(name: str) -> tuple[RGBImage, FaceGeometry]:
    """`portrait`, altered where the name ends with ``#`` and a place of `ALTERED`."""
    name, _, place = name.partition("#")
    picture, face = portrait(name)
    if not place:
        return picture, face
    altered = ALTERED[int(place)](picture)
    return altered, face_near(altered, face)


def pairs_of(kind: str, count: int) -> list[tuple[str, str]]:
    if kind == "known":
        return list(PAIRS[:count])
    found = drawn(count)
    if kind == "drawn":
        return found
    return [
        (f"{picture}#{index % 10}" if index % 10 in ALTERED else picture, face)
        for index, (picture, face) in enumerate(found)
    ]


@dataclass(frozen=True, slots=True)
class Outcome:
    """pose: degrees, the largest of three angles; landmarks: mean distance in distances between the eyes."""

    to_face: float
    to_picture: float
    between: float
    landmarks: float
    pose: float
    outside: int
    seconds: float
    cpu: float
    megapixels: float


def judge() -> FaceEmbedder:
    """InsightFace's MobileFaceNet, which neither a search nor the worker looks through."""
    return mobilefacenet(*weights("mobilefacenet-y1").paths, Compute())


def embed(model: FaceEmbedder, picture: RGBImage, face: FaceGeometry) -> Float32:
    return normalize(model.embed(cut(picture, face.box, face.landmarks, model.crop).pixels[None]))[0]


def measure(
    swapper: FaceSwapper, model: FaceEmbedder, picture_name: str, face_name: str
) -> tuple[Outcome, RGBImage]:
    picture, target = seen(picture_name)
    source = SourceFace(*portrait(face_name))
    start, used = time.perf_counter(), time.process_time()
    result = swapper.swap(picture, [Replacement(target, source)])
    seconds, cpu = time.perf_counter() - start, time.process_time() - used
    # The judge sees the result as anybody would: the face is found in it anew. Where none is, it looks where it was.
    found = face_near(result, target) if faces_of(result) else target
    new, wanted, old = (
        embed(model, *pair)
        for pair in ((result, found), (source.picture, source.geometry), (picture, target))
    )
    size = picture.shape[1], picture.shape[0]
    before, after = head_pose(target.dense, size), head_pose(found.dense, size)
    changed = (result != picture).any(axis=2)
    outcome = Outcome(
        float(new @ wanted),
        float(new @ old),
        float(wanted @ old),
        float(np.linalg.norm(found.dense - target.dense, axis=1).mean()) / interocular(target.dense),
        max(
            abs(a - b)
            for a, b in ((before.pitch, after.pitch), (before.yaw, after.yaw), (before.roll, after.roll))
        ),
        int(changed[~around(target, picture.shape)].sum()),
        seconds,
        cpu,
        picture.shape[0] * picture.shape[1] / 1e6,
    )
    return outcome, result


def tile(picture: RGBImage, face: FaceGeometry) -> RGBImage:
    """The face with its hair and neck, as a square."""
    low, high = face.dense.min(axis=0), face.dense.max(axis=0)
    side = float((high - low).max()) * 1.75
    centre = (low + high) / 2 - (0, 0.1 * side)
    shrink = max(1, int(side / TILE))
    if shrink > 1:
        height, width = picture.shape[0] // shrink, picture.shape[1] // shrink
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        centre, side = centre / shrink, side / shrink
    zoom = TILE / side
    x, y = TILE / 2 - zoom * centre
    matrix = np.array([[zoom, 0, x], [0, zoom, y]])
    return cv2.warpAffine(picture, matrix, (TILE, TILE), flags=cv2.INTER_AREA)


def sheet(rows: list[RGBImage]) -> RGBImage:
    """The rows (face, picture, results), several beside one another with a gap."""
    blank = np.full_like(rows[0], 255)
    rows = rows + [blank] * (-len(rows) % ACROSS)
    gap = np.full((TILE, 8, 3), 255, np.uint8)
    lines = []
    for start in range(0, len(rows), ACROSS):
        parts: list[RGBImage] = []
        for row in rows[start : start + ACROSS]:
            parts += [row, gap]
        lines.append(np.hstack(parts[:-1]))
    return np.vstack(lines)


def methods(models: ModelSettings, seconds: float, threads: int) -> dict[str, Callable[[], FaceSwapper]]:
    """What loads each."""
    return {
        "warp": WarpSwapper,
        "regenerate": lambda: load_regenerator(models, Compute(threads=threads), seconds),
    }


def machine(folder: Path, leader: str) -> ModelSettings:
    """A machine that has one network of identity, and our own, which every machine has."""
    for name in SEARCHED | {leader}:
        if not CATALOGUE[name].files[0].ours:
            (folder / name).symlink_to(weights(name).path.parent)
    return model_settings().model_copy(update={"directory": folder, "mirror": None})


def memory() -> float:
    """MB, at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", choices=PAIR_SETS, default="known")
    parser.add_argument("--methods", nargs="+", default=["warp"])
    parser.add_argument("--minutes", type=float, default=60.0, help="after which no pair is begun")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--led-by", choices=LED_BY, default=LED_BY[0], help="what regenerate looks through")
    parser.add_argument("--keep", type=Path, help="a folder for results as PNG")
    parser.add_argument(
        "--before", type=Path, help="such a folder, kept earlier: its results are shown beside the new ones"
    )
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    if asked.keep:
        asked.keep.mkdir(parents=True, exist_ok=True)
    model = judge()
    folder = tempfile.TemporaryDirectory()
    models = machine(Path(folder.name), asked.led_by)
    loaders, swappers = methods(models, asked.seconds, asked.threads), dict[str, FaceSwapper]()
    outcomes: dict[str, list[Outcome]] = {name: [] for name in asked.methods}
    held: dict[str, float] = {}  # Each is loaded when its turn comes, the lightest first.
    rows = []
    ends, refused = time.monotonic() + 60 * asked.minutes, 0
    gate = Gate(SwapSettings())
    for picture_name, face_name in pairs_of(asked.pairs, asked.count):
        picture, target = seen(picture_name)
        replacement = Replacement(target, SourceFace(*portrait(face_name)))
        if why := gate.impossible(picture, replacement):
            refused += 1
            print(f"refused    {picture_name:24} <- {face_name:24} {why}", flush=True)
            continue
        if time.monotonic() > ends:
            break
        row = [tile(*portrait(face_name)), tile(picture, target)]
        for name in asked.methods:
            if name not in swappers:
                swappers[name] = loaders[name]()
            swapper = swappers[name]
            outcome, result = measure(swapper, model, picture_name, face_name)
            held.setdefault(name, memory())
            outcomes[swapper.name].append(outcome)
            names = (Path(picture_name), Path(face_name))
            file = "-".join([swapper.name, *(n.parent.name + n.stem for n in names)]) + ".png"
            if asked.before:
                row.append(tile(np.asarray(Image.open(asked.before / file)), target))
            row.append(tile(result, target))
            if asked.keep:
                Image.fromarray(result).save(asked.keep / file)
            print(
                f"{swapper.name:10} {picture_name:24} <- {face_name:24} face {outcome.to_face:5.2f} "
                f"picture {outcome.to_picture:5.2f} (before {outcome.between:5.2f})  landmarks "
                f"{outcome.landmarks:.3f}  pose {outcome.pose:4.1f}  outside {outcome.outside}  "
                f"{outcome.seconds:5.1f} s (CPU {outcome.cpu:.1f})  {outcome.megapixels:4.1f} MP",
                flush=True,
            )
        rows.append(np.hstack(row))
    print(f"\nrefused before: {refused}")
    if not rows:
        return
    for name, all_of in outcomes.items():
        nearer = sum(outcome.to_face > outcome.to_picture for outcome in all_of)
        print(
            f"\n{name}: similarity to the face {mean(o.to_face for o in all_of):.3f}, "
            f"to the picture {mean(o.to_picture for o in all_of):.3f}; nearer to the face {nearer} of {len(all_of)}\n"
            f"landmarks {mean(o.landmarks for o in all_of):.3f} between the eyes, "
            f"pose {mean(o.pose for o in all_of):.1f} degrees (worst {max(o.pose for o in all_of):.1f})\n"
            f"pixels changed outside the face region: {sum(o.outside for o in all_of)}\n"
            f"median {median(o.seconds for o in all_of):.1f} s a swap on {asked.threads} threads, "
            f"{median(o.cpu for o in all_of):.1f} s of CPU; {held[name]:.0f} MB after the first"
        )
    print(f"memory, at most: {memory():.0f} MB")
    plain = asked.pairs == "known" and asked.methods == ["warp"]
    path = ROOT / "docs" / ("aifaceswap_swaps.jpg" if plain else f"aifaceswap_{asked.pairs}.jpg")
    Image.fromarray(sheet(rows)).save(path, quality=84, optimize=True)
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} kB")
    sys.exit(any(outcome.outside for all_of in outcomes.values() for outcome in all_of))


if __name__ == "__main__":
    main()
