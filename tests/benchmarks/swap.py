"""The project's own swapper on twenty pairs, judged by a model it does not use: python -m tests.benchmarks.swap

Prints for each pair the judge's similarity of the result to the face and to the picture, how far the landmarks and
the pose are from the picture's, pixels changed outside the face, and the time; writes docs/aifaceswap_swaps.jpg.
"""

import os
import sys
import time
from dataclasses import dataclass
from statistics import mean, median

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
from PIL import Image

from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.faces.head_pose import head_pose
from prosopon.models.faces.retail_reidentification import RetailReidentification
from prosopon.models.matching.vectors import normalize
from prosopon.models.pictures.crops import cut
from prosopon.models.runtime.session import Compute
from prosopon.models.swap.geometry import interocular
from prosopon.models.swap.types import FaceGeometry, Replacement, SourceFace
from prosopon.models.swap.warp import WarpSwapper
from tests.faces import around, face_near, portrait
from tests.paths import ROOT
from tests.weights import weights

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
REPEATS = 3
TILE, ACROSS = 200, 3
SHEET = ROOT / "docs" / "aifaceswap_swaps.jpg"


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
    megapixels: float


def judge() -> RetailReidentification:
    return RetailReidentification(*weights("face-reidentification-retail-0095").paths, Compute())


def embed(model: RetailReidentification, picture: RGBImage, face: FaceGeometry) -> Float32:
    return normalize(model.embed(cut(picture, face.box, face.landmarks, model.crop).pixels[None]))[0]


def measure(
    swapper: WarpSwapper, model: RetailReidentification, picture_name: str, face_name: str
) -> tuple[Outcome, RGBImage]:
    picture, target = portrait(picture_name)
    source = SourceFace(*portrait(face_name))
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        result = swapper.swap(picture, [Replacement(target, source)])
        seconds.append(time.perf_counter() - start)
    # The judge sees the result as anybody would: the face is found in it anew.
    found = face_near(result, target)
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
        min(seconds),
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
    """The triples (face, picture, result), several beside one another with a gap."""
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


def main() -> None:
    cv2.setNumThreads(1)
    swapper, model = WarpSwapper(), judge()
    outcomes, rows = [], []
    for picture_name, face_name in PAIRS:
        outcome, result = measure(swapper, model, picture_name, face_name)
        outcomes.append(outcome)
        picture, target = portrait(picture_name)
        rows.append(np.hstack([tile(*portrait(face_name)), tile(picture, target), tile(result, target)]))
        print(
            f"{picture_name:30} <- {face_name:28} face {outcome.to_face:.2f} picture {outcome.to_picture:5.2f} "
            f"(before {outcome.between:5.2f})  landmarks {outcome.landmarks:.3f}  pose {outcome.pose:4.1f}  "
            f"outside {outcome.outside}  {outcome.seconds * 1000:5.0f} ms  {outcome.megapixels:4.1f} MP"
        )
    nearer = sum(outcome.to_face > outcome.to_picture for outcome in outcomes)
    small = [outcome.seconds for outcome in outcomes if outcome.megapixels < 2]
    large = [outcome.seconds for outcome in outcomes if outcome.megapixels >= 2]
    print(
        f"\nsimilarity to the face {mean(o.to_face for o in outcomes):.3f}, "
        f"to the picture {mean(o.to_picture for o in outcomes):.3f}; nearer to the face {nearer} of {len(PAIRS)}\n"
        f"landmarks {mean(o.landmarks for o in outcomes):.3f} between the eyes, "
        f"pose {mean(o.pose for o in outcomes):.1f} degrees (worst {max(o.pose for o in outcomes):.1f})\n"
        f"pixels changed outside the face region: {sum(o.outside for o in outcomes)}\n"
        f"one core: {median(small) * 1000:.0f} ms a swap in pictures below 2 megapixels, "
        f"{median(large) * 1000:.0f} ms in those of 20"
    )
    SHEET.parent.mkdir(exist_ok=True)
    Image.fromarray(sheet(rows)).save(SHEET, quality=84, optimize=True)
    print(f"{SHEET.name}: {SHEET.stat().st_size / 1024:.0f} kB")
    failed = nearer < len(PAIRS) or mean(o.to_face for o in outcomes) < 0.5
    sys.exit(failed or any(outcome.outside for outcome in outcomes))


if __name__ == "__main__":
    main()
