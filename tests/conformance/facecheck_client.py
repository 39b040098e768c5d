"""A FaceCheck client as thin as can be, and an index to search."""

import base64
import io
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from prosopon.configs.settings import StateSettings
from prosopon.deployments.state.blobs import Blob
from prosopon.deployments.state.galleries.face_archive import ArchivedFace, archive_gallery
from prosopon.deployments.state.galleries.faces import NewFace
from prosopon.deployments.state.galleries.store import GalleryStore
from prosopon.deployments.state.keys import Key
from prosopon.models.pictures.crops import cut
from prosopon.models.pictures.thumbnails import MEDIA_TYPE, THUMBNAIL, encode_thumbnail
from tests.benchmarks.embeddings import detector, embed, embedder, portraits
from tests.conformance.client import keys_of
from tests.weights import default_embedder

UNLIMITED = 2**31 - 1


@dataclass
class FaceCheckClient:
    """Speaks with one token."""

    http: httpx.Client
    token: str

    def call(self, path: str, **options: Any) -> httpx.Response:
        headers = {"Authorization": self.token, **options.pop("headers", {})}
        return self.http.post(f"/api/{path}", headers=headers, **options)

    def upload(self, *pictures: Path | bytes, search: str | None = None) -> dict[str, Any]:
        return answer(self.call("upload_pic", files=files(*pictures), data=form(search)))

    def search(self, search: str, **options: Any) -> dict[str, Any]:
        return answer(self.call("search", json={"id_search": search, **options}))

    def delete(self, search: str, picture: str) -> dict[str, Any]:
        return answer(self.call("delete_pic", params={"id_search": search, "id_pic": picture}))

    def info(self) -> dict[str, Any]:
        return answer(self.call("info"))


def answer(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    return document


def files(*pictures: Path | bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [
        (
            "images",
            ("face.jpg", picture) if isinstance(picture, bytes) else (picture.name, picture.read_bytes()),
        )
        for picture in pictures
    ]


def form(search: str | None) -> dict[str, str]:
    return {} if search is None else {"id_search": search}


def webp(uri: str) -> Image.Image:
    """The picture of a data URI, which must be webp."""
    head, _, data = uri.partition(",")
    assert head == "data:image/webp;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert picture.format == "WEBP"
    return picture


def new_token(home: Path, credits: int | None = None, tenant: str = "default") -> tuple[Key, str]:
    """A key made as `prosopon keys create` makes it."""
    with keys_of(home) as keys:
        return keys.create("test", ["facecheck"], tenant=tenant, credits=credits)


def balance(home: Path, key: Key) -> int | None:
    with keys_of(home) as keys:
        return keys.balance(key.id)


def fill_archive(home: Path, pictures: Sequence[tuple[Path, ArchivedFace]]) -> None:
    """Write the pictures' biggest faces into the index of a server that is not running."""
    model = embedder(default_embedder())
    found = list(portraits([path for path, _ in pictures], detector()))
    assert len(found) == len(pictures)
    store = GalleryStore(StateSettings(home=home), model.fingerprint, model.dim)
    try:
        gallery = archive_gallery(store.records)
        faces = []
        for (_, face), (_, picture, detected), embedding in zip(
            pictures, found, embed(found, model), strict=True
        ):
            chip = cut(picture, detected.boxes[0], detected.landmarks[0], THUMBNAIL).pixels
            thumbnail = Blob(encode_thumbnail(chip), MEDIA_TYPE)
            extra = face.to_json()
            faces.append(NewFace(gallery, face.subject, uuid.uuid4(), embedding, thumbnail, extra))
        store.add_faces(faces)
    finally:
        store.close()
