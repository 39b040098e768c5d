"""The vector index on a Milvus server: milvus-lite's gRPC server mode stands for it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest

from prosopon.configs.settings import StateSettings, VectorIndexSettings
from prosopon.deployments.state.blobs import Blob
from prosopon.deployments.state.errors import FingerprintMismatch
from prosopon.deployments.state.galleries.store import FaceRecord, GalleryStore, NewFace, Query
from prosopon.deployments.state.keys import KeyStore
from prosopon.deployments.state.vectors.index import ServerIndex
from prosopon.models.faces.detections import Float32
from prosopon.models.matching.vectors import normalize
from tests.benchmarks.elasticity import Observer, crowd, failed, reached
from tests.benchmarks.serving import serving
from tests.conformance.client import Client, part
from tests.integration.processes import milvus

DIM = 32
SCALING: dict[str, Any] = {
    "apis": ["compreface"],
    "deployments": {
        **{role: {"num_cpus": 0.05} for role in ("landmarks", "age", "gender", "mask", "liveness")},
        "face_index": {
            "num_cpus": 0.05, "max_replicas": 2, "target_ongoing_requests": 0.001,
            "upscale_seconds": 1, "downscale_seconds": 4,
        },
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with milvus(tmp_path_factory.mktemp("milvus")) as running:
        yield running


def open_store(uri: str, home: Path, fingerprint: str = "model-1", dim: int = DIM) -> GalleryStore:
    return GalleryStore(StateSettings(home=home, vectors_uri=uri), fingerprint, dim)


def people(count: int, faces: int, dim: int = DIM) -> Float32:
    """``(count, faces, dim)``: faces close to their person's centre."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((count, 1, dim))
    return (centres + 0.3 * rng.standard_normal((count, faces, dim))).astype(np.float32)


def test_replicas_share_a_server_and_agree(uri: str, tmp_path: Path) -> None:
    one = open_store(uri, tmp_path)
    two = open_store(uri, tmp_path)
    keys = KeyStore(one.records)
    gallery, other = keys.create("a")[0].gallery, keys.create("b")[0].gallery
    embeddings = people(40, 10)
    new = [
        NewFace(gallery, f"s{person}", uuid4(), embedding, Blob(b"x"))
        for person, faces in enumerate(embeddings)
        for embedding in faces
    ]
    added = one.add_faces(new)
    assert all(isinstance(result, FaceRecord) for result in added)
    (elsewhere,) = two.search([Query(other, new[0].embedding, 5)])
    assert elsewhere == []

    probes = people(40, 10)[:, 0] + 0.05
    results = two.search([Query(gallery, probe, 7) for probe in probes])
    unit = np.stack([face.embedding / np.linalg.norm(face.embedding) for face in new]).reshape(40, 10, DIM)
    for probe, matches in zip(probes, results, strict=True):
        assert not isinstance(matches, Exception)
        distances = np.linalg.norm(unit - probe / np.linalg.norm(probe), axis=-1).min(axis=1)
        nearest = np.argsort(distances)[:7]
        assert [match.subject for match in matches] == [f"s{person}" for person in nearest]
        assert [match.distance for match in matches] == pytest.approx(distances[nearest].tolist(), abs=1e-5)

    two.rename_subject(gallery, "s0", "s1")
    (matches,) = one.search([Query(gallery, new[0].embedding, 1)])
    assert [match.subject for match in matches] == ["s1"]  # type: ignore[union-attr]
    assert two.delete_subject(gallery, "s1").faces == 20
    (matches,) = one.search([Query(gallery, new[0].embedding, 100)])
    assert len(matches) == 38  # type: ignore[arg-type]
    assert "s1" not in {match.subject for match in matches}  # type: ignore[union-attr]
    (faces,) = one.search([Query(gallery, new[100].embedding, 3, "face")])
    assert faces[0].image_id == new[100].image_id  # type: ignore[union-attr]

    (faces,) = one.search([Query(gallery, new[100].embedding, 3, "face", first=50)])
    assert {face.image_id for face in faces} <= {face.image_id for face in new[20:70]}  # type: ignore[union-attr]

    one._index.delete(np.array([added[50].id, added[51].id]))  # type: ignore[union-attr]
    one._index.upsert(np.array([999_999]), np.array([gallery]), unit[0, :1])
    one.close()
    two.close()
    repaired = open_store(uri, tmp_path)
    assert (repaired.repaired.faces, repaired.repaired.added, repaired.repaired.removed) == (380, 2, 1)
    (matches,) = repaired.search([Query(gallery, new[50].embedding, 1)])
    assert matches[0].image_id == new[50].image_id  # type: ignore[union-attr]
    assert len(repaired._index.ids()) == 380
    repaired.close()


def test_the_index_is_of_the_kind_that_the_settings_name(uri: str, tmp_path: Path) -> None:
    home, gallery = tmp_path, 0
    embeddings = people(30, 4, 24).reshape(-1, 24)
    for kind in ("HNSW", "IVF_SQ8", "HNSW_SQ"):
        index = VectorIndexSettings.model_validate(
            {"kind": kind, "build": {"nlist": 8} if "IVF" in kind else {}}
        )
        settings = StateSettings(home=home, vectors_uri=uri, vector_index=index)
        store = GalleryStore(settings, "model-5", 24)
        assert isinstance(store._index, ServerIndex)
        assert store._index._kind() == kind
        if not gallery:
            gallery = KeyStore(store.records).create("a")[0].gallery
            store.add_faces(
                [NewFace(gallery, str(i), uuid4(), embedding) for i, embedding in enumerate(embeddings)]
            )
        assert (store.repaired.added, store.repaired.removed) == (0, 0)
        for number in (0, 17, 119):
            (matches,) = store.search([Query(gallery, embeddings[number], 4, "face")])
            assert not isinstance(matches, Exception)
            nearest = np.argsort(-(normalize(embeddings) @ normalize(embeddings[number])))[:4]
            assert [int(match.subject) for match in matches] == nearest.tolist()
        store.close()


def test_embedders_have_collections_of_their_own(uri: str, tmp_path: Path) -> None:
    store = open_store(uri, tmp_path, "model-3", 8)
    gallery = KeyStore(store.records).create("a")[0].gallery
    store.add_faces([NewFace(gallery, "a", uuid4(), np.ones(8, np.float32))])
    store.close()
    store = open_store(uri, tmp_path, "model-4", 12)
    (refused,) = store.search([Query(gallery, np.ones(12, np.float32), 1)])
    assert isinstance(refused, FingerprintMismatch)
    store.close()


# The last: the Lite server, unlike a real one, ends a connection that only pings for a minute, as this process' does
# meanwhile.
@pytest.mark.slow
def test_the_replicas_of_the_face_index_follow_the_load(
    uri: str, models_mirror: None, london: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROSOPON_VECTORS_URI", uri)
    with serving(SCALING) as server, Observer(server.home) as observer:
        people = london[:3]
        client = Client(httpx.Client(base_url=server.url, timeout=60), server.key)
        for number, picture in enumerate(people):
            client.enrol(f"person {number}", picture)

        async def come_and_go() -> None:
            async with crowd(server, pause=0.2) as clients:  # The cores are for the replica that starts.
                await clients.resize(4)
                loaded, _ = await reached(observer, lambda now: now["FaceIndex"] == 2, 120)
                await asyncio.sleep(2)
            idle, _ = await reached(observer, lambda now: now["FaceIndex"] == 1, 60)
            assert (loaded["FaceIndex"], idle["FaceIndex"]) == (2, 1)
            assert clients.asked and not failed(clients.asked)

        asyncio.run(come_and_go())
        for number, picture in enumerate(people):
            (face,) = client.post("/recognition/recognize", files={"file": part(picture)}).json()["result"]
            assert face["subjects"][0]["subject"] == f"person {number}"
