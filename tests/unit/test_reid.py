"""Embeddings of networks in other formats than ours, on real faces."""

import csv
from pathlib import Path

import numpy as np
import pytest

from prosopon.models.faces.face_embedding import FaceEmbedding
from prosopon.models.faces.mobilefacenet import MobileFaceNet
from prosopon.models.faces.retail_reidentification import EvenRetail, RetailReidentification, Shared
from prosopon.models.matching.vectors import normalize
from prosopon.models.roles import FaceEmbedder
from prosopon.models.runtime.session import Compute
from tests.faces import chip_of
from tests.paths import DATA, require, smiling
from tests.weights import weights


@pytest.fixture(
    scope="module",
    params=["face-reidentification-retail-0095", "retail-0095-even", "prosopon-embedding", "mobilefacenet"],
)
def embedder(request: pytest.FixtureRequest) -> FaceEmbedder:
    network = {
        "face-reidentification-retail-0095": RetailReidentification,
        "retail-0095-even": EvenRetail,
        "prosopon-embedding": FaceEmbedding,
        "mobilefacenet": MobileFaceNet,
    }[request.param]
    made: FaceEmbedder = network(*weights(request.param).paths, Compute())
    return made


def test_a_smile_does_not_change_who_it_is(embedder: FaceEmbedder) -> None:
    folder = require(DATA / "london")
    people = sorted(folder.glob("*_neutral.jpg"))[:30]
    neutral = np.stack([chip_of(path, embedder.crop) for path in people])
    smiles = np.stack([chip_of(smiling(path), embedder.crop) for path in people])
    gallery, probes = (embedder.embed(chips) for chips in (neutral, smiles))
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    probes /= np.linalg.norm(probes, axis=1, keepdims=True)
    cosine = probes @ gallery.T
    assert (cosine.argmax(axis=1) == np.arange(30)).mean() >= 0.96
    assert np.diag(cosine).mean() > 0.7
    assert cosine[~np.eye(30, dtype=bool)].mean() < 0.3


def test_a_batch_gives_what_single_chips_give(embedder: FaceEmbedder) -> None:
    chips = np.random.default_rng(0).integers(
        0, 256, (3, embedder.crop.size, embedder.crop.size, 3), dtype=np.uint8
    )
    together = embedder.embed(chips)
    assert together.shape == (3, embedder.dim) and together.dtype == np.float32
    for i in range(3):
        np.testing.assert_allclose(embedder.embed(chips[i : i + 1])[0], together[i], atol=1e-4)
    assert embedder.embed(chips[:0]).shape == (0, embedder.dim)


def test_what_strangers_share_is_taken_out() -> None:
    # By hand: (0.6, 0.8, 0) less the mean (0, 0, 0.5) is (0.6, 0.8, -0.5); without the second axis (0.6, 0, -0.5).
    shared = Shared.of(np.array([0, 0, 0.5], np.float32), np.array([[0, 1, 0]], np.float32))
    found = shared.remove(np.array([[0.6, 0.8, 0.0]], np.float32))
    np.testing.assert_allclose(found, [[0.6 / 0.61**0.5, 0, -0.5 / 0.61**0.5]], rtol=1e-6)


def test_a_map_is_kept_and_what_was_kept_as_directions_is_read(tmp_path: Path) -> None:
    shared = Shared(np.array([0.5, 0], np.float32), np.array([[2, 0.25], [0, 1]], np.float32))
    shared.save(tmp_path / "map.npz")
    # By hand: (1, 0.5) less the mean is (0.5, 0.5), times the matrix (1, 0.625).
    found = Shared.load(tmp_path / "map.npz").remove(np.array([[1, 0.5]], np.float32))
    np.testing.assert_allclose(found, [[1 / 1.390625**0.5, 0.625 / 1.390625**0.5]], rtol=1e-6)
    np.savez(tmp_path / "older.npz", mean=np.zeros(2, np.float16), directions=np.array([[0, 1]], np.float16))
    found = Shared.load(tmp_path / "older.npz").remove(np.array([[-3, 7]], np.float32))
    np.testing.assert_allclose(found, [[-1, 0]], atol=1e-6)


def test_two_women_of_one_race_are_not_nearer_than_strangers_at_large() -> None:
    """FairFace's labels say who; 40 of them, of whom nobody was in the learning."""
    folder = require(DATA / "fairface")
    with (folder / "labels.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["race"] == "East Asian"]
    network = EvenRetail(*weights("retail-0095-even").paths, Compute())
    women = [folder / row["file"] for row in rows if row["gender"] == "Female"][:40]
    chips = np.stack([chip_of(path, network.crop) for path in women])
    apart = ~np.eye(len(women), dtype=bool)
    alone, served = normalize(network.raw(chips)), network.embed(chips)
    np.testing.assert_allclose(np.linalg.norm(served, axis=1), 1, atol=1e-5)
    assert (alone @ alone.T)[apart].mean() > 0.1
    assert abs((served @ served.T)[apart].mean()) < 0.03
