"""What it would cost to look at a picture in a smaller copy first, and in the usual size only where that is not sure.

Portraits of London, neutral and smiling, seen at 640 and at 320 pixels: the detector's time, how landmarks and
embeddings differ, and how well one person is told from others. And what a look at 320 pixels misses beside such a face:
portraits with a second, smaller face in a corner.
"""

import time
from collections import Counter
from itertools import product
from pathlib import Path

import cv2
import numpy as np

from prosopon.configs.settings import DetectionSettings, ImageLimits, ModelSettings
from prosopon.models.faces.detections import Detections, Float32, RGBImage
from prosopon.models.load import load_detector, load_embedder
from prosopon.models.pictures.crops import cut
from prosopon.models.pictures.decoding import decode
from prosopon.models.roles import FaceDetector
from prosopon.models.runtime.session import Compute
from tests.paths import DATA

USUAL, SMALL = 640, 320
SECOND = (16, 24, 32, 48, 64)
PAIRS = 24
LEAST = 0.05
"""A score that hardly anything has that is no face."""


def picture(path: Path) -> RGBImage:
    return decode(path.read_bytes(), ImageLimits())


def portraits(detector: FaceDetector, compute: Compute) -> None:
    embedder = load_embedder(ModelSettings(), compute)
    times: dict[int, list[float]] = {USUAL: [], SMALL: []}
    shifts, cosines = list[float](), list[float]()
    embeddings: dict[tuple[str, int], list[Float32]] = {
        key: [] for key in product(("neutral", "smiling"), (USUAL, SMALL))
    }
    for neutral in sorted((DATA / "london").glob("*_neutral.jpg")):
        for kind in ("neutral", "smiling"):
            pixels = picture(neutral.with_name(neutral.name.replace("neutral", kind)))
            seen: dict[int, Detections] = {}
            for side in (USUAL, SMALL):
                began = time.process_time()
                seen[side] = detector.detect([pixels], 0.5, side)[0].largest_first()
                times[side].append((time.process_time() - began) * 1000)
                chip = cut(pixels, seen[side].boxes[0], seen[side].landmarks[0], embedder.crop).pixels
                embeddings[kind, side].append(embedder.embed(chip[None])[0])
            usual, small = seen[USUAL].landmarks[0], seen[SMALL].landmarks[0]
            eyes = np.linalg.norm(usual[0] - usual[1])
            shifts.append(float(np.linalg.norm(usual - small, axis=1).mean() / eyes))
            cosines.append(float(embeddings[kind, USUAL][-1] @ embeddings[kind, SMALL][-1]))
    print(
        f"{len(shifts)} portraits: {np.median(times[USUAL]):.1f} and {np.median(times[SMALL]):.1f} ms of CPU"
    )
    print(f"landmarks' shift between the eyes: mean {np.mean(shifts):.3f}, largest {max(shifts):.3f}")
    print(f"embeddings' cosine: mean {np.mean(cosines):.3f}, least {min(cosines):.3f}")
    for gallery, probe in ((USUAL, USUAL), (SMALL, SMALL), (USUAL, SMALL)):
        scores = np.stack(embeddings["neutral", gallery]) @ np.stack(embeddings["smiling", probe]).T
        same, others = np.diag(scores), scores[~np.eye(len(scores), dtype=bool)]
        print(
            f"neutral at {gallery}, smiling at {probe}: one person mean {same.mean():.3f}, least {same.min():.3f}; "
            f"others at most {others.max():.3f}"
        )


def second_faces(detector: FaceDetector) -> None:
    """Of FairFace, the middle of whose pictures is one face, in a corner of London's portraits."""
    portraits = sorted((DATA / "london").glob("*_neutral.jpg"))[:PAIRS]
    seconds = sorted((DATA / "fairface").rglob("*.jpg"))[:PAIRS]
    looks = {"640": (0.5, USUAL), "320": (0.5, SMALL), f"320, score of {LEAST}": (LEAST, SMALL)}
    for size in SECOND:
        found: Counter[str] = Counter()
        for portrait, second in zip(portraits, seconds, strict=True):
            pixels, side = picture(portrait), round(size * 1.6)
            scale = USUAL / max(pixels.shape[:2])
            pixels = np.asarray(
                cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8
            )
            pixels[8 : 8 + side, 8 : 8 + side] = cv2.resize(
                picture(second), (side, side), interpolation=cv2.INTER_AREA
            )
            middle = 8 + side / 2
            for name, (threshold, det_size) in looks.items():
                boxes = detector.detect([pixels], threshold, det_size)[0].boxes
                away = np.abs((boxes[:, :2] + boxes[:, 2:]) / 2 - middle).max(axis=1, initial=0)
                sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
                found[name] += bool(((away < side / 2) & (sides < 3 * size)).any())
        told = ", ".join(f"{found[name]} at {name}" for name in looks)
        print(f"second face of {size} px, of {PAIRS}: {told}")


def main() -> None:
    compute = Compute()
    compute.limit_libraries()
    detector = load_detector(ModelSettings(), DetectionSettings(), compute)
    portraits(detector, compute)
    second_faces(detector)


if __name__ == "__main__":
    main()
