"""Age and gender on FairFace: `python -m tests.benchmarks.attributes`.

Pictures are detected with CenterFace and cut as the server cuts them. FairFace tells the age as a band: the
error is the distance to the middle of the band, and the calibration of a range is judged as if ages were spread
evenly inside a band. The range's calibration was fitted on the first 600 pictures by name, so only the others
are judged.
"""

import csv
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from prosopon.configs.settings import DetectionSettings
from prosopon.models.faces.attributes.age import DlibAge, age_range, calibrate, expected_age
from prosopon.models.faces.attributes.gender import DlibGender
from prosopon.models.faces.centerface import CenterFace
from prosopon.models.faces.detections import Detections, Float32, RGBImage
from prosopon.models.pictures.crops import CropSpec, cut
from prosopon.models.roles import Chips
from prosopon.models.runtime.session import Compute
from tests.paths import DATA
from tests.weights import weights

FITTED = 600
OLDEST = 80


@dataclass(frozen=True, slots=True)
class Face:
    """band: youngest and oldest year of the label, inclusive."""

    file: str
    male: bool
    race: str
    band: tuple[int, int]
    label: str


def fairface() -> list[Face]:
    with (DATA / "fairface" / "labels.csv").open() as file:
        return [
            Face(row["file"], row["gender"] == "Male", row["race"], band(row["age"]), row["age"])
            for row in csv.DictReader(file)
        ]


def band(label: str) -> tuple[int, int]:
    if label.startswith("more"):
        return 70, OLDEST
    low, high = label.split("-")
    return int(low), int(high)


def read(path: Path) -> RGBImage:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def central(image: RGBImage, faces: Detections) -> int:
    """FairFace's pictures are cut around the face that was labelled."""
    middle = np.array(image.shape[1::-1]) / 2
    return int(np.abs(faces.boxes.reshape(-1, 2, 2).mean(axis=1) - middle).sum(axis=1).argmin())


def chips(
    detector: CenterFace, faces: list[Face], specs: tuple[CropSpec, ...]
) -> tuple[list[Face], list[Chips]]:
    """The faces that were found, and for each spec their chips."""
    found, cuts = [], []
    for face in faces:
        image = read(DATA / "fairface" / face.file)
        detected = detector.detect([image], 0.5)[0]
        if not len(detected):
            continue
        best = central(image, detected)
        found.append(face)
        cuts.append([cut(image, detected.boxes[best], detected.landmarks[best], s).pixels for s in specs])
    return found, [np.stack(column) for column in zip(*cuts, strict=True)]


def groups(faces: list[Face]) -> Iterator[tuple[str, str, list[int]]]:
    """What is compared: everybody, and each band, sex and race."""
    yield "all", "", list(range(len(faces)))
    for kind in ("age", "sex", "race"):
        members: dict[str, list[int]] = defaultdict(list)
        for position, face in enumerate(faces):
            sex = "male" if face.male else "female"
            members[{"age": face.label, "sex": sex, "race": face.race}[kind]].append(position)
        for name in sorted(members, key=lambda label: (len(label.split("-")[0]), label)):
            yield kind, name, members[name]


def attributes(console: Console, detector: CenterFace) -> None:
    age = DlibAge(weights("dlib-age").path, Compute())
    gender = DlibGender(weights("dlib-gender").path, Compute())
    labelled = fairface()
    faces, (age_chips, gender_chips) = chips(detector, labelled, (age.crop, gender.crop))
    probabilities = calibrate(age.probabilities(age_chips))
    years = expected_age(probabilities)
    males = np.array([found.value == "male" for found in gender.classify(gender_chips)])
    right = males == np.array([face.male for face in faces])
    bands = np.array([face.band for face in faces])
    error = np.abs(years - bands.mean(axis=1))
    outside = np.maximum(0, np.maximum(bands[:, 0] - years, years - bands[:, 1] - 1))
    table = Table(title=f"FairFace: {len(faces)} of {len(labelled)} pictures with a face")
    for column in ("group", "", "faces", "gender accuracy", "age error, years", "years outside the band"):
        table.add_column(column, justify="left" if column in ("group", "") else "right")
    for kind, name, members in groups(faces):
        numbers = (right[members].mean(), error[members].mean(), outside[members].mean())
        table.add_row(
            kind,
            name,
            str(len(members)),
            *(f"{n:.3f}" if i == 0 else f"{n:.1f}" for i, n in enumerate(numbers)),
        )
    console.print(table)
    fitted = {face.file for face in sorted(labelled, key=lambda face: face.file)[:FITTED]}
    judged = [i for i, face in enumerate(faces) if face.file not in fitted]
    calibration(console, probabilities[judged], bands[judged])


def calibration(console: Console, probabilities: Float32, bands: np.ndarray) -> None:
    table = Table(title=f"Age ranges of {len(bands)} pictures that calibration has not seen")
    for column in ("confidence", "stated probability", "share of truth inside", "median years"):
        table.add_column(column, justify="right")
    for confidence in (0.3, 0.5, 0.7, 0.9):
        ranges = [age_range(row, confidence) for row in probabilities]
        inside = [
            max(0, min(found.high, high) - max(found.low, low) + 1) / (high - low + 1)
            for found, (low, high) in zip(ranges, bands, strict=True)
        ]
        table.add_row(
            f"{confidence}",
            f"{np.mean([found.probability for found in ranges]):.3f}",
            f"{np.mean(inside):.3f}",
            f"{np.median([found.high - found.low + 1 for found in ranges]):.0f}",
        )
    console.print(table)


def main() -> None:
    console = Console(width=110)
    detector = CenterFace(weights("centerface").path, Compute(), DetectionSettings())
    attributes(console, detector)


if __name__ == "__main__":
    main()
