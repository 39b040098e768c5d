"""A CompreFace client as thin as can be: paths, keys, answers."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from prosopon.configs.settings import StateSettings
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.keys import KeyStore, Scope
from tests.support.in_process import Served


@dataclass
class Client:
    """Speaks with one key."""

    http: httpx.Client
    key: str

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"x-api-key": self.key, **options.pop("headers", {})}
        return self.http.request(method, f"/api/v1{path}", headers=headers, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)

    def put(self, path: str, **options: Any) -> httpx.Response:
        return self.request("PUT", path, **options)

    def delete(self, path: str, **options: Any) -> httpx.Response:
        return self.request("DELETE", path, **options)

    def enrol(self, subject: str, picture: Path) -> str:
        """The new example's image_id."""
        answer = self.post("/recognition/faces", params={"subject": subject}, files={"file": part(picture)})
        assert answer.status_code == 201, answer.text
        image_id: str = answer.json()["image_id"]
        return image_id


def part(picture: Path) -> tuple[str, bytes]:
    return picture.name, picture.read_bytes()


@contextmanager
def keys_of(home: Path) -> Iterator[KeyStore]:
    """The keys of a server, by its state."""
    with closing(Records(StateSettings(home=home).database)) as records:
        yield KeyStore(records)


def new_key(server: Served, *scopes: Scope, credits: int | None = None, tenant: str = "default") -> str:
    """A key of its own gallery, made as `prosopon keys create` makes it."""
    with keys_of(server.home) as keys:
        return keys.create("test", scopes, tenant=tenant, credits=credits)[1]


def new_client(server: Served, *scopes: Scope) -> Client:
    return Client(server.connect(), new_key(server, *scopes))
