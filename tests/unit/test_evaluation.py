"""Measuring models: error rates by hand, sets by their files, degraded pictures, and the command."""

import csv
import json
import shutil
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from prosopon.models.evaluation import sets
from prosopon.models.evaluation.attributes import Told, gender_calibration, rates, years_of
from prosopon.models.evaluation.attributes import groups as attribute_groups
from prosopon.models.evaluation.degradations import DEGRADATIONS
from prosopon.models.evaluation.embedded import Embedded, Embedder
from prosopon.models.evaluation.landmarks import TipError, on_noses
from prosopon.models.evaluation.verification import (
    Pairs,
    accuracy,
    by_group,
    equal_error_rate,
    groups,
    pairs_of,
    strangers_of,
    true_match_rate,
)
from prosopon.models.faces.attributes.liveness import Liveness
from prosopon.models.faces.detections import Detections
from prosopon.models.roles import Age, Gender, Mask
from prosopon.pipelines.cli import app
from tests.benchmarks.embeddings import detector, embedder
from tests.faces import predictor
from tests.paths import DATA, require, smiling
from tests.weights import default_embedder, weights

# Of ten impostors one lies below 0.55; of five genuine pairs one lies above it.
PAIRS = Pairs(
    np.array([0.1, 0.2, 0.3, 0.4, 0.9], np.float32),
    np.array([0.5, 0.6, 0.7, 0.8, 0.85, 0.86, 0.87, 0.88, 0.95, 0.99], np.float32),
)


def test_rates_by_hand() -> None:
    assert true_match_rate(PAIRS, 0.1) == 0.8  # below 0.6: one impostor in ten, four of five
    assert true_match_rate(PAIRS, 0.1, missed=3) == 0.5  # four of eight
    assert accuracy(PAIRS, 0.45) == pytest.approx((0.8 + 1.0) / 2)
    # At 0.86, the sixth impostor: 60 % pass, 20 % are refused. At 0.6: 20 % and 20 %.
    assert equal_error_rate(PAIRS) == pytest.approx(0.2)


def embedded(people: list[str], races: list[str]) -> Embedded:
    portraits = tuple(
        sets.Portrait(str(i), Path(), person, {"race": race, "sex": "Female"})
        for i, (person, race) in enumerate(zip(people, races, strict=True))
    )
    return Embedded(portraits, np.eye(len(people), dtype=np.float32), 0)


def test_pairs_go_by_whose_they_are_and_groups_by_race_and_sex() -> None:
    known = embedded(["a", "a", "b", "c"], ["x", "x", "y", "x"])
    pairs = pairs_of(known)
    assert (len(pairs.genuine), len(pairs.impostors)) == (1, 5)
    np.testing.assert_allclose(pairs.genuine, np.sqrt(2), atol=1e-6)
    assert [(kind, name, members.tolist()) for kind, name, members in groups(known, 2)] == [
        ("race and sex", "x, Female", [0, 1, 3])
    ]
    # Two pictures of one person are no false match.
    assert [end.tolist() for end in strangers_of(["a", "a", "b", "c"], np.array([0, 1, 3]))] == [
        [0, 1],
        [3, 3],
    ]
    assert [len(rate.impostors) for rate in by_group(embedded(["a"] * 2 + [*"bcdefghij"], ["x"] * 11))] == [
        54
    ]


def test_a_folder_of_people_and_what_is_none(tmp_path: Path) -> None:
    for name in ("ann/1.jpg", "ann/2.png", "bob/deep/1.webp", "top.jpg", "bob/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "labels.csv").write_text("person,race,sex,age\nann,White,female,20-29\n")
    found = sets.people(tmp_path).portraits
    assert [(p.key, p.person) for p in found] == [
        ("ann/1.jpg", "ann"), ("ann/2.png", "ann"), ("bob/deep/1.webp", "bob")
    ]  # fmt: skip
    assert found[0].labels == {"race": "White", "sex": "Female", "age": "20-29"} and found[2].labels == {}
    assert found[0].read() is None, "an empty file is no picture"
    with pytest.raises(sets.SetMissing, match="two sub-folders"):
        sets.people(tmp_path / "ann")


def test_the_public_sets_are_whole() -> None:
    require(DATA / "fairface")
    fairface = sets.fairface(DATA).portraits
    assert (len(fairface), len({portrait.person for portrait in fairface})) == (1200, 1185)
    assert len({p.person for p in sets.london(DATA, "neutral").portraits}) == 102
    chips = sets.chips(require(DATA / "fairface_chips.tar").parent, 5).portraits
    assert len(chips) == 5 and all(chip.labels.keys() == {"race", "sex", "age"} for chip in chips)
    picture = chips[2].read()
    assert picture is not None and picture.shape == (256, 256, 3)
    with pytest.raises(sets.SetMissing, match="--data"):
        sets.fairface(Path("/nowhere"))


@pytest.mark.parametrize("kind", DEGRADATIONS)
def test_a_degraded_portrait_is_another_picture_with_the_same_person_in_it(
    kind: str, london: list[Path]
) -> None:
    picture = cv2.cvtColor(cv2.imread(str(london[3])), cv2.COLOR_BGR2RGB)
    faces: Detections = detector().detect([picture], 0.5)[0]
    before = picture.copy()
    worse = DEGRADATIONS[kind](picture, faces)
    np.testing.assert_array_equal(picture, before, "the original stays")
    assert worse.dtype == np.uint8 and worse.ndim == 3
    if worse.shape == picture.shape:
        assert np.abs(worse.astype(int) - picture).mean() > 0.3


def test_what_was_embedded_is_kept_and_asked_for_again_where_a_file_changes(
    tmp_path: Path, london: list[Path]
) -> None:
    folder = tmp_path / "people"
    for portrait in london[:3]:
        (folder / portrait.stem).mkdir(parents=True)
        shutil.copy(portrait, folder / portrait.stem)
        shutil.copy(smiling(portrait), folder / portrait.stem)
    model = embedder(default_embedder())
    embed = Embedder(detector(), model, tmp_path / "cache", 0.5)
    first = embed(sets.people(folder))
    assert first.embeddings.shape == (6, model.dim) and first.missed == 0
    asked: list[int] = []
    again = embed(sets.people(folder), progress=lambda done, total: asked.append(done))
    np.testing.assert_array_equal(again.embeddings, first.embeddings)
    assert asked == []
    shutil.copy(london[4], folder / london[0].stem / london[0].name)
    changed = embed(sets.people(folder))
    assert not np.array_equal(changed.embeddings, first.embeddings)


def test_the_command_measures_a_readers_own_folder(tmp_path: Path, london: list[Path]) -> None:
    for portrait in london[:4]:
        (tmp_path / "people" / portrait.stem).mkdir(parents=True)
        shutil.copy(portrait, tmp_path / "people" / portrait.stem)
        shutil.copy(smiling(portrait), tmp_path / "people" / portrait.stem)
    plot, output = tmp_path / "roc.png", tmp_path / "figures.json"
    run = partial(CliRunner().invoke, app, env={"COLUMNS": "250", "PROSOPON_HOME": str(tmp_path / "home")})
    options = ["--plot", str(plot), "--output", str(output)]
    done = run(["evaluate", default_embedder(), "--people", str(tmp_path / "people"), *options])
    assert done.exit_code == 0, done.output
    [told] = json.loads(output.read_text())
    rates = told["sets"]["people"]
    assert (rates["genuine"], rates["impostors"]) == (4, 24)
    assert rates["EER"] == 0 and rates["TMR at 0.01"] == 1 and rates["above 0.5"] == 1
    assert told["licence"] and told["milliseconds"] > 0
    assert plot.read_bytes()[:4] == b"\x89PNG"
    assert run(["evaluate"]).exit_code == 2


def told(label: dict[str, str], **values: object) -> Told:
    return Told(sets.Portrait("", Path(), "", label), values)


def test_landmarks_are_measured_against_marked_noses(tmp_path: Path) -> None:
    """The marks are people's; moved by a distance between the eyes, the error is about one more."""
    samples = require(DATA / "compreface_samples")
    with (samples / "noses.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["nose_x"]]
    known = [row for row in rows if sum(other["file"] == row["file"] for other in rows) == 1][:3]
    apart = {}
    for row in known:
        shutil.copy(samples / row["file"], tmp_path)
        picture = sets.Portrait(row["file"], samples / row["file"], "").read()
        assert picture is not None
        left, right = detector().detect([picture], 0.5)[0].largest_first().landmarks[0, :2]
        apart[row["file"]] = float(np.linalg.norm(left - right))

    def error(moved: float) -> dict[str, TipError]:
        with (tmp_path / "noses.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ("file", "nose_x", "nose_y"))
            writer.writeheader()
            for row in known:
                writer.writerow({**row, "nose_y": float(row["nose_y"]) + moved * apart[row["file"]]})
        return on_noses(detector(), {"mesh": predictor()}, tmp_path, 0.5)

    right_marks, moved_marks = error(0), error(1)
    assert set(right_marks) == {detector().name, "mesh"}
    for name, found in right_marks.items():
        assert found.noses == 3
        assert found.mean <= found.most < 0.15
        assert moved_marks[name].mean == pytest.approx(1, abs=0.15)
    with pytest.raises(sets.SetMissing):
        on_noses(detector(), {}, tmp_path / "absent", 0.5)


def test_rates_of_what_is_told_by_hand() -> None:
    label = {"sex": "Male", "age": "20-29", "race": "x"}
    several = [
        told(label, gender=Gender("male", 0.9), age=Age(25, 34, 0.5), liveness=Liveness(0.4, False)),
        told(label, gender=Gender("female", 0.7), age=Age(10, 19, 0.7), liveness=Liveness(0.6, False)),
        # Without labels only shares are told.
        told({}, mask=Mask("mask_worn_correctly", 0.9), liveness=Liveness(0.9, True)),
    ]
    assert rates(several) == {
        "gender right": 0.5, "gender stated": 0.8, "age inside": 0.25, "age stated": 0.6, "age error": 7.5,
        "18 or older": 0.5, "masked": 1.0, "called an attack": 0.333,
    }  # fmt: skip
    # One bin holds 0.9 and is right, one 0.7 and is not: (0.1 + 0.7) / 2.
    assert gender_calibration(several) == pytest.approx(0.4)
    assert gender_calibration(several[2:]) is None


@pytest.mark.parametrize(
    ("label", "years"),
    [("20-29", (20, 29)), ("more than 70", (70, 80)), ("34", (34, 34)), ("", None), ("unknown", None)],
)
def test_labels_of_age(label: str, years: tuple[int, int] | None) -> None:
    assert years_of(label) == years


def test_groups_of_ten_and_more_have_rows() -> None:
    white, black = ({"race": race, "sex": "Female", "age": "3-9"} for race in ("White", "Black"))
    rows = dict(attribute_groups([told(white)] * 10 + [told(black)] * 9))
    assert {name: len(members) for name, members in rows.items()} == {
        "all": 19, "3-9": 19, "Female": 19, "White": 10, "White, Female": 10
    }  # fmt: skip


def test_the_command_tells_of_ones_own_faces(tmp_path: Path) -> None:
    folder = require(DATA / "fairface")
    with (folder / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))[:12]
    with (tmp_path / "labels.csv").open("w") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        for row in rows:
            shutil.copy(folder / row["file"], tmp_path)
            writer.writerow({**row, "file": Path(row["file"]).name})
    weights("centerface")
    output = tmp_path / "figures.json"
    result = CliRunner().invoke(app, ["evaluate", "--faces", str(tmp_path), "--output", str(output)])
    assert result.exit_code == 0, result.output
    (found,) = json.loads(output.read_text())[-1]["attributes"].values()
    assert set(found["milliseconds"]) == {"age", "gender", "mask", "liveness"}
    everybody = found["groups"]["all"]
    assert everybody["faces"] + found["missed"] == 12 and everybody["faces"] >= 11
    assert everybody["gender right"] >= 0.75 and everybody["masked"] <= 0.2
    assert "gender right" in result.output
