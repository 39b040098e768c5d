"""What is told of labelled faces, age, gender, mask and liveness, by groups: the answers that callers get, measured."""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from prosopon.configs.settings import ModelSettings
from prosopon.models.evaluation.sets import Portrait, PortraitSet
from prosopon.models.faces.attributes.declaration import FaceInPicture
from prosopon.models.faces.attributes.table import ATTRIBUTES
from prosopon.models.faces.detections import Detections, RGBImage
from prosopon.models.load import face_model_available, find
from prosopon.models.pictures.crops import cut
from prosopon.models.roles import FaceDetector
from prosopon.models.runtime.session import Compute

JUDGED = ("age", "gender", "mask", "liveness")
"""Of the table of attributes, those that pictures of strangers can judge."""

ADULT = 18
OLDEST = 80
_KINDS = (("age",), ("sex",), ("race",), ("race", "sex"))
_LEAST = 10
"""Faces in a group that has a row of its own."""


@dataclass(frozen=True, slots=True)
class Told:
    """values: attribute -> its value, as callers get it."""

    portrait: Portrait
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answers:
    """told: of the faces that were found; missed: pictures without one; milliseconds: attribute -> of one face, the
    median over faces, its crops included."""

    told: tuple[Told, ...]
    missed: int
    milliseconds: dict[str, float] = field(default_factory=dict)


def ask(models: ModelSettings, detector: FaceDetector, portraits: PortraitSet, threshold: float) -> Answers:
    """Every judged attribute whose model is on this machine, of the face nearest to the middle of each picture."""
    known = [ATTRIBUTES[name] for name in JUDGED]
    served = {
        attribute: attribute.role.serve(find(models, attribute.role).open(Compute()))
        for attribute in known
        if attribute.role and face_model_available(models, attribute.role)
    }
    told, times = list[Told](), defaultdict[str, list[float]](list)
    for portrait in portraits.portraits:
        picture = portrait.read()
        found = detector.detect([picture], threshold)[0] if picture is not None else None
        if picture is None or found is None or not len(found):
            continue
        which = nearest(picture, found)
        box, landmarks = found.boxes[which], found.landmarks[which]
        height, width = picture.shape[:2]
        values = {}
        for attribute, model in served.items():
            began = time.perf_counter()
            crops = [cut(picture, box, landmarks, spec) for spec in model.card.crops]
            result = model.read(model.run(*(crop.pixels[None] for crop in crops)))[0]
            face = FaceInPicture(box, landmarks, width, height, tuple(crop.matrix for crop in crops))
            values[attribute.name] = attribute.read(result, face)
            times[attribute.name].append(time.perf_counter() - began)
        told.append(Told(portrait, values))
    milliseconds = {name: round(1000 * float(np.median(spent)), 2) for name, spent in times.items()}
    return Answers(tuple(told), len(portraits.portraits) - len(told), milliseconds)


def nearest(picture: RGBImage, found: Detections) -> int:
    """The face in the middle: FairFace's pictures, and portraits, are cut around the one that is labelled."""
    middle = np.array(picture.shape[1::-1]) / 2
    return int(np.abs(found.boxes.reshape(-1, 2, 2).mean(axis=1) - middle).sum(axis=1).argmin())


def years_of(label: str) -> tuple[int, int] | None:
    """First and last year of a label: `23`, `20-29`, `more than 70`. None where it is none."""
    parts = [int(part) for part in label.replace("more than", "").split("-") if part.strip().isdigit()]
    if not parts:
        return None
    return (parts[0], OLDEST if label.startswith("more") else parts[-1])


def groups(told: Sequence[Told]) -> Iterator[tuple[str, list[Told]]]:
    """Everybody, and those of each age, sex, race, and race and sex together, where ten or more are known."""
    yield "all", list(told)
    for kind in _KINDS:
        members: dict[str, list[Told]] = defaultdict(list)
        for each in told:
            labels = [each.portrait.labels.get(name, "") for name in kind]
            if all(labels):
                members[", ".join(labels)].append(each)
        for name in sorted(members, key=lambda label: (len(label.split("-")[0]), label)):
            if len(members[name]) >= _LEAST:
                yield name, members[name]


def rates(told: Sequence[Told]) -> dict[str, float]:
    """Of one group: what can be judged with the labels that its portraits have.

    `gender right`; `gender stated`: mean probability; `age inside`: share of the label's years that the answered range
    covers, on average; `age stated`; `age error`: years from the range's middle to the label's; `18 or older`: share
    whose range's middle is; `masked`, `called an attack`: shares.
    """
    found: dict[str, list[float]] = defaultdict(list)
    for each in told:
        values, labels = each.values, each.portrait.labels
        if (gender := values.get("gender")) and "sex" in labels:
            found["gender right"].append(gender.value == labels["sex"].lower())
            found["gender stated"].append(gender.probability)
        if (age := values.get("age")) and (years := years_of(labels.get("age", ""))):
            low, high = years
            inside = max(0, min(age.high, high) - max(age.low, low) + 1)
            middle = (age.low + age.high) / 2
            found["age inside"].append(inside / (high - low + 1))
            found["age stated"].append(age.probability)
            found["age error"].append(abs(middle - (low + high) / 2))
            found["18 or older"].append(middle >= ADULT)
        if mask := values.get("mask"):
            found["masked"].append(mask.value != "without_mask")
        if liveness := values.get("liveness"):
            found["called an attack"].append(liveness.probability < 0.5)
    return {name: round(float(np.mean(each)), 3) for name, each in found.items()}


def calibration_error(confidence: Sequence[float], right: Sequence[bool], bins: int = 15) -> float:
    """Expected calibration error with bins of one width (Guo et al. 2017)."""
    stated, true = np.asarray(confidence, np.float64), np.asarray(right, bool)
    places = np.minimum((stated * bins).astype(int), bins - 1)
    error = 0.0
    for place in np.unique(places):
        members = places == place
        error += members.mean() * abs(stated[members].mean() - true[members].mean())
    return float(error)


def gender_calibration(told: Sequence[Told]) -> float | None:
    """The expected calibration error of gender; None where no face of a known sex was answered."""
    judged = [each for each in told if each.values.get("gender") and "sex" in each.portrait.labels]
    if not judged:
        return None
    genders = [each.values["gender"] for each in judged]
    right = [
        gender.value == each.portrait.labels["sex"].lower()
        for gender, each in zip(genders, judged, strict=True)
    ]
    return calibration_error([gender.probability for gender in genders], right)
