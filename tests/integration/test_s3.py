"""Blobs in an S3 bucket: moto's server stands for it."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import boto3
import numpy as np
import pytest
from moto.server import ThreadedMotoServer

from prosopon.configs.settings import StateSettings
from prosopon.deployments.state.blobs import Blob
from prosopon.deployments.state.errors import BlobCorrupt, BlobMissing
from prosopon.deployments.state.galleries.store import GalleryStore, NewFace
from prosopon.deployments.state.keys import KeyStore


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    yield url
    server.stop()


def test_images_live_and_die_in_a_bucket(endpoint: str, tmp_path: Path) -> None:
    s3 = boto3.client("s3", endpoint_url=endpoint)
    s3.create_bucket(Bucket="faces")
    settings = StateSettings(home=tmp_path, blobs_url="s3://faces/prosopon")
    store = GalleryStore(settings, "model-1", 8)
    gallery = KeyStore(store.records).create("test")[0].gallery
    rng = np.random.default_rng(0)
    new = [
        NewFace(
            gallery, f"s{i}", uuid4(), rng.standard_normal(8).astype("f4"), Blob(b"%d" % (i % 6), "image/png")
        )
        for i in range(12)
    ]
    added = store.add_faces(new)
    assert not any(isinstance(result, Exception) for result in added)
    listed = s3.list_objects_v2(Bucket="faces")["Contents"]
    assert {entry["Key"].rsplit("/", 1)[-1] for entry in listed} == {Blob(b"%d" % i).sha256 for i in range(6)}
    assert all(entry["Key"].startswith("prosopon/") for entry in listed)
    assert store.image(gallery, new[1].image_id) == Blob(b"1", "image/png")

    assert store.delete_faces(gallery, [new[1].image_id]) != []
    assert store.image(gallery, new[7].image_id) == Blob(b"1", "image/png")
    store.delete_faces(gallery, [new[7].image_id])
    with pytest.raises(BlobMissing):
        store.blobs.read(Blob(b"1").sha256)

    key = next(entry["Key"] for entry in listed if entry["Key"].endswith(Blob(b"2").sha256))
    s3.put_object(Bucket="faces", Key=key, Body=b"another picture")
    with pytest.raises(BlobCorrupt):
        store.image(gallery, new[2].image_id)

    staged = Blob(b"a crash follows")
    store.blobs.stage({staged.sha256: staged})
    store.close()
    store = GalleryStore(settings, "model-1", 8)
    assert staged.sha256 not in store.blobs.files()
    assert store.delete_all_subjects(gallery) == 10
    assert "Contents" not in s3.list_objects_v2(Bucket="faces")
    store.close()
