"""Age and gender on FairFace: `python -m tests.benchmarks.attributes [--sheet errors.png]`.

Pictures are looked at, twice where a face fills them, and cut as the server does. FairFace tells the age as a band: the
error is the distance to the middle of the band, and the calibration of a range is judged as if ages were spread
evenly inside a band. The calibration of dlib's ranges was fitted on the first 600 pictures by name, so only the others
are judged there. The own network and its calibration have seen none of the pictures.
"""

import csv
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from prosopon.models.faces.age_gender import BANDS, WEIGHTS, AgeGenderNetwork, years_of
from prosopon.models.faces.ages import age_range, expected_age
from prosopon.models.faces.attributes.age import DlibAge, calibrate
from prosopon.models.faces.attributes.gender import DlibGender
from prosopon.models.faces.detections import Detections, Float32, RGBImage
from prosopon.models.pictures.crops import CropSpec, cut
from prosopon.models.roles import Chips, FaceDetector
from prosopon.models.runtime.session import Compute
from tests.benchmarks.embeddings import detector
from tests.benchmarks.sheets import draw, tile
from tests.paths import DATA
from tests.weights import weights

FITTED = 600
WORST = 48
"""Of each kind on a sheet."""
OLDEST = BANDS[-1][1]


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
    find: FaceDetector, faces: list[Face], specs: tuple[CropSpec, ...]
) -> tuple[list[Face], list[Chips]]:
    """The faces that were found, and for each spec their chips."""
    found, cuts = [], []
    for face in faces:
        image = read(DATA / "fairface" / face.file)
        detected = find.detect([image], 0.5)[0]
        if not len(detected):
            continue
        best = central(image, detected)
        found.append(face)
        cuts.append([cut(image, detected.boxes[best], detected.landmarks[best], s).pixels for s in specs])
    return found, [np.stack(column) for column in zip(*cuts, strict=True)]


def groups(faces: list[Face]) -> Iterator[tuple[str, str, list[int]]]:
    """What is compared: everybody, and each band, sex, race, and race and sex together."""
    yield "all", "", list(range(len(faces)))
    for kind in ("age", "sex", "race", "race, sex"):
        members: dict[str, list[int]] = defaultdict(list)
        for position, face in enumerate(faces):
            sex = "male" if face.male else "female"
            both = f"{face.race}, {sex}"
            group = {"age": face.label, "sex": sex, "race": face.race, "race, sex": both}[kind]
            members[group].append(position)
        for name in sorted(members, key=lambda label: (len(label.split("-")[0]), label)):
            yield kind, name, members[name]


@dataclass(frozen=True, slots=True)
class Answers:
    """years: ``(N, 81)`` probabilities; male: ``(N,)`` probability."""

    name: str
    years: Float32
    male: Float32


def dlib_answers(age: DlibAge, gender: DlibGender, age_chips: Chips, gender_chips: Chips) -> Answers:
    return Answers("dlib", calibrate(age.probabilities(age_chips)), gender.probabilities(gender_chips)[:, 1])


def own_answers(network: AgeGenderNetwork, cut_chips: Chips) -> Answers:
    outputs = np.concatenate([network.outputs(cut_chips[i : i + 16]) for i in range(0, len(cut_chips), 16)])
    return Answers(network.name, years_of(outputs[:, 2:]), outputs[:, 1])


def band_probabilities(years: Float32) -> Float32:
    """``(N, 81)`` of years to ``(N, 9)`` of `BANDS`."""
    return np.stack([years[:, low : high + 1].sum(axis=1) for low, high in BANDS], axis=1)


def calibration_error(confidence: Float32, right: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error with bins of one width (Guo et al. 2017)."""
    places = np.minimum((confidence * bins).astype(int), bins - 1)
    error = 0.0
    for place in range(bins):
        members = places == place
        if members.any():
            error += members.mean() * abs(confidence[members].mean() - right[members].mean())
    return float(error)


def worst(faces: list[Face], answers: Answers, cut_chips: Chips) -> list[RGBImage]:
    """Tiles of the surest errors of gender, and then of the ages that are furthest off."""
    years = expected_age(answers.years)
    off = np.array(
        [max(face.band[0] - age, age - face.band[1]) for face, age in zip(faces, years, strict=True)]
    )
    against = np.array([1 - p if face.male else p for face, p in zip(faces, answers.male, strict=True)])
    wrong = [i for i in np.argsort(-against) if against[i] > 0.5][:WORST]
    captions = {int(i): f"{'male' if faces[i].male else 'female'} only {1 - against[i]:.2f}" for i in wrong}
    tiles = [shown(faces[i], cut_chips[i], caption) for i, caption in captions.items()]
    furthest = np.argsort(-off)[:WORST]
    return tiles + [shown(faces[i], cut_chips[i], f"{faces[i].label}: {years[i]:.0f}") for i in furthest]


def shown(face: Face, chip: RGBImage, caption: str) -> RGBImage:
    return tile((read(DATA / "fairface" / face.file), chip), f"{caption}  {face.race}")


def attributes(console: Console, find: FaceDetector, sheet: Path | None = None) -> None:
    network = AgeGenderNetwork(WEIGHTS, Compute())
    age = DlibAge(weights("dlib-age").path, Compute())
    gender = DlibGender(weights("dlib-gender").path, Compute())
    labelled = fairface()
    faces, (own_chips, age_chips, gender_chips) = chips(find, labelled, (network.crop, age.crop, gender.crop))
    fitted = {face.file for face in sorted(labelled, key=lambda face: face.file)[:FITTED]}
    judged = [i for i, face in enumerate(faces) if face.file not in fitted]
    bands = np.array([face.band for face in faces])
    title = f"{len(faces)} of {len(labelled)} FairFace pictures with a face"
    for answers in (
        own_answers(network, own_chips),
        dlib_answers(age, gender, age_chips, gender_chips),
    ):
        by_group(console, f"{answers.name}: {title}", faces, answers)
        confidences(console, faces, answers)
        # dlib's ranges were fitted on some of the pictures; the own network has seen none.
        rows = judged if answers.name == "dlib" else list(range(len(faces)))
        calibration(console, f"{answers.name}: ", answers.years[rows], bands[rows])
    speed(console, network, own_chips)
    if sheet is not None:
        draw(worst(faces, own_answers(network, own_chips), own_chips), sheet, columns=6)


def by_group(console: Console, title: str, faces: list[Face], answers: Answers) -> None:
    bands = np.array([face.band for face in faces])
    truth = np.array([BANDS.index(face.band) for face in faces])
    right = (answers.male > 0.5) == np.array([face.male for face in faces])
    years = expected_age(answers.years)
    likeliest = band_probabilities(answers.years).argmax(axis=1)
    error = np.abs(years - bands.mean(axis=1))
    table = Table(title=title)
    for column in ("group", "", "faces", "gender", "band", "band or next", "age error, years", "18 or older"):
        table.add_column(column, justify="left" if column in ("group", "") else "right")
    for kind, name, members in groups(faces):
        found, true = likeliest[members], truth[members]
        table.add_row(
            kind,
            name,
            str(len(members)),
            f"{right[members].mean():.3f}",
            f"{(found == true).mean():.3f}",
            f"{(np.abs(found - true) <= 1).mean():.3f}",
            f"{error[members].mean():.1f}",
            f"{(years[members] >= 18).mean():.3f}",
        )
    console.print(table)


def confidences(console: Console, faces: list[Face], answers: Answers) -> None:
    """Whether probabilities can be believed, and what a child is taken for."""
    male = np.array([face.male for face in faces])
    gender = np.maximum(answers.male, 1 - answers.male)
    right = (answers.male > 0.5) == male
    likely = band_probabilities(answers.years)
    band_right = likely.argmax(axis=1) == np.array([BANDS.index(face.band) for face in faces])
    children = [i for i, face in enumerate(faces) if face.band[1] < 10]
    adults = (expected_age(answers.years)[children] >= 18).sum()
    smallest = min(right[members].mean() for kind, _, members in groups(faces) if kind == "race, sex")
    console.print(
        f"gender right {right.mean():.4f}, least of race and sex {smallest:.4f}, expected calibration error "
        f"{calibration_error(gender, right):.4f}, wrong at more than 0.95: {(~right & (gender > 0.95)).sum()} of "
        f"{(~right).sum()}; band right {band_right.mean():.4f}, expected calibration error "
        f"{calibration_error(likely.max(axis=1), band_right):.4f}; below ten called 18 or older: {adults} of "
        f"{len(children)}"
    )


def speed(console: Console, network: AgeGenderNetwork, cut_chips: Chips) -> None:
    for count in (1, 8):
        times = []
        for i in range(50):
            start = time.thread_time()
            network.outputs(cut_chips[i : i + count])
            times.append((time.thread_time() - start) * 1000 / count)
        console.print(
            f"{network.name}, one thread, {count} at a time: {np.median(times):.2f} ms of processor time a face "
            f"(median), {min(times):.2f} ms (least); {WEIGHTS.stat().st_size:,} bytes"
        )


def calibration(console: Console, name: str, probabilities: Float32, bands: np.ndarray) -> None:
    table = Table(title=f"{name}age ranges of {len(bands)} pictures that calibration has not seen")
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


def main(
    sheet: Annotated[Path | None, typer.Option(help="Draw the worst errors of ours here")] = None,
) -> None:
    console = Console(width=110)
    attributes(console, detector(), sheet)


if __name__ == "__main__":
    typer.run(main)
