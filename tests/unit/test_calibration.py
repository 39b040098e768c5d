"""Distances to similarities."""

import json
import shutil
from functools import partial
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from typer.testing import CliRunner

from prosopon.configs.settings import ModelSettings
from prosopon.models.matching.calibration import (
    ANCHORS,
    NotCalibrated,
    SimilarityCurve,
    fit,
    keep,
    kept,
    load_similarity,
    packaged,
)
from prosopon.models.matching.vectors import normalize
from prosopon.pipelines.cli import app
from tests.benchmarks.embeddings import embedder
from tests.paths import DATA, require
from tests.weights import default_embedder, model_settings, weights

RETAIL = "face-reidentification-retail-0095"

CURVE = SimilarityCurve(c0=0.8, c1=5.0)


def test_the_curve_is_the_contracts() -> None:
    distance = np.array([0.0, 0.3, 0.8, 2.0], np.float32)
    expected = (np.tanh((0.8 - distance) * 5.0) + 1) / 2
    np.testing.assert_allclose(CURVE.similarity(distance), expected, rtol=1e-6)
    assert CURVE.similarity(np.float32(0.8)) == 0.5


def test_similarity_falls_with_distance_and_stays_between_0_and_1() -> None:
    for curve in (CURVE, *(SimilarityCurve(entry["c0"], entry["c1"]) for entry in packaged().values())):
        similarity = curve.similarity(np.linspace(0, 2, 400, dtype=np.float32))
        assert (np.diff(similarity) <= 0).all() and similarity.min() >= 0 and similarity.max() <= 1


@pytest.mark.parametrize("similarity", [0.01, 0.3, 0.5, 0.9, 0.99])
def test_the_inverse(similarity: float) -> None:
    distance = np.array([CURVE.distance(similarity)])
    assert CURVE.similarity(distance)[0] == pytest.approx(similarity, abs=1e-6)


def test_the_inverse_beyond_what_a_distance_can_give() -> None:
    assert CURVE.distance(0.0) == np.inf and CURVE.distance(1.0) == -np.inf


def test_the_nearest_of_many_is_as_rare_as_the_distance_that_stands_for_it() -> None:
    """Pairs of two people as the tail of the curve has them, drawn: the nearest of `count` against one pair alone."""
    (_, often), (_, seldom) = ANCHORS[0], ANCHORS[-1]
    start, end = (CURVE.distance(similarity) for similarity, _ in (ANCHORS[0], ANCHORS[-1]))
    deviation = (start - end) / (NormalDist().inv_cdf(often) - NormalDist().inv_cdf(seldom))
    strangers = NormalDist(start - deviation * NormalDist().inv_cdf(often), deviation)
    nearest = np.random.default_rng(0).normal(strangers.mean, deviation, (50_000, 20)).min(axis=1)
    for share in (0.003, 0.02, 0.1, 0.5):
        stands_for = CURVE.among(np.array([np.quantile(nearest, share)]), 20)[0]
        assert strangers.cdf(stands_for) == pytest.approx(share, rel=0.1)


def test_among_many_every_distance_is_taken_for_a_greater_one() -> None:
    distances = np.linspace(0, 2, 200)
    np.testing.assert_allclose(CURVE.among(distances, 1), distances, atol=1e-6)
    before = distances
    for count in (2, 10, 1000):
        found = CURVE.among(distances, count)
        assert np.isfinite(found).all() and (np.diff(found) >= 0).all()
        assert (found >= before).all() and (found[:20] > before[:20]).all()
        before = found


def test_inner_products_give_the_same() -> None:
    a, b = normalize(np.random.default_rng(0).normal(size=(2, 50, 128)).astype(np.float32))
    by_distance = CURVE.similarity(np.linalg.norm(a - b, axis=1))
    np.testing.assert_allclose(CURVE.of_inner_products((a * b).sum(axis=1)), by_distance, atol=1e-5)
    assert np.isfinite(CURVE.of_inner_products(np.array([1.0000001], np.float32))).all()


def test_a_fit_goes_through_what_the_form_can_go_through() -> None:
    """Distances that are a straight line in the logarithm of the rate of `ANCHORS`: three points, two unknowns."""
    curve = SimilarityCurve(c0=1.1, c1=7.0)
    wanted = [curve.distance(similarity) for similarity, _ in ANCHORS]
    shares = np.array([1e-4, 1e-3, 1e-2, 1.0])
    impostors = np.interp(np.linspace(0, 1, 1_000_001), [0, *shares], [0, *wanted[::-1], 1.6])
    found = fit(impostors.astype(np.float32))
    assert (found.c0, found.c1) == pytest.approx((1.1, 7.0), rel=1e-3)


def test_a_fit_comes_near_to_what_clients_expect_of_their_thresholds() -> None:
    impostors = np.random.default_rng(0).normal(1.3, 0.07, 2_000_000).astype(np.float32)
    curve = fit(impostors)
    for similarity, rate in ANCHORS:
        assert 0.5 * rate < np.mean(curve.similarity(impostors) >= similarity) < 2 * rate
    assert curve.mean == pytest.approx(1.3, abs=1e-3)


def test_embeddings_that_tell_nobody_apart_have_no_curve() -> None:
    with pytest.raises(ValueError, match="apart"):
        fit(np.ones(1000, np.float32))


def test_every_embedder_of_the_project_is_calibrated_for_the_weights_that_were_measured(
    tmp_path: Path,
) -> None:
    models = ModelSettings(directory=tmp_path, mirror=None)
    names = {fingerprint.rsplit("-", 2)[0] for fingerprint in packaged()}
    assert names >= {"dlib-resnet29", "face-reidentification-retail-0095", "retail-0095-even", "arcface"}
    for fingerprint in packaged():
        curve = load_similarity(models, fingerprint)
        assert curve.mean is not None and 0 < curve.c0 < curve.mean < 1.5
    for unknown in ("arcface-0000000000000000-1", "unheard-of"):
        with pytest.raises(NotCalibrated, match=f"{unknown}.*prosopon calibrate"):
            load_similarity(models, unknown)


def test_another_release_of_the_same_network_has_the_same_similarity(tmp_path: Path) -> None:
    models = ModelSettings(directory=tmp_path, mirror=None)
    known = next(name for name in packaged() if name.startswith(RETAIL) and name.endswith("-2"))
    assert load_similarity(models, f"{RETAIL}-0123456789abcdef-2") == load_similarity(models, known)
    with pytest.raises(NotCalibrated):
        load_similarity(models, f"{RETAIL}-0123456789abcdef-3")


def test_what_this_machine_has_measured_comes_first(tmp_path: Path) -> None:
    models, fingerprint = ModelSettings(directory=tmp_path, mirror=None), "arcface-0000000000000000-1"
    keep(kept(models, fingerprint), {"c0": 1.2, "c1": 5.0})
    assert load_similarity(models, fingerprint) == SimilarityCurve(1.2, 5.0), (
        "without a mean: an earlier release's"
    )


def test_the_command_fits_says_how_groups_fare_and_is_what_is_served(tmp_path: Path) -> None:
    folder = tmp_path / "strangers"
    folder.mkdir()
    for portrait in sorted(require(DATA / "london").glob("*_neutral.jpg"))[:12]:
        shutil.copy(portrait, folder)
    config = tmp_path / "config.yaml"
    args = {"state": {"home": str(tmp_path / "home")}, "models": {"directory": str(tmp_path / "store")}}
    (tmp_path / "store").mkdir()
    for name in ("centerface", default_embedder()):
        files = weights(name).path.parent
        (tmp_path / "store" / files.name).symlink_to(files)
    config.write_text(json.dumps({"applications": [{"args": args}]}))
    run = partial(CliRunner().invoke, app, env={"COLUMNS": "200"})
    done = run(["calibrate", "--strangers", str(folder), "--config", str(config)])
    assert done.exit_code == 0, done.output
    fingerprint = embedder(default_embedder()).fingerprint
    assert fingerprint in done.output and "66" in done.output, "pairs of twelve people"
    models = ModelSettings(directory=tmp_path / "store", mirror=None)
    assert load_similarity(models, fingerprint) != load_similarity(model_settings(), fingerprint)
    taken = run(["calibrate", "--like", next(iter(packaged())), "--config", str(config)])
    assert taken.exit_code == 0 and "nothing was measured" in taken.output
    assert load_similarity(models, fingerprint) == load_similarity(models, next(iter(packaged())))
    assert run(["calibrate", "--config", str(config)]).exit_code == 2
