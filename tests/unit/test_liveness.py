import csv
from functools import cache
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from rich.console import Console

from prosopon.configs.settings import ModelSettings, Settings, StateSettings
from prosopon.models.faces.attributes.liveness import LIVENESS, WEIGHTS, ProsoponLiveness, cramped
from prosopon.models.faces.detections import RGBImage
from prosopon.models.load import available, load_face_network
from prosopon.models.pictures.crops import cut
from prosopon.models.roles import Chips
from prosopon.models.runtime.session import Compute
from prosopon.models.weights.pull import pull_missing
from prosopon.models.weights.registry import ModelUnavailable
from tests.faces import found_in
from tests.paths import DATA, require
from tests.weights import weights


@cache
def model() -> ProsoponLiveness:
    return ProsoponLiveness(WEIGHTS, Compute())


def chips_of(file: Path) -> list[Chips]:
    picture: RGBImage = np.asarray(ImageOps.exif_transpose(Image.open(file)).convert("RGB"))
    box = found_in(file).boxes[0]
    return [cut(picture, box, np.zeros((5, 2), np.float32), spec).pixels[None] for spec in model().crops]


@pytest.mark.parametrize(("name", "live"), [("T1", True), ("F1", False), ("F2", False)])
def test_the_published_frames_come_out_right(name: str, live: bool) -> None:
    score = model().score(chips_of(require(DATA / "minivision" / f"image_{name}.jpg")))
    assert score.shape == (1,) and score.dtype == np.float32
    assert (score[0] > 0.5) == live


def test_portraits_are_live() -> None:
    """The other model calls a sixth of them attacks."""
    files = sorted(require(DATA / "london").glob("*.jpg"))[::5]
    scores = [float(model().score(chips_of(file))[0]) for file in files]
    assert sum(score < 0.5 for score in scores) <= 0.05 * len(files), scores


def test_dark_faces_in_even_light_are_live() -> None:
    """Their blacks are as dull as those of paper."""
    folder = require(DATA / "london")
    with (folder / "london_info.csv").open() as table:
        people = [row["face_id"] for row in csv.DictReader(table) if row["face_eth"] == "black"]
    files = [folder / f"{person}_{kind}.jpg" for person in people for kind in ("neutral", "smiling")]
    scores = [float(model().score(chips_of(file))[0]) for file in files if file.exists()]
    assert len(scores) >= 20 and sum(score < 0.5 for score in scores) <= 0.05 * len(scores), scores


def test_a_batch_scores_like_its_members() -> None:
    frames = [chips_of(require(DATA / "minivision" / f"image_{name}.jpg")) for name in ("T1", "F1", "F2")]
    batch = [np.concatenate(chips) for chips in zip(*frames, strict=True)]
    alone = np.concatenate([model().score(chips) for chips in frames])
    np.testing.assert_allclose(model().score(batch), alone, atol=1e-5)


def test_no_faces_no_scores() -> None:
    empty = [np.empty((0, spec.size, spec.size, 3), np.uint8) for spec in model().crops]
    assert model().score(empty).shape == (0,)


def test_the_weights_are_small() -> None:
    assert WEIGHTS.stat().st_size < 2_000_000


def test_a_face_that_fills_the_picture_is_cramped() -> None:
    box = np.array([20, 10, 120, 130], np.float32)  # 100 x 120
    assert not cramped(box, (160, 192))
    assert cramped(box, (159, 192)) and cramped(box, (160, 191))
    assert cramped(np.array([0, 0, 640, 480], np.float32), (640, 480))


def name_of(settings: ModelSettings) -> str:
    assert LIVENESS.role is not None
    return load_face_network(settings, LIVENESS.role, Compute()).name


def test_ours_answers_on_a_fresh_machine(tmp_path: Path) -> None:
    for pack in ("open", "insightface/buffalo_l"):
        settings = ModelSettings(directory=tmp_path, mirror=None, pack=pack)
        assert available(settings, "liveness")
        assert name_of(settings) == "prosopon-liveness"


def test_minifasnet_answers_where_it_is_named_and_was_pulled(tmp_path: Path) -> None:
    # What a pull brings, and what is made of it once.
    (tmp_path / "minifasnet").symlink_to(weights("minifasnet").path.parent)
    settings = ModelSettings(directory=tmp_path, mirror=None)
    assert name_of(settings) == "prosopon-liveness"
    assert name_of(settings.model_copy(update={"overrides": {"liveness": "minifasnet"}})) == "minifasnet"


def test_minifasnet_is_missed_where_it_is_named_and_was_not_pulled(tmp_path: Path) -> None:
    settings = ModelSettings(directory=tmp_path, mirror=None, overrides={"liveness": "minifasnet"})
    assert not available(settings, "liveness")
    with pytest.raises(ModelUnavailable, match="prosopon models pull minifasnet"):
        name_of(settings)


def test_a_start_does_not_fetch_what_nobody_named(tmp_path: Path) -> None:
    said = StringIO()
    models = ModelSettings(directory=tmp_path / "models", mirror=None)
    settings = Settings(apis=("trueface",), models=models, state=StateSettings(home=tmp_path))
    pull_missing(settings, ("liveness",), Console(file=said))
    assert said.getvalue() == "" and not list(tmp_path.rglob("*.onnx"))
