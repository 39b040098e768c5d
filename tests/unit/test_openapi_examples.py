"""What the five OpenAPI documents say can be done, done: everything is described, and a request of every route made of
the document's examples alone is answered as the document says. Pictures, and the ids of what is there, are put in."""

import base64
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest

from prosopon.configs.settings import Api
from tests.conformance.client import new_key
from tests.support.in_process import InProcess, in_process

APIS = get_args(Api)
_OTHER_SERVERS = ("uri",)
"""Formats of fields that name what lies outside: such a field is left out, or a file is sent in its place."""
Schema = dict[str, Any]
Known = Mapping[str, Any]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, models_mirror: None) -> Iterator[InProcess]:
    args = {"apis": list(APIS), "generation": {"inversion_seconds": 1, "inversion_steps": 2}}
    with in_process(tmp_path_factory.mktemp("documents"), args) as served:
        yield served


@pytest.fixture(scope="module")
def documents(running: InProcess) -> dict[str, Schema]:
    with running.connect() as client:
        return {api: client.get(f"/openapi/{api}.json").json() for api in APIS}


@dataclass
class Caller:
    """Of one API, with its key. picture: one face."""

    http: httpx.Client
    key: str
    picture: bytes

    def post(self, path: str, **options: Any) -> Any:
        answer = self.http.post(path, **options)
        assert answer.is_success, answer.text
        return answer.json() if "json" in answer.headers["content-type"] else answer.text

    @property
    def base64(self) -> str:
        return base64.b64encode(self.picture).decode()


# What must be there for a route to answer: the values that stand for the document's examples of ids, by their names.


def compreface(caller: Caller) -> Known:
    file = {"file": ("ann.jpg", caller.picture)}
    example = caller.post("/api/v1/recognition/faces?subject=Ann", files=file)["image_id"]
    detect = "/api/v1/detection/detect?face_plugins=calculator"
    embedding = caller.post(detect, files=file)["result"][0]["embedding"]
    ids = {"image_id": example, "body": [example], "api_key": caller.key}
    return {**ids, "embeddings": [embedding], "source": embedding, "targets": [embedding]}


def trueface(caller: Caller) -> Known:
    member = caller.post("/v1/enroll", json={"img0": caller.base64, "name": "Ann"})["data"]["enrollment_id"]
    collection = caller.post("/v1/collection", json={"name": "Colleagues"})["data"]["collection_id"]
    ids = {"enrollment_id": member, "collection_id": collection}
    caller.http.put("/v1/collection", json=ids).raise_for_status()
    caller.post("/v1/train", json=ids)
    deadline = time.monotonic() + 30
    while not _trained(caller, collection):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return {**ids, "id": member}


def _trained(caller: Caller, collection: str) -> bool:
    collections = caller.http.get("/v1/collection").json()["data"]
    return any(one["id"] == collection and one["classifier_url"] for one in collections)


def facecheck(caller: Caller) -> Known:
    uploaded = caller.post("/api/upload_pic", files={"images": ("ann.jpg", caller.picture)})
    return {"id_search": uploaded["id_search"], "id_pic": uploaded["input"][0]["id_pic"], "id_captcha": None}


def checkface(caller: Caller) -> Known:
    latent = [0.1] * 512
    guid = caller.post("/api/registerlatent/", json={"latent": latent})
    return {"guid": guid, "from_guid": guid, "to_guid": guid, "latent": latent}


def aifaceswap(caller: Caller) -> Known:
    files = dict.fromkeys(("source_image", "face_image"), ("ann.jpg", caller.picture))
    task = caller.post("/api/aifaceswap/v1/faceswap", files=files)["data"]["task_id"]
    while caller.http.get(f"/api/aifaceswap/v1/task/{task}").json()["data"]["success"] is None:
        time.sleep(0.05)
    return {"task_id": task}


PREPARE: dict[str, Callable[[Caller], Known]] = {
    "compreface": compreface,
    "trueface": trueface,
    "facecheck": facecheck,
    "checkface": checkface,
    "aifaceswap": aifaceswap,
}
HEADERS: dict[str, Callable[[str], dict[str, str]]] = {
    "compreface": lambda key: {"x-api-key": key},
    "trueface": lambda key: {"x-api-key": key},
    "facecheck": lambda key: {"Authorization": key},
    "checkface": lambda key: {},
    "aifaceswap": lambda key: {"Authorization": f"Bearer {key}"},
}


def operations(document: Schema) -> Iterator[tuple[str, str, Schema]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def resolved(document: Schema, schema: Schema) -> Schema:
    name = schema.get("$ref", "").rpartition("/")[2]
    return document["components"]["schemas"][name] if name else schema


def bodies(document: Schema, operation: Schema) -> dict[str, Schema]:
    """Schema by content type."""
    content = operation.get("requestBody", {}).get("content", {})
    return {kind: resolved(document, media["schema"]) for kind, media in content.items()}


@pytest.mark.parametrize("api", APIS)
def test_every_route_parameter_field_and_refusal_is_described(documents: dict[str, Schema], api: str) -> None:
    document, silent = documents[api], []
    for method, path, operation in operations(document):
        named = {"route": operation}
        named |= {one["name"]: one for one in operation.get("parameters", [])}
        for schema in bodies(document, operation).values():
            named |= schema.get("properties", {})
        silent += [f"{method} {path} {name}" for name, told in named.items() if not told.get("description")]
        for status, answer in operation["responses"].items():
            standard = httpx.codes.get_reason_phrase(int(status))
            if int(status) >= 400 and answer["description"] in ("", standard):
                silent.append(f"{method} {path} {status}")
    assert silent == []


@pytest.mark.parametrize("api", APIS)
def test_the_examples_of_every_route_are_answered_as_documented(
    running: InProcess, documents: dict[str, Schema], london: list[Path], api: str
) -> None:
    key = new_key(running, "recognition", "detection", "verification", "trueface", "facecheck", "aifaceswap")
    with running.connect() as client:
        client.headers.update(HEADERS[api](key))
        caller = Caller(client, key, london[0].read_bytes())
        document, sent, known = documents[api], 0, None
        for method, path, operation in operations(document):
            for kind, body in (bodies(document, operation) or {"": {}}).items():
                known = known or PREPARE[api](caller)
                options = _body(kind, body, known, caller)
                if options is None:
                    continue
                given = operation.get("parameters", [])
                values = {
                    one["name"]: known.get(one["name"], one["schema"].get("examples", [None])[0])
                    for one in given
                }
                query = {one["name"]: values[one["name"]] for one in given if one["in"] == "query"}
                answer = client.request(method, path.format(**values), params=query, **options)
                assert answer.is_success, (method, path, kind, query, answer.text)
                documented = operation["responses"][str(answer.status_code)].get("content", {})
                media = answer.headers["content-type"].partition(";")[0]
                assert {media, f"{media.partition('/')[0]}/*"} & set(documented), (method, path, media)
                sent += 1
                if method in ("PUT", "DELETE") or "delete" in path:
                    known = None  # It may be gone, or have another name.
        assert sent >= len(list(operations(document)))


def _body(kind: str, schema: Schema, known: Known, caller: Caller) -> dict[str, Any] | None:
    """Options of a request, or None where the body names another server's pictures."""
    if not kind:
        return {}
    if kind.startswith("image/"):
        return {"content": caller.picture, "headers": {"Content-Type": "image/jpeg"}}
    if "properties" not in schema:
        return {"json": known["body"]}
    texts: dict[str, Any] = {}
    files: list[tuple[str, tuple[str, bytes]]] = []
    for name, field in schema["properties"].items():
        inner = field.get("items", field)
        if inner.get("format") == "binary":
            files.append((name, ("ann.jpg", caller.picture)))
        elif inner.get("format") == "byte":
            texts[name] = caller.base64
        elif inner.get("format") in _OTHER_SERVERS:
            if name in schema.get("required", ()):
                return None
        else:
            texts[name] = known[name] if name in known else field["examples"][0]
    if kind != "multipart/form-data":
        return {"json": texts}
    return {"data": {name: str(value) for name, value in texts.items()}, "files": files}
