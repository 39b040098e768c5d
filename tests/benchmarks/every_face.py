"""Is every face that is found recognised? Turned, tight and small ones: python -m tests.benchmarks.every_face

Fifty-one people of `data/london` are enrolled with their neutral picture. Their smiling one is turned, cut close to the
face at several sizes, and put small into a picture of 4000x3000; the first look alone (the detector as it is) and
the detector that looks again (`models.faces.looking`) see the same pictures. Printed are faces found, and faces that
are recognised: whose nearest is the same person, at similarity 0.9 or more. At last, how many portraits pass the
detection threshold 0.95 that clients send.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from prosopon.configs.settings import DetectionSettings
from prosopon.models.faces.detections import Detections, Float32, RGBImage
from prosopon.models.faces.looking import FULL_SIZE, LookingAgain
from prosopon.models.load import load_detector, load_embedder
from prosopon.models.matching.calibration import load_similarity
from prosopon.models.matching.vectors import normalize
from prosopon.models.pictures.crops import cut
from prosopon.models.runtime.session import Compute
from tests.benchmarks.embeddings import london
from tests.faces import read
from tests.paths import DATA
from tests.weights import model_settings

TURNS = (0, 30, 60, 100, 135, 200, 260)
TIGHT = ((0.9, 200), (0.9, 500), (0.8, 240), (0.8, 800))
"""Side of the crop in sides of the face's box, and its pixels."""
SMALL = (24, 40, 90)
"""Pixels of the taller side of a face's box in a picture of `WIDE`."""
WIDE = 4000, 3000
IN_ONE = 9
LEAST = 0.9
SIDES: tuple[int | None, ...] = (None, 1920, FULL_SIZE)


@dataclass(frozen=True, slots=True)
class Probe:
    """A picture, who is in it, and where: ``(N, 2)``, the middle of each face."""

    picture: RGBImage
    people: tuple[int, ...]
    middles: Float32


class Eyes:
    def __init__(self) -> None:
        models, compute = model_settings(), Compute()
        self.detection = DetectionSettings()
        self.again = load_detector(models, self.detection, compute)
        assert isinstance(self.again, LookingAgain)
        self.once = self.again.plain
        self.embedder = load_embedder(models, compute)
        self.similarity = load_similarity(models, self.embedder.fingerprint)

    def biggest(self, picture: RGBImage) -> Detections:
        found = self.again.detect([picture], self.detection.score_threshold)[0]
        return found.largest_first().take(np.arange(1))

    def embed(self, picture: RGBImage, faces: Detections) -> Float32:
        chips = [
            cut(picture, box, points, self.embedder.crop).pixels
            for box, points in zip(faces.boxes, faces.landmarks, strict=True)
        ]
        return normalize(self.embedder.embed(np.stack(chips)))

    def count(self, probe: Probe, enrolled: Float32, again: bool, side: int | None) -> tuple[int, int]:
        """Found and recognised."""
        detector = self.again if again else self.once
        faces = detector.detect([probe.picture], self.detection.score_threshold, side)[0]
        found = recognised = 0
        for person, middle in zip(probe.people, probe.middles, strict=True):
            inside = ((faces.boxes[:, :2] < middle) & (middle < faces.boxes[:, 2:])).all(axis=1)
            if not inside.any():
                continue
            found += 1
            face = faces.take(np.flatnonzero(inside)[:1])
            distances = np.linalg.norm(enrolled - self.embed(probe.picture, face), axis=1)
            nearest = int(distances.argmin())
            recognised += nearest == person and bool(self.similarity.similarity(distances[nearest]) >= LEAST)
        return found, recognised


def turned(degrees: float) -> Callable[[RGBImage, Detections], Probe]:
    def change(picture: RGBImage, face: Detections) -> Probe:
        height, width = picture.shape[:2]
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
        made = cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
        return Probe(np.asarray(made, np.uint8), (), middle(face) @ matrix[:, :2].T + matrix[:, 2])

    return change


def tight(share: float, pixels: int) -> Callable[[RGBImage, Detections], Probe]:
    def change(picture: RGBImage, face: Detections) -> Probe:
        half = share * float((face.boxes[0, 2:] - face.boxes[0, :2]).max()) / 2
        x, y = middle(face)[0]
        crop = picture[max(0, round(y - half)) : round(y + half), max(0, round(x - half)) : round(x + half)]
        scale = pixels / max(crop.shape[:2])
        made = cv2.resize(crop, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        return Probe(np.asarray(made, np.uint8), (), np.array([made.shape[1::-1]], np.float32) / 2)

    return change


def middle(face: Detections) -> Float32:
    return np.asarray((face.boxes[:, :2] + face.boxes[:, 2:]) / 2, np.float32)


def crowds(portraits: list[tuple[RGBImage, Detections]], tall: int) -> Iterator[Probe]:
    """Several portraits, so small, far apart in a wide picture."""
    for start in range(0, len(portraits), IN_ONE):
        canvas = np.full((WIDE[1], WIDE[0], 3), 128, np.uint8)
        chosen = portraits[start : start + IN_ONE]
        middles = []
        for place, (picture, face) in enumerate(chosen):
            scale = tall / float((face.boxes[0, 2:] - face.boxes[0, :2]).max())
            small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            x, y = 150 + 1200 * (place % 3), 150 + 900 * (place // 3)
            canvas[y : y + small.shape[0], x : x + small.shape[1]] = small
            middles.append(middle(face)[0] * scale + (x, y))
        people = tuple(range(start, start + len(chosen)))
        yield Probe(canvas, people, np.array(middles, np.float32))


def main() -> None:
    Compute().limit_libraries()
    eyes = Eyes()
    neutral = [read(path) for path in london("neutral", 1)]
    smiling = [read(path) for path in london("smiling", 1)]
    enrolled = np.concatenate([eyes.embed(picture, eyes.biggest(picture)) for picture in neutral])
    portraits = [(picture, eyes.biggest(picture)) for picture in smiling]
    shown = Table(title=f"{len(portraits)} faces: found, recognised at {LEAST}")
    for column in ("", "first look", "looked again"):
        shown.add_column(column)

    def row(name: str, probes: list[Probe], side: int | None = None) -> None:
        told = []
        for again in (False, True):
            counts = [eyes.count(probe, enrolled, again, side) for probe in probes]
            found, recognised = (sum(column) for column in zip(*counts, strict=True))
            told.append(f"{found}, {recognised}")
        shown.add_row(name, *told)

    changes = {f"turned by {degrees} degrees": turned(degrees) for degrees in TURNS}
    changes |= {f"crop of {share} of the box, {pixels} px": tight(share, pixels) for share, pixels in TIGHT}
    for name, change in changes.items():
        made = [change(*portrait) for portrait in portraits]
        row(name, [Probe(probe.picture, (i,), probe.middles) for i, probe in enumerate(made)])
    for tall in SMALL:
        for side in SIDES:
            name = {None: "as configured", FULL_SIZE: "at full size"}.get(side, f"det_size {side}")
            row(f"{tall} px in {WIDE[0]}x{WIDE[1]}, {name}", list(crowds(portraits, tall)), side)
    console = Console(width=110)
    console.print(shown)
    for folder, pictures in (
        ("london", neutral + smiling),
        ("faker", [read(path) for path in sorted((DATA / "faker").glob("*.jpg"))[:60]]),
    ):
        scores = [float(eyes.biggest(picture).scores.max(initial=0)) for picture in pictures]
        passed = sum(score >= 0.95 for score in scores)
        console.print(f"{folder}: {passed} of {len(scores)} portraits pass 0.95, the least {min(scores):.3f}")


if __name__ == "__main__":
    main()
