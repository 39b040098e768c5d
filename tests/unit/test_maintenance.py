"""Rebuilding the index and the embeddings: resumable, and complete when it says so."""

from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from rich.console import Console

from prosopon.configs.settings import Settings, StateSettings
from prosopon.deployments.state.blobs import Blob
from prosopon.deployments.state.errors import EmbedderNotInService, FingerprintMismatch, StateError
from prosopon.deployments.state.galleries.store import FaceRecord, GalleryStore, NewFace, Query
from prosopon.deployments.state.keys import KeyStore
from prosopon.deployments.state.maintenance import reembed, reindex
from prosopon.models.faces.detections import Float32
from prosopon.models.load import load_detector, load_embedder
from prosopon.models.matching.vectors import normalize
from prosopon.models.runtime.session import Compute
from prosopon.models.weights.pins import settle
from prosopon.models.weights.pull import pull_missing
from prosopon.pipelines.commands.reembed import embed_biggest_faces
from tests.paths import DATA, require
from tests.weights import model_settings


def fill(
    settings: StateSettings, fingerprint: str, dim: int, images: list[bytes | None]
) -> tuple[int, list[FaceRecord]]:
    store, rng = GalleryStore(settings, fingerprint, dim), np.random.default_rng(0)
    gallery = KeyStore(store.records).create("test")[0].gallery
    records = store.add_faces(
        [
            NewFace(
                gallery,
                f"s{i}",
                uuid4(),
                rng.standard_normal(dim).astype("f4"),
                Blob(image) if image else None,
            )
            for i, image in enumerate(images)
        ]
    )
    store.close()
    assert all(isinstance(record, FaceRecord) for record in records)
    return gallery, records  # type: ignore[return-value]


def numbers(images: list[bytes]) -> list[Float32 | None]:
    """Stands for an embedder: the image's seed gives the embedding, an empty seed no face."""
    return [
        np.random.default_rng(int(image)).standard_normal(8).astype(np.float32) if image != b"-" else None
        for image in images
    ]


def test_reindex_makes_a_lost_index_again(tmp_path: Path) -> None:
    settings = StateSettings(home=tmp_path)
    fill(settings, "model-1", 16, [b"%d" % i for i in range(30)])
    seen: list[tuple[int, int]] = []
    assert reindex(settings, lambda done, total: seen.append((done, total))) == 30
    assert seen[-1] == (30, 30)
    store = GalleryStore(settings, "model-1", 16)
    assert (store.repaired.added, store.repaired.removed) == (0, 0)
    store.close()


def test_reindex_refuses_to_work_beside_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = StateSettings(home=tmp_path)
    fill(settings, "model-1", 16, [b"1"])
    store = GalleryStore(settings, "model-1", 16)
    monkeypatch.setattr("prosopon.deployments.state.vectors.index._LOCK_SECONDS", 0.2)
    with pytest.raises(StateError, match="in use"):
        reindex(settings, lambda done, total: None)
    store.close()


def test_reembedding_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    settings = StateSettings(home=tmp_path)
    images: list[bytes | None] = [b"%d" % i for i in range(50)]
    gallery, records = fill(settings, "model-1", 16, images)

    def stopped(done: int, total: int) -> None:
        if done >= 24:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reembed(settings, "model-2", 8, numbers, stopped, batch=8)
    store = GalleryStore(settings, "model-2", 8)
    (refused,) = store.search([Query(gallery, np.ones(8, np.float32), 1)])
    assert isinstance(refused, FingerprintMismatch)
    store.close()

    result = reembed(settings, "model-2", 8, numbers, lambda done, total: None, batch=8)
    assert (result.faces, result.lost) == (26, [])
    store = GalleryStore(settings, "model-2", 8)
    assert (store.repaired.faces, store.repaired.added, store.repaired.removed) == (50, 0, 0)
    for i, record in enumerate(records):
        (probe,) = numbers([b"%d" % i])
        assert probe is not None
        (matches,) = store.search([Query(gallery, probe, 1)])
        assert not isinstance(matches, Exception)
        assert (matches[0].image_id, matches[0].subject) == (record.image_id, f"s{i}")
        assert matches[0].distance == pytest.approx(0, abs=1e-6)
    store.close()


def test_a_store_that_is_open_is_reembedded_through_itself(tmp_path: Path) -> None:
    settings = StateSettings(home=tmp_path)
    gallery, records = fill(settings, "model-1", 16, [b"%d" % i for i in range(20)])
    store = GalleryStore(settings, "model-2", 8)
    probe = Query(gallery, numbers([b"3"])[0], 1)  # type: ignore[arg-type]
    refused: list[bool] = []

    def look(done: int, total: int) -> None:
        refused.append(isinstance(store.search([probe])[0], FingerprintMismatch))

    result = reembed(settings, "model-2", 8, numbers, look, batch=8, galleries=store)
    assert (result.faces, refused) == (20, [True, True, False])
    (matches,) = store.search([probe])
    assert not isinstance(matches, Exception) and matches[0].image_id == records[3].image_id
    with pytest.raises(EmbedderNotInService, match="start it again"):
        store.replace_embeddings("model-3", [records[0].id], np.ones((1, 8), np.float32))
    store.close()


def test_faces_that_cannot_be_embedded_again_are_named_and_not_searched(tmp_path: Path) -> None:
    settings = StateSettings(home=tmp_path)
    gallery, records = fill(settings, "model-1", 16, [b"1", None, b"-", b"2"])
    result = reembed(settings, "model-2", 8, numbers, lambda done, total: None)
    assert result.lost == [records[1].id, records[2].id]
    store = GalleryStore(settings, "model-2", 8)
    (matches,) = store.search([Query(gallery, np.ones(8, np.float32), 9)])
    assert {match.subject for match in matches} == {"s0", "s3"}  # type: ignore[union-attr]
    assert store.list_faces(gallery).total == 4
    assert store.delete_all_faces(gallery) == 4
    store.close()


def test_stored_pictures_give_embeddings_that_tell_people_apart(tmp_path: Path) -> None:
    folder = require(DATA / "compreface_samples")
    settings = Settings(apis=("facecheck",), models=model_settings(), state=StateSettings(home=tmp_path))
    pull_missing(settings, ("detector", "embedder"), Console(stderr=True))
    settings = settle(settings)
    detector = load_detector(settings.models, settings.detection, Compute())
    embedder = load_embedder(settings.models, Compute())
    names = ("001_A.jpg", "002_A.jpg", "003_A.jpg", "007_B.jpg", "008_B.jpg")
    images = [(folder / name).read_bytes() for name in names]
    *found, nothing = embed_biggest_faces([*images, b"no picture"], detector, embedder, settings)
    assert nothing is None
    unit = normalize(np.stack([embedding for embedding in found if embedding is not None]))
    assert unit.shape == (5, embedder.dim)
    distances = np.linalg.norm(unit[:, None] - unit[None], axis=-1)
    same = [distances[0, 1], distances[0, 2], distances[1, 2], distances[3, 4]]
    assert max(same) < distances[:3, 3:].min()
