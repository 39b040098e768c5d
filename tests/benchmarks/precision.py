"""What a faster form of the detector costs: each plan that this machine can run, against full precision.

Pictures: collages of FairFace's faces at 64 pixels, its photographs, and annotated photographs; calibration saw none of
them. Recall is compared at as many false boxes as full precision has. Aligned by the landmarks of each, smiling people
of London are compared with their neutral portraits. A plan that may be chosen unasked must not lose more than half a
point of recall.
"""

import csv
import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from prosopon.configs.settings import DetectionSettings, ModelSettings, PlanName
from prosopon.models.faces.centerface import CenterFace, plans
from prosopon.models.faces.detections import Detections, RGBImage
from prosopon.models.load import load_embedder
from prosopon.models.matching.vectors import normalize
from prosopon.models.pictures.crops import cut
from prosopon.models.roles import FaceEmbedder
from prosopon.models.runtime.plans import DEFAULT
from prosopon.models.runtime.session import Compute
from tests.paths import DATA, smiling
from tests.weights import weights

TILE, COLUMNS, ROWS = 64, 10, 7
COLLAGES, SINGLE = 5, 150
BOUND = 0.005
LEAST = DetectionSettings().score_threshold

Annotated = tuple[RGBImage, list[tuple[float, float]]]
"""A picture, and a point in each of its faces: x, y."""


def read(path: object) -> RGBImage:
    return np.asarray(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), np.uint8)


def pictures() -> Iterator[Annotated]:
    faces = sorted((DATA / "fairface").glob("*.jpg"))
    for first in range(0, COLLAGES * COLUMNS * ROWS, COLUMNS * ROWS):
        tiles = [
            cv2.resize(read(path), (TILE, TILE), interpolation=cv2.INTER_AREA)
            for path in faces[first : first + COLUMNS * ROWS]
        ]
        rows = [np.hstack(tiles[row * COLUMNS : (row + 1) * COLUMNS]) for row in range(ROWS)]
        centres = [
            ((column + 0.5) * TILE, (row + 0.5) * TILE) for row in range(ROWS) for column in range(COLUMNS)
        ]
        yield np.vstack(rows), centres
    for path in faces[-SINGLE:]:
        picture = read(path)
        yield picture, [(picture.shape[1] / 2, picture.shape[0] / 2)]
    noses: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with (DATA / "compreface_samples" / "noses.csv").open() as file:
        for row in csv.DictReader(file):
            known = noses[row["file"]]
            if row["nose_x"]:
                known.append((float(row["nose_x"]), float(row["nose_y"])))
    for name, points in noses.items():
        yield read(DATA / "compreface_samples" / name), points


@dataclass
class Seen:
    """boxes: score, and whether it holds a face of its own. shifts: of landmarks, in distances between the eyes."""

    boxes: list[tuple[float, bool]] = field(default_factory=list)
    shifts: list[float] = field(default_factory=list)

    def count(self, faces: Detections, points: Sequence[tuple[float, float]]) -> None:
        left = list(points)
        for (x1, y1, x2, y2), score in zip(faces.boxes, faces.scores, strict=True):
            inside = [(x, y) for x, y in left if x1 <= x <= x2 and y1 <= y <= y2]
            if inside:
                left.remove(inside[0])
            self.boxes.append((float(score), bool(inside)))

    def compare(self, faces: Detections, reference: Detections) -> None:
        for box, points in zip(reference.boxes, reference.landmarks, strict=True):
            away = np.abs(faces.boxes - box).sum(axis=1)
            if len(away) and away.min() < box[2] - box[0]:
                shift = np.linalg.norm(faces.landmarks[away.argmin()] - points, axis=1).mean()
                self.shifts.append(float(shift / max(1.0, np.linalg.norm(points[0] - points[1]))))

    def found(self, false: int) -> int:
        """Faces that are found before there are more false boxes."""
        best_first = [face for _, face in sorted(self.boxes, reverse=True)]
        wrong = itertools.accumulate(not face for face in best_first)
        return sum(face for face, so_far in zip(best_first, wrong, strict=True) if so_far <= false)


def embeddings(detector: CenterFace, embedder: FaceEmbedder, images: Sequence[RGBImage]) -> np.ndarray:
    """Unit vectors of the biggest face of each."""
    chips = []
    for image in images:
        face = detector.detect([image], LEAST)[0].largest_first()
        chips.append(cut(image, face.boxes[0], face.landmarks[0], embedder.crop).pixels)
    return np.concatenate([normalize(embedder.embed(chip[None])) for chip in chips])


def main() -> None:
    compute, path = Compute(), weights("centerface").path
    compute.limit_libraries()
    forms = plans(path, "centerface")
    names = forms.possible()
    times = forms.measure(compute, names)
    detectors: dict[PlanName, CenterFace] = {
        name: CenterFace(path, Compute(plan=name), DetectionSettings()) for name in names
    }
    seen = {name: Seen() for name in names}
    total = 0
    for picture, points in pictures():
        total += len(points)
        [reference] = detectors[DEFAULT].detect([picture], LEAST)
        for name, detector in detectors.items():
            [faces] = detector.detect([picture], LEAST)
            seen[name].count(faces, points)
            seen[name].compare(faces, reference)
    false = sum(not face for _, face in seen[DEFAULT].boxes)
    embedder = load_embedder(ModelSettings(), compute)
    neutral = sorted((DATA / "london").glob("*_neutral.jpg"))[:60]
    portraits, smiles = [read(p) for p in neutral], [read(smiling(p)) for p in neutral]
    stored = embeddings(detectors[DEFAULT], embedder, portraits)
    full = embeddings(detectors[DEFAULT], embedder, smiles)
    base, failed = seen[DEFAULT].found(false) / total, []
    print(f"{total} faces, {false} false boxes of full precision; {len(smiles)} portraits")
    print(
        f"{'ms':>6}{'recall':>9}{'boxes':>7}{'shift':>8}{'p95':>7}{'alike':>8}{'least':>8}{'genuine':>9}  plan"
    )
    for name in names:
        recall = seen[name].found(false) / total
        shifts = seen[name].shifts
        probe = embeddings(detectors[name], embedder, smiles)
        alike = (probe * full).sum(axis=1)
        print(
            f"{times[name]:>6.1f}{recall:>9.4f}{len(seen[name].boxes):>7}{np.mean(shifts):>8.4f}"
            f"{np.percentile(shifts, 95):>7.3f}{alike.mean():>8.4f}{alike.min():>8.4f}"
            f"{(probe * stored).sum(axis=1).mean():>9.4f}  {name}",
            flush=True,
        )
        if recall < base - BOUND and name in forms.unasked():
            failed.append(name)
    if failed:
        raise SystemExit(f"more than half a point of recall is lost by {', '.join(failed)}")


if __name__ == "__main__":
    main()
