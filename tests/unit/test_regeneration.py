"""Faces made anew: what a search sees, what of the frame it may change, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from prosopon.configs.settings import SwapSettings
from prosopon.models.faces.detections import RGBImage
from prosopon.models.faces.mobilefacenet import MobileFaceNet
from prosopon.models.inversion.ffhq_alignment import ffhq_chip, ffhq_matrix
from prosopon.models.inversion.identity import load_identities
from prosopon.models.load import load_mapper, regenerates
from prosopon.models.pictures.crops import similarity_transform
from prosopon.models.runtime.session import Compute
from prosopon.models.swap.frames import framed
from prosopon.models.swap.geometry import LIPS, interocular, with_forehead
from prosopon.models.swap.occlusion import segmenter
from prosopon.models.swap.regeneration import swapper, views
from prosopon.models.swap.regeneration.composite import put_back
from prosopon.models.swap.regeneration.expression import with_mouth_in_place
from prosopon.models.swap.regeneration.likeness import moved, with_likeness
from prosopon.models.swap.regeneration.loss import OVAL, RegenerationLoss, Weights
from prosopon.models.swap.regeneration.networks import load_mesh, seen
from prosopon.models.swap.regeneration.scene import scene
from prosopon.models.swap.regeneration.search import Plan, search
from prosopon.models.swap.regeneration.swapper import RegenerateSwapper
from prosopon.models.swap.skin import inside
from prosopon.models.swap.types import OutOfTime, Replacement, SourceFace
from prosopon.models.swap.verdict import Gate, Verdict, judged
from tests.faces import around, face_near, faces_of, portrait, read
from tests.paths import DATA, require
from tests.weights import model_settings, weights

CPU = torch.device("cpu")


def test_a_chip_of_a_picture_is_what_opencv_cuts() -> None:
    picture = ffhq_chip(*_of("london/002_neutral.jpg"), 512)
    matrix = similarity_transform(
        np.array([[190, 240], [322, 240], [256, 320], [200, 370], [312, 370]], np.float32),
        np.array([[80, 100], [176, 100], [128, 155], [88, 190], [168, 190]], np.float32),
    )
    whole = torch.from_numpy(picture).permute(2, 0, 1).float()[None]
    own = views.sample(whole, views.grid(matrix, 512, 256))[0].permute(1, 2, 0).numpy()
    wanted = cv2.warpAffine(picture, matrix, (256, 256), flags=cv2.INTER_LINEAR)
    assert np.abs(own - wanted).mean() < 1.0


def test_only_the_face_changes_and_a_grey_picture_stays_grey() -> None:
    picture, face = portrait("london/017_smiling.jpg")
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    made = ffhq_chip(*_of("faker/male_0.jpg"), 512)
    for frame in (picture, grey):
        result = frame.copy()
        put_back(result, face, made, ffhq_matrix(face.dense, 512))
        changed = (result != frame).any(axis=2)
        assert changed.any() and not changed[~around(face, frame.shape)].any()
    assert int(np.ptp(result.astype(int), axis=2).max()) <= 2


def test_glasses_that_were_drawn_stay_on_unless_the_target_wears_its_own() -> None:
    made = ffhq_chip(*_of("faker/male_95.jpg"), 512)
    picture, face = portrait("london/017_neutral.jpg")

    def worn(frame: RGBImage) -> bool:
        found = segmenter().find(frame, face.dense)
        points = with_forehead(face.dense) @ found.matrix[:, :2].T + found.matrix[:, 2]
        return bool(framed(found.chip, points.astype(np.float32)).any())

    result = picture.copy()
    put_back(result, face, made, ffhq_matrix(face.dense, 512))
    assert worn(result) and not worn(picture)


def test_the_target_itself_costs_nothing_in_shape_and_light_and_another_face_does() -> None:
    settings = model_settings()
    (
        weights("face-reidentification-retail-0095"),
        weights("dlib-resnet29"),
        weights("mobilestylegan-generator"),
    )
    weights("mobilestylegan-mapper")
    assert regenerates(settings)
    picture, face = portrait("london/002_neutral.jpg")
    shown = scene(picture, picture, face, CPU)
    identities = load_identities(settings, CPU)
    own = [seen(one, shown.chip, [one.matrix(shown.landmarks)], 512).detach() for one in identities]
    loss = RegenerationLoss(
        shown, own, identities, load_mesh(settings, CPU), Weights(), np.random.default_rng(0)
    )
    other = torch.from_numpy(ffhq_chip(*_of("faker/male_0.jpg"), 512)).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        _, kept = loss(shown.chip)
        _, changed = loss(other)
    assert all(kept[name] < 1e-6 for name in ("light", "around", "inner", "features", "pixels"))
    assert kept["mesh"] < 0.3 * changed["mesh"] and kept["gaps"] < changed["gaps"]
    assert all(changed[name] > 0.03 for name in ("mesh", "light", "around", "features", "pixels"))
    assert kept["identity"] < 0.5 < changed["identity"]
    assert len(set(OVAL)) == len(OVAL)


@pytest.mark.parametrize("leader", ["face-reidentification-retail-0095", "prosopon-embedding"])
def test_one_network_of_identity_is_enough_and_counts_as_much_as_two(leader: str, tmp_path: Path) -> None:
    """Our own is on every machine."""
    settings = model_settings().model_copy(update={"directory": tmp_path, "mirror": None})
    for name in {leader, "mobilestylegan-generator", "mobilestylegan-mapper"} - {"prosopon-embedding"}:
        (tmp_path / name).symlink_to(weights(name).path.parent)
    assert regenerates(settings)
    (alone,) = load_identities(settings, CPU)
    assert (alone.name, alone.share) == (leader, 2.0)


def test_the_sources_own_skin_is_laid_over_where_the_two_faces_agree() -> None:
    """Glasses of the source, here painted, are not carried over, nor is its light."""
    made, face = portrait("london/043_neutral.jpg")
    picture, own = portrait("london/113_neutral.jpg")
    unit = interocular(own.dense)
    dark = picture.copy()
    x, y = own.dense[36:48].min(axis=0) - 0.15 * unit, own.dense[36:48].max(axis=0) + 0.15 * unit
    dark[int(x[1]) : int(y[1]), int(x[0]) : int(y[0])] = (10, 10, 10)
    likely, over = with_likeness(made, face, SourceFace(picture, own))
    likely_dark, over_dark = with_likeness(made, face, SourceFace(dark, own))

    def changed(one: RGBImage, points: np.ndarray) -> float:
        (left, top), (right, bottom) = points.min(axis=0).astype(int), points.max(axis=0).astype(int)
        difference = one.astype(int) - made
        return float(np.abs(difference[top:bottom, left:right]).mean())

    eyes, mouth = face.dense[36:48], face.dense[48:68]
    assert 1 < changed(likely, mouth) < changed(over, mouth)
    assert max(changed(over_dark, eyes), changed(likely_dark, eyes)) < 5
    assert changed(likely_dark, mouth) > 1


@pytest.fixture(scope="module")
def regenerate() -> RegenerateSwapper:
    settings = model_settings()
    return RegenerateSwapper(settings, load_mapper(settings, Compute()), Compute())


@pytest.mark.parametrize(("down", "wider"), [(0.1, 1.0), (0.04, 1.15)], ids=["lower", "wider"])
def test_a_mouth_that_lies_elsewhere_is_brought_to_where_the_target_has_its_own(
    down: float, wider: float
) -> None:
    picture, own = portrait("london/017_smiling.jpg")
    chip, matrix = ffhq_chip(picture, own.dense, 512), ffhq_matrix(own.dense, 512)
    face = moved(own, matrix)
    unit, (x, y) = interocular(face.dense), face.dense[48:68].mean(axis=0)
    columns, rows = np.meshgrid(np.arange(512.0), np.arange(512.0))
    near = np.exp(-((((columns - x) ** 2 + (rows - y) ** 2) / (0.6 * unit) ** 2) ** 2))
    across = (columns + near * (x - columns) * (1 - 1 / wider)).astype(np.float32)
    made = cv2.remap(chip, across, (rows - near * down * unit).astype(np.float32), cv2.INTER_CUBIC)
    back = with_mouth_in_place(made, face, load_mesh(model_settings(), CPU), np.random.default_rng(0))
    lips = inside(with_forehead(face.dense), (LIPS,), (512, 512)) > 0.5

    def apart(one: RGBImage) -> float:
        return float(np.abs(one.astype(float) - chip)[lips].mean())

    assert apart(back) < 0.55 * apart(made)
    far = np.hypot(columns - x, rows - y) > 1.5 * unit
    assert (back == made)[far].all()


def test_a_face_moved_into_a_chip_is_where_the_mesh_sees_it_there() -> None:
    picture, face = portrait("london/043_neutral.jpg")
    there = moved(face, ffhq_matrix(face.dense, 512))
    seen_there = face_near(ffhq_chip(picture, face.dense, 512), there)
    unit = interocular(there.dense)
    assert np.linalg.norm(seen_there.mesh[:, :2] - there.mesh[:, :2], axis=1).mean() < 0.03 * unit
    assert np.abs(np.ptp(seen_there.mesh, axis=0) / np.ptp(there.mesh, axis=0) - 1).max() < 0.1


def test_a_search_that_would_take_too_long_is_given_up_after_its_first_steps(
    regenerate: RegenerateSwapper,
) -> None:
    picture, face = portrait("london/002_neutral.jpg")
    regenerate.plan = Plan(1e-3, ((128, 30, 1.0),))
    with pytest.raises(OutOfTime, match="20 steps"):
        regenerate.swap(picture, [Replacement(face, SourceFace(*portrait("faker/female_22.jpg")))])


def test_after_a_few_steps_the_face_is_nearer_to_the_new_one(regenerate: RegenerateSwapper) -> None:
    """By a network that the search does not look through."""
    judge = MobileFaceNet(weights("mobilefacenet").path, Compute())
    picture, face = portrait("london/002_neutral.jpg")
    source = SourceFace(*portrait("faker/female_22.jpg"))
    regenerate.plan = Plan(3600.0, ((128, 5, 1.0),))
    result = regenerate.swap(picture, [Replacement(face, source)])
    verdict = judged(judge, picture, Replacement(face, source), result, face_near(result, face))
    assert verdict.similarity > verdict.between + 0.2 and verdict.similarity > verdict.replaced
    assert verdict.shift < 0.06
    assert not (result != picture).any(axis=2)[~around(face, picture.shape)].any()


@pytest.mark.parametrize(("like", "seconds", "searches"), [(2.0, 600.0, 2), (2.0, 1e-3, 1), (-2.0, 600.0, 1)])
def test_a_face_that_the_held_out_network_does_not_know_is_searched_for_once_more(
    like: float,
    seconds: float,
    searches: int,
    regenerate: RegenerateSwapper,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From other styles, in the time that is left."""
    tried: list[tuple[torch.Tensor, Plan]] = []

    def recorded(*arguments: Any) -> torch.Tensor:
        tried.append((arguments[4], arguments[5]))
        return search(*arguments)

    monkeypatch.setattr(swapper, "search", recorded)
    monkeypatch.setattr(swapper, "_LIKE", like)
    regenerate.plan = Plan(seconds, ((128, 1, 1.0),), least_steps=1)
    picture, face = portrait("london/002_neutral.jpg")
    # Of these two even the warp is more like the new face than like the old one.
    regenerate.make(picture, Replacement(face, SourceFace(*portrait("london/113_neutral.jpg"))))
    assert len(tried) == searches
    if searches == 2:
        (first, whole), (second, rest) = tried
        assert float((first - second).abs().max()) > 0.1 and 0 < rest.seconds < whole.seconds


def test_what_cannot_come_out_well_is_refused_with_the_reason() -> None:
    gate = Gate(SwapSettings())
    frame, target = portrait("london/002_neutral.jpg")
    source = SourceFace(*portrait("faker/male_0.jpg"))
    assert gate.impossible(frame, Replacement(target, source)) == ""
    small = replace(source.geometry, mesh=source.geometry.mesh * np.float32(0.02))
    tiny = replace(source, geometry=small)
    assert "too small" in gate.impossible(frame, Replacement(target, tiny))


def test_a_face_that_is_covered_cut_off_or_out_of_focus_is_refused_with_the_reason() -> None:
    gate = Gate(SwapSettings())
    picture, face = portrait("faker/male_0.jpg")
    unit = float(np.linalg.norm(face.landmarks[0] - face.landmarks[1]))
    half = picture[:, : round(float(face.dense[27, 0]))]
    assert "cut off by the edge" in gate.unfit(SourceFace(half, face))
    soft = cv2.GaussianBlur(picture, (0, 0), 0.3 * unit)
    assert "out of focus" in gate.unfit(SourceFace(soft, face))
    covered = picture.copy()
    x1, y1 = face.landmarks[:2].min(axis=0).astype(int) - round(0.6 * unit)
    x2, y2 = face.landmarks[:2].max(axis=0).astype(int) + round(0.6 * unit)
    covered[y1:y2, x1:x2] = (60, 90, 140)
    assert "covered" in gate.unfit(SourceFace(covered, face))


@pytest.mark.parametrize(
    ("name", "side"),
    [("175.jpg", True), ("2889.jpg", False), ("4473.jpg", False)],
)
def test_a_profile_is_told_from_a_face(name: str, side: bool) -> None:
    picture, face = portrait(f"fairface/{name}")
    gate = Gate(SwapSettings(least_eyes=0))
    why = gate.unfit(SourceFace(picture, face))
    assert ("from the side" in why) == side


def test_masked_faces_are_refused_on_either_side() -> None:
    gate = Gate(SwapSettings(least_eyes=0))
    frame, target = portrait("london/002_neutral.jpg")
    bare, refused, seen = SourceFace(frame, target), 0, 0
    for path in sorted(require(DATA / "mask" / "with_mask").iterdir())[:12]:
        picture = read(path)
        for masked in faces_of(picture)[:1]:
            there = gate.impossible(picture, Replacement(masked, bare))
            here = gate.unfit(SourceFace(picture, masked))
            refused += ("covered by a mask" in there) + bool(here)
            seen += 2
    assert seen >= 16 and refused >= 0.8 * seen


@pytest.mark.parametrize(
    ("verdict", "fault"),
    [
        (Verdict(0.6, 0.1, 0.0, 0.02), ""),
        (Verdict(0.1, 0.0, 0.0, 0.02), "not like"),
        (Verdict(0.3, 0.4, 0.1, 0.02), "not like"),
        (Verdict(0.46, 0.54, 0.1, 0.02), ""),
        (Verdict(0.9, 0.95, 0.9, 0.02), ""),
        (Verdict(0.6, 0.1, 0.0, 0.4), "pose"),
    ],
)
def test_results_are_judged_by_likeness_and_place(verdict: Verdict, fault: str) -> None:
    found = verdict.fault(SwapSettings())
    assert (fault in found) if fault else not found


def _of(name: str) -> tuple[RGBImage, np.ndarray]:
    picture, face = portrait(name)
    return picture, face.dense
