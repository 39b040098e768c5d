"""A Trueface client as thin as can be: the documented calls, by key."""

import base64
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.conformance.client import new_key
from tests.support.in_process import Served

RETRAINED_SECONDS = 30
"""What the documentation allows a classifier to lag behind its collection."""


@dataclass
class TruefaceClient:
    """Speaks with one key."""

    http: httpx.Client
    key: str

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"x-api-key": self.key, **options.pop("headers", {})}
        return self.http.request(method, f"/v1{path}", headers=headers, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        return self.request("POST", path, json=body, **options)

    def put(self, path: str, body: Any) -> httpx.Response:
        return self.request("PUT", path, json=body)

    def delete(self, path: str, body: Any) -> httpx.Response:
        return self.request("DELETE", path, json=body)

    def post_picture(
        self, path: str, picture: Path, media_type: str = "image/jpeg", **options: Any
    ) -> httpx.Response:
        headers = {"Content-Type": media_type}
        return self.request("POST", path, content=picture.read_bytes(), headers=headers, **options)

    def enroll(self, *shots: Path, **fields: Any) -> str:
        """The new enrollment's id."""
        answer = self.post("/enroll", {**pictures(*shots), **fields})
        assert answer.status_code == 200, answer.text
        enrollment: str = answer.json()["data"]["enrollment_id"]
        return enrollment

    def collection(self, *members: str, name: str = "Home", **fields: Any) -> str:
        """The new collection's id."""
        answer = self.post("/collection", {"name": name, **fields})
        assert answer.status_code == 200, answer.text
        collection: str = answer.json()["data"]["collection_id"]
        for member in members:
            added = self.put("/collection", {"enrollment_id": member, "collection_id": collection})
            assert added.status_code == 200, added.text
        return collection

    def described(self, collection: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = self.get("/collection").json()["data"]
        return next(entry for entry in found if entry["id"] == collection)

    def identify(self, picture: Path, collection: str) -> httpx.Response:
        return self.post("/identify", {"img": b64(picture), "collection_id": collection})

    def wait_for_classifier(self, collection: str, other_than: str = "") -> str:
        """Until the collection has a classifier, or another one, as the documentation promises."""
        deadline = time.monotonic() + RETRAINED_SECONDS
        while time.monotonic() < deadline:
            serving: str = self.described(collection)["classifier_url"]
            if serving not in ("", other_than):
                return serving
            time.sleep(0.2)
        raise AssertionError(f"no new classifier within {RETRAINED_SECONDS} s")


def b64(picture: Path | bytes) -> str:
    data = picture if isinstance(picture, bytes) else picture.read_bytes()
    return base64.b64encode(data).decode()


def pictures(*shots: Path | bytes) -> dict[str, str]:
    return {f"img{number}": b64(shot) for number, shot in enumerate(shots)}


def new_trueface_client(server: Served, tenant: str = "default") -> TruefaceClient:
    secret = new_key(server, "trueface", tenant=tenant)
    return TruefaceClient(server.connect(), secret)


def client_of_other_scope(server: Served) -> TruefaceClient:
    return TruefaceClient(server.connect(), new_key(server, "detection"))
