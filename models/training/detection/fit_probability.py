"""Make `models/faces/probability.json`: python -m prosopon.models.training.detection.fit_probability --data FOLDER

Which boxes are faces is known from three kinds of pictures: photographs whose noses are annotated
(`compreface_samples`), at three sizes; collages of synthetic portraits (`faker`) of 24 to 320 pixels over photographs
without people, in which the portraits' noses are known; and pictures without any face: photographs of things and
animals (scikit-image's), and portraits cut into tiles and shuffled. People of `london`, `mask` and `fairface` judge the
result and are not in it.
"""

import argparse
import csv
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from prosopon.configs.settings import DetectionSettings, ModelSettings
from prosopon.models.faces.detections import Detections, RGBImage
from prosopon.models.faces.probability import TABLE, ProbabilityCurve
from prosopon.models.load import load_detector
from prosopon.models.roles import FaceDetector
from prosopon.models.runtime.session import Compute
from prosopon.models.weights.catalogue import CATALOGUE
from prosopon.models.weights.registry import Registry

DETECTORS = ("centerface", "yunet", "scrfd-500m")
_LEAST = 0.05
_CANVAS = (960, 1280)
_SIZES = (24, 320)
_WITHOUT_PEOPLE = (
    "brick", "cell", "chelsea", "coffee", "coins", "color", "grass", "gravel", "hubble_deep_field", "ihc",
    "motorcycle_left", "page", "retina", "rocket", "text", "clock_motion",
)  # fmt: skip
PUBLISHED = {"centerface": 0.35}
"""The authors' threshold, where it lies as near to a half as the boxes there, which are few, can tell."""
IDENTITY = ProbabilityCurve(0.0, 0.0)

Annotated = tuple[RGBImage, NDArray[np.float64]]
"""A picture, and where noses are: ``(N, 2)``, x y."""


def photographs(data: Path) -> Iterator[Annotated]:
    folder, noses = data / "compreface_samples", defaultdict(list)
    with (folder / "noses.csv").open() as file:
        for row in (row for row in csv.DictReader(file) if row["nose_x"]):
            noses[row["file"]].append((float(row["nose_x"]), float(row["nose_y"])))
    for path in sorted(folder.glob("*.jpg")):
        picture = _read(path)
        for scale in (1.0, 0.5, 0.25):
            small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            yield np.asarray(small, np.uint8), np.array(noses[path.name]).reshape(-1, 2) * scale


def collages(data: Path, detector: FaceDetector, count: int, rng: np.random.Generator) -> Iterator[Annotated]:
    """The noses of the portraits are what the detector finds in them at full size."""
    portraits = []
    for path in sorted((data / "faker").glob("*.jpg")):
        picture = _read(path)
        faces = detector.detect([picture], 0.4)[0].largest_first()
        if len(faces) == 1:
            portraits.append((picture, faces.landmarks[0, 2]))
    grounds = list(without_people())
    for number in range(count):
        canvas = cv2.resize(grounds[number % len(grounds)], _CANVAS[::-1], interpolation=cv2.INTER_AREA)
        noses, free = [], np.ones(_CANVAS, np.bool_)
        for _ in range(int(rng.integers(1, 10))):
            picture, nose = portraits[rng.integers(len(portraits))]
            size = int(np.exp(rng.uniform(*np.log(_SIZES))))
            small = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
            y, x = (int(rng.integers(0, side - size)) for side in _CANVAS)
            if free[y : y + size, x : x + size].all():
                canvas[y : y + size, x : x + size] = small
                free[y : y + size, x : x + size] = False
                noses.append(nose * size / picture.shape[1] + (x, y))
        yield np.asarray(_spoilt(canvas, rng), np.uint8), np.array(noses).reshape(-1, 2)


def without_people() -> Iterator[RGBImage]:
    """Photographs of things and animals."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    for name in _WITHOUT_PEOPLE:
        for path in folder.glob(f"{name}.*"):
            yield _read(path)


def faceless(data: Path, rng: np.random.Generator) -> Iterator[Annotated]:
    nothing = np.empty((0, 2))
    for picture in without_people():
        for scale in (1.0, 0.6, 0.35):
            small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            yield np.asarray(small, np.uint8), nothing
    for path in sorted((data / "faker").glob("*.jpg"))[::4]:
        yield _shuffled(_read(path), rng), nothing


def _shuffled(picture: RGBImage, rng: np.random.Generator) -> RGBImage:
    """Cut into tiles a tenth of the side, which show no face, and put together in another order."""
    tile = max(1, min(picture.shape[:2]) // 10)
    rows, columns = picture.shape[0] // tile, picture.shape[1] // tile
    tiles = [
        picture[y * tile : (y + 1) * tile, x * tile : (x + 1) * tile]
        for y in range(rows)
        for x in range(columns)
    ]
    order = rng.permutation(len(tiles))
    return np.vstack(
        [np.hstack([tiles[i] for i in order[row * columns : (row + 1) * columns]]) for row in range(rows)]
    )


def _spoilt(picture: RGBImage, rng: np.random.Generator) -> RGBImage:
    """As photographs are: a little blurred, dark or compressed."""
    if rng.random() < 0.5:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 2)), np.uint8)
    if rng.random() < 0.5:
        picture = np.clip(picture * rng.uniform(0.4, 1.2), 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        _, file = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 90))])
        picture = np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR), np.uint8)
    return picture


def labelled(faces: Detections, noses: NDArray[np.float64]) -> tuple[list[float], list[bool]]:
    """Scores, and whether each box is a face: its own nose lies near an annotated one that no better box has taken."""
    taken: set[int] = set()
    labels = []
    for box, points in zip(faces.boxes, faces.landmarks, strict=True):
        away = np.linalg.norm(noses - points[2], axis=1) / max(1.0, float((box[2:] - box[:2]).max()))
        near = [int(i) for i in np.argsort(away) if away[i] < 0.25 and int(i) not in taken]
        labels.append(bool(near))
        taken.update(near[:1])
    return faces.scores.tolist(), labels


def fit(
    scores: NDArray[np.float64], labels: NDArray[np.bool_], half: float | None = None
) -> ProbabilityCurve:
    """Logistic regression (Platt 1999), by Newton's method. half: where it is not to be fitted."""
    if half is not None:
        slope = 1.0
        for _ in range(50):
            p = 1 / (1 + np.exp(-slope * (scores - half)))
            slope += float(
                ((labels - p) * (scores - half)).sum() / (p * (1 - p) * (scores - half) ** 2).sum()
            )
        return ProbabilityCurve(half, round(slope, 3))
    design = np.column_stack([scores, np.ones_like(scores)])
    weights = np.zeros(2)
    for _ in range(50):
        p = 1 / (1 + np.exp(-(design @ weights)))
        hessian = (design * (p * (1 - p))[:, np.newaxis]).T @ design
        weights += np.linalg.solve(hessian + 1e-9 * np.eye(2), design.T @ (labels - p))
    return ProbabilityCurve(round(float(-weights[1] / weights[0]), 4), round(float(weights[0]), 3))


def _read(path: Path) -> RGBImage:
    return np.asarray(cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--collages", type=int, default=60)
    arguments = parser.parse_args()
    table: dict[str, dict[str, float]] = json.loads(TABLE.read_text())
    for name in DETECTORS:
        models = ModelSettings(overrides={"detector": name})
        Registry.of(models).pull([CATALOGUE[name]])
        detector = load_detector(models, DetectionSettings(), Compute())
        detector.curve = IDENTITY  # type: ignore[attr-defined]  # its own scores
        scores, labels = list[float](), list[bool]()
        rng = np.random.default_rng(0)
        for pictures in (
            photographs(arguments.data),
            collages(arguments.data, detector, arguments.collages, rng),
            faceless(arguments.data, rng),
        ):
            for picture, noses in pictures:
                found, are = labelled(detector.detect([picture], _LEAST)[0], noses)
                scores += found
                labels += are
        known, is_face = np.array(scores), np.array(labels)
        curve = fit(known, is_face, PUBLISHED.get(detector.name))
        table[detector.name] = {"half": curve.half, "slope": curve.slope}
        print(
            f"{detector.name}: {len(known)} boxes, {is_face.sum()} faces; half {curve.half}, slope {curve.slope}"
        )
        for low in np.arange(0.05, 1, 0.05):
            within = (known >= low) & (known < low + 0.05)
            if within.any():
                said = float(curve.probability(np.array([low + 0.025], np.float32))[0])
                print(
                    f"  {low:.2f}: {within.sum():5} boxes, {is_face[within].mean():.3f} faces, curve {said:.3f}"
                )
    TABLE.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
