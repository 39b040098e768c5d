"""Pictures with labels: the reader's own folder of people, and the public sets that the project is judged by."""

import csv
import io
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from prosopon.configs.settings import ImageLimits
from prosopon.models.faces.detections import RGBImage
from prosopon.models.pictures.decoding import ImageError, decode

_SAME_PERSON = (
    (109, 2470), (128, 1918), (447, 497), (654, 2662, 3869), (1144, 2988), (1318, 3512, 4185), (2170, 3671),
    (2197, 454), (2207, 720), (2615, 346), (2749, 3148), (3882, 556), (4481, 4627),
)  # fmt: skip
"""Pictures of `data/fairface` that show one person: FairFace says nothing of who is who. Found by eye among the forty
pairs that retail-0095 finds nearest, and only where features, clothes or scene leave no doubt; others may be left."""

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
_LIMITS = ImageLimits(max_bytes=100_000_000)
_BORDER = 64


class SetMissing(FileNotFoundError):
    """A set of pictures is not where it was looked for."""


@dataclass(frozen=True, slots=True)
class Portrait:
    """A picture whose biggest face is somebody's.

    key: its name in its set; person: who it is; labels: race, sex, age band, where they are known. member: of the tar
    file at `path`, whose pictures are chips: a border is put around these, since a detector does not find a face that
    fills the picture.
    """

    key: str
    path: Path
    person: str
    labels: dict[str, str] = field(default_factory=dict)
    member: str = ""

    def read(self) -> RGBImage | None:
        """None where the file is no picture."""
        if self.member:
            chip = np.array(Image.open(io.BytesIO(_read_member(self.path, self.member))).convert("RGB"))
            return np.pad(chip, ((_BORDER, _BORDER), (_BORDER, _BORDER), (0, 0)), "edge")
        try:
            return decode(self.path.read_bytes(), _LIMITS)
        except ImageError:
            return None


@dataclass(frozen=True, slots=True)
class PortraitSet:
    """name: under which what is computed of it is kept; licence: of the pictures."""

    name: str
    licence: str
    portraits: tuple[Portrait, ...]


def fairface(data: Path) -> PortraitSet:
    """1,200 faces of FairFace's validation part: everybody is taken for somebody else, but for `_SAME_PERSON`."""
    folder = _require(data / "fairface")
    with (folder / "labels.csv").open() as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["file"])
    whose = {f"{number}.jpg": f"{numbers[0]}.jpg" for numbers in _SAME_PERSON for number in numbers}
    portraits = (
        Portrait(
            row["file"],
            folder / row["file"],
            whose.get(row["file"], row["file"]),
            _labels(row["race"], row["gender"], row["age"]),
        )
        for row in rows
    )
    return PortraitSet("fairface", "CC BY 4.0 (FairFace)", tuple(portraits))


def chips(data: Path, count: int) -> PortraitSet:
    """So many, evenly spread, of the chips of FairFace's training part."""
    tar = _require(data / "fairface_chips.tar")
    with (data / "fairface_chips.csv").open() as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    names = sorted(_members(tar))
    portraits = []
    for name in names[:: max(1, len(names) // count)][:count]:
        row = rows.get(Path(name).name)
        labels = _labels(row["race"], row["gender"], row["age"]) if row else {}
        portraits.append(Portrait(name, tar, name, labels, member=name))
    return PortraitSet(f"chips-{count}", "CC BY 4.0 (FairFace)", tuple(portraits))


def london(data: Path, look: str) -> PortraitSet:
    """102 people in one studio. look: neutral or smiling."""
    folder = _require(data / "london")
    with (folder / "london_info.csv").open() as file:
        people = {row["face_id"]: row for row in csv.DictReader(file)}
    portraits = []
    for path in sorted(folder.glob(f"*_{look}.jpg")):
        row = people.get(path.name[:3], {})
        labels = _labels(row.get("face_eth", ""), row.get("face_gender", ""), "")
        portraits.append(Portrait(path.name, path, path.name[:3], labels))
    return PortraitSet(f"london-{look}", "CC BY 4.0 (Face Research Lab London Set)", tuple(portraits))


def people(folder: Path) -> PortraitSet:
    """A reader's own: a sub-folder for each person. `labels.csv` in the folder (person, race, sex, age) is optional."""
    rows: dict[str, dict[str, str]] = {}
    if (labels := folder / "labels.csv").exists():
        with labels.open() as file:
            rows = {row["person"]: row for row in csv.DictReader(file)}
    portraits = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.parent != folder:
            person = path.relative_to(folder).parts[0]
            row = rows.get(person, {})
            told = _labels(row.get("race", ""), row.get("sex", ""), row.get("age", ""))
            portraits.append(Portrait(str(path.relative_to(folder)), path, person, told))
    if len({portrait.person for portrait in portraits}) < 2:
        raise SetMissing(
            f"{folder} needs two sub-folders or more, one for each person, with pictures in them"
        )
    return PortraitSet(f"people-{folder.resolve().name}", "", tuple(portraits))


def strangers(folder: Path) -> PortraitSet:
    """A reader's own: every picture of the folder shows somebody else. `labels.csv` (file, race, gender, age) is
    optional."""
    rows: dict[str, dict[str, str]] = {}
    if (labels := folder / "labels.csv").exists():
        with labels.open() as file:
            rows = {row["file"]: row for row in csv.DictReader(file)}
    portraits = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES:
            key = str(path.relative_to(folder))
            row = rows.get(key, {})
            told = _labels(row.get("race", ""), row.get("gender", ""), row.get("age", ""))
            portraits.append(Portrait(key, path, key, told))
    if len(portraits) < 2:
        raise SetMissing(f"{folder} has no pictures of two strangers or more")
    return PortraitSet(f"strangers-{folder.resolve().name}", "", tuple(portraits))


@cache
def _members(tar: Path) -> dict[str, tuple[int, int]]:
    """Where each file of an archive begins, and its size."""
    with tarfile.open(tar) as archive:
        return {member.name: (member.offset_data, member.size) for member in archive if member.isfile()}


def _read_member(tar: Path, name: str) -> bytes:
    offset, size = _members(tar)[name]
    with tar.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def labels_of(portraits: Sequence[Portrait], name: str) -> list[str]:
    """One label of each, empty where it is not known."""
    return [portrait.labels.get(name, "") for portrait in portraits]


def common(labels: Sequence[str], least: int = 2) -> Iterator[str]:
    """The labels that so many have, sorted."""
    yield from sorted(label for label, count in Counter(labels).items() if label and count >= least)


def _labels(race: str, sex: str, age: str) -> dict[str, str]:
    known = {"race": race, "sex": sex.capitalize(), "age": age}
    return {name: value for name, value in known.items() if value}


def _require(path: Path) -> Path:
    if not path.exists():
        raise SetMissing(f"{path} is not there: name the folder of the data with --data")
    return path
