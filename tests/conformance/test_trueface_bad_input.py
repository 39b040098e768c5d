"""Trueface input that is wrong gets the documented status in the envelope, and changes nothing."""

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from prosopon.configs.settings import StateSettings
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.galleries.enrollments import gallery_of
from prosopon.deployments.state.schema import enrollments, faces
from tests.conformance.client import keys_of
from tests.conformance.trueface_client import (
    TruefaceClient,
    b64,
    client_of_other_scope,
    new_trueface_client,
    pictures,
)
from tests.paths import DATA, require
from tests.support.in_process import InProcess, Served

ROUTES = {
    "/spdetect": {"POST"},
    "/facedetect": {"POST"},
    "/enroll": {"POST", "PUT", "DELETE"},
    "/collection": {"POST", "PUT", "DELETE", "GET"},
    "/train": {"POST"},
    "/match": {"POST"},
    "/identify": {"POST"},
}
CALLS = [(method, path) for path, methods in ROUTES.items() for method in sorted(methods)]
TENANT = "bad-input"


@pytest.fixture(scope="module")
def server(faces_in_process: InProcess) -> InProcess:
    return faces_in_process


@pytest.fixture(scope="module")
def client(server: Served) -> TruefaceClient:
    return new_trueface_client(server, TENANT)


@pytest.fixture(scope="module")
def enrolled(client: TruefaceClient, london: list[Path]) -> str:
    return client.enroll(london[0])


@pytest.fixture(scope="module")
def collection(client: TruefaceClient, enrolled: str) -> str:
    return client.collection(enrolled)


@pytest.fixture(scope="module")
def faceless() -> Path:
    return require(DATA / "compreface_samples") / "017_0.jpg"


@pytest.fixture(scope="module")
def people(server: Served) -> Iterator[Callable[[], object]]:
    """Whom the tenant has enrolled, and with which faces: all that is on record of them."""
    records = Records(StateSettings(home=server.home).database)
    with records.write() as db:
        tenant = records.ensure_tenant(db, TENANT)
    gallery = gallery_of(records, tenant)
    recorded = [
        table.select().where(table.c.gallery_id == gallery).order_by(table.c.id)
        for table in (enrollments, faces)
    ]

    def read() -> object:
        with records.read() as db:
            return [db.execute(rows).all() for rows in recorded]

    yield read
    records.close()


@pytest.fixture(scope="module", autouse=True)
def still_matched(client: TruefaceClient, enrolled: str, london: list[Path]) -> Iterator[None]:
    def matched() -> object:
        return client.post("/match", {"img": b64(london[0]), "id": enrolled}).json()["data"]

    before = matched()
    yield
    assert matched() == before


@pytest.fixture(autouse=True)
def nothing_changed(
    client: TruefaceClient, enrolled: str, collection: str, people: Callable[[], object]
) -> Iterator[None]:
    def state() -> object:
        described = [
            {name: entry[name] for name in ("id", "name", "enrollments", "updated")}
            for entry in client.get("/collection").json()["data"]
        ]
        return people(), described

    before = state()
    yield
    assert state() == before


def expect(answer: httpx.Response, status: int, *words: str) -> None:
    body = answer.json()
    assert set(body) == {"data", "message", "success"}, answer.text
    assert (answer.status_code, body["data"], body["success"]) == (status, None, False), answer.text
    for word in words:
        assert word in body["message"], body["message"]


# --- keys


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_every_route_wants_a_key(client: TruefaceClient, method: str, path: str) -> None:
    expect(client.http.request(method, f"/v1{path}"), 401, "x-api-key")
    for key in ("", "nonsense", str(uuid.uuid4()), "é" * 8):
        answer = client.http.request(method, f"/v1{path}", headers={"x-api-key": key.encode()}, json={})
        expect(answer, 401, "x-api-key")


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_a_key_for_another_api_is_forbidden(server: Served, method: str, path: str) -> None:
    expect(client_of_other_scope(server).request(method, path, json={}), 403)


def test_a_revoked_key_stops_working_within_two_seconds(server: Served) -> None:
    revoked = new_trueface_client(server, TENANT)
    assert revoked.get("/collection").status_code == 200
    with keys_of(server.home) as keys:
        found = keys.find(revoked.key)
        assert found is not None
        keys.revoke(found.id)
    time.sleep(2.1)
    expect(revoked.get("/collection"), 401)


# --- methods, paths and media types


@pytest.mark.parametrize("path", ROUTES)
def test_other_methods_are_not_allowed(client: TruefaceClient, path: str) -> None:
    for method in {"GET", "POST", "PUT", "DELETE", "PATCH"} - ROUTES[path]:
        expect(client.request(method, path), 405)


@pytest.mark.parametrize("path", ["/nothing", "/enrol", "/collection/1"])
def test_other_paths_are_not_there(client: TruefaceClient, path: str) -> None:
    expect(client.get(path), 404)


@pytest.mark.parametrize(("method", "path"), [call for call in CALLS if call != ("GET", "/collection")])
@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "video/mp4", ""])
def test_another_content_type_is_not_acceptable(
    client: TruefaceClient, method: str, path: str, media_type: str
) -> None:
    headers = {"Content-Type": media_type}
    expect(client.request(method, path, content=b"{}", headers=headers), 406, "application/json")


@pytest.mark.parametrize("path", ["/enroll", "/match", "/identify"])
def test_raw_pictures_are_for_detection_alone(client: TruefaceClient, london: list[Path], path: str) -> None:
    expect(client.post_picture(path, london[0]), 406)


# --- bodies


@pytest.mark.parametrize(("method", "path"), [call for call in CALLS if call != ("GET", "/collection")])
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"1", b"null", b'"text"', b"\xff\xfe", b"{}"])
def test_bodies_that_are_not_what_is_documented(
    client: TruefaceClient, method: str, path: str, body: bytes
) -> None:
    headers = {"Content-Type": "application/json"}
    expect(client.request(method, path, content=body, headers=headers), 400)


@pytest.mark.parametrize("path", ["/spdetect", "/facedetect"])
@pytest.mark.parametrize("media_type", ["image/jpeg", "image/png"])
@pytest.mark.parametrize("body", [b"", b"nonsense", b"\xff\xd8\xff", b'{"img": ""}'])
def test_raw_bodies_that_are_no_images(
    client: TruefaceClient, path: str, media_type: str, body: bytes
) -> None:
    expect(client.request("POST", path, content=body, headers={"Content-Type": media_type}), 400)


@pytest.mark.parametrize("name", ["corrupted.png", "empty.png"])
def test_damaged_pictures(client: TruefaceClient, enrolled: str, name: str) -> None:
    picture = require(DATA / "malformed") / name
    expect(client.post_picture("/facedetect", picture, "image/png"), 400)
    expect(client.post("/facedetect", {"img": b64(picture)}), 400)
    expect(client.post("/enroll", pictures(picture)), 400, "img0")
    expect(client.post("/match", {"img": b64(picture), "id": enrolled}), 400, "img")


@pytest.mark.parametrize("value", ["", None, 1, True, ["a"], {}, "not base64!"])
@pytest.mark.parametrize("path", ["/spdetect", "/facedetect"])
def test_a_picture_field_that_is_no_picture(client: TruefaceClient, path: str, value: object) -> None:
    expect(client.post(path, {"img": value}), 400, "img")


def test_a_picture_that_is_too_large_is_named(client: TruefaceClient, london: list[Path]) -> None:
    padded = london[1].read_bytes() + bytes(5 * 1024 * 1024)
    expect(client.post("/enroll", pictures(london[1], padded)), 400, "img1", "bytes")
    headers = {"Content-Type": "image/jpeg"}
    expect(client.request("POST", "/facedetect", content=padded, headers=headers), 400, "bytes")


@pytest.mark.parametrize("value", ["maybe", "2"])
def test_rawlandmarks_is_true_or_false(client: TruefaceClient, london: list[Path], value: str) -> None:
    answer = client.post_picture("/facedetect", london[0], params={"rawlandmarks": value})
    expect(answer, 400, "rawlandmarks")


# --- enrolling


def test_a_picture_without_a_face_is_named_and_nobody_is_enrolled(
    client: TruefaceClient, london: list[Path], faceless: Path, enrolled: str
) -> None:
    shots = pictures(*london[1:4], faceless, london[4])
    expect(client.post("/enroll", shots), 400, "img3", "face")
    expect(client.put("/enroll", {**shots, "enrollment_id": enrolled}), 400, "img3", "face")
    expect(client.post("/match", {"img": b64(faceless), "id": enrolled}), 400, "img", "face")
    expect(client.post("/spdetect", {"img": b64(faceless)}), 400, "img", "face")


def test_eleven_pictures_and_none(client: TruefaceClient, london: list[Path], enrolled: str) -> None:
    expect(client.post("/enroll", pictures(*london[:11])), 400, "11", "10")
    expect(client.put("/enroll", {**pictures(*london[:11]), "enrollment_id": enrolled}), 400, "11")
    expect(client.post("/enroll", {"name": "Nobody"}), 400, "img0")
    expect(client.put("/enroll", {"enrollment_id": enrolled}), 400, "img0")


@pytest.mark.parametrize("name", ["", "  ", "a\0b", "x" * 513, 7, ["Ann"]])
def test_names_that_cannot_be_stored(client: TruefaceClient, london: list[Path], name: object) -> None:
    expect(client.post("/enroll", {**pictures(london[1]), "name": name}), 400, "name")
    expect(client.post("/collection", {"name": name}), 400, "name")


@pytest.mark.parametrize("unknowns", ["perhaps", 2, [], {}])
def test_unknowns_is_true_or_false(client: TruefaceClient, unknowns: object) -> None:
    expect(client.post("/collection", {"name": "Home", "unknowns": unknowns}), 400, "unknowns")


@pytest.mark.parametrize("threshold", [-0.1, 1.1, "1.5", "high", "nan", True, [], {}])
def test_thresholds_outside_of_similarities(
    client: TruefaceClient, london: list[Path], enrolled: str, threshold: object
) -> None:
    asked = {"img": b64(london[0]), "id": enrolled, "threshold": threshold}
    expect(client.post("/match", asked), 400, "threshold")


# --- ids


Calls = list[Callable[[], httpx.Response]]


def uses_of_an_enrollment(client: TruefaceClient, london: list[Path], own: str, one: str) -> Calls:
    return [
        lambda: client.put("/enroll", {**pictures(london[1]), "enrollment_id": one}),
        lambda: client.delete("/enroll", {"enrollment_id": one}),
        lambda: client.put("/collection", {"enrollment_id": one, "collection_id": own}),
        lambda: client.post("/match", {"img": b64(london[0]), "id": one}),
    ]


def uses_of_a_collection(client: TruefaceClient, london: list[Path], own: str, one: str) -> Calls:
    return [
        lambda: client.post("/enroll", {**pictures(london[1]), "collection_id": one}),
        lambda: client.put("/collection", {"enrollment_id": own, "collection_id": one}),
        lambda: client.delete("/collection", {"collection_id": one}),
        lambda: client.post("/train", {"collection_id": one}),
        lambda: client.identify(london[0], one),
    ]


@pytest.mark.parametrize("one", ["", "nonsense", "1", str(uuid.UUID(int=7)), "é\0/../x"])
def test_ids_that_nothing_has(
    client: TruefaceClient, london: list[Path], enrolled: str, collection: str, one: str
) -> None:
    for use in uses_of_an_enrollment(client, london, collection, one):
        expect(use(), 404, "enrollment")
    for use in uses_of_a_collection(client, london, enrolled, one):
        expect(use(), 404, "collection")


@pytest.mark.parametrize("one", [7, None, ["a"]])
def test_ids_that_are_not_text(
    client: TruefaceClient, london: list[Path], enrolled: str, collection: str, one: object
) -> None:
    expect(client.delete("/enroll", {"enrollment_id": one}), 400, "enrollment_id")
    expect(client.delete("/collection", {"collection_id": one}), 400, "collection_id")
    expect(client.post("/match", {"img": b64(london[0]), "id": one}), 400, "id")


def test_what_was_deleted_is_not_there(
    client: TruefaceClient, london: list[Path], enrolled: str, collection: str
) -> None:
    gone, empty = client.enroll(london[2]), client.collection(name="Short-lived")
    assert client.delete("/enroll", {"enrollment_id": gone}).status_code == 200
    assert client.delete("/collection", {"collection_id": empty}).status_code == 200
    for use in uses_of_an_enrollment(client, london, collection, gone):
        expect(use(), 404, gone)
    for use in uses_of_a_collection(client, london, enrolled, empty):
        expect(use(), 404, empty)


def test_another_tenants_people_and_collections_are_not_there(
    server: Served, london: list[Path], enrolled: str, collection: str
) -> None:
    other = new_trueface_client(server, tenant=f"other-{uuid.uuid4()}")
    own_person, own_collection = other.enroll(london[1]), other.collection()
    for use in uses_of_an_enrollment(other, london, own_collection, enrolled):
        expect(use(), 404, enrolled)
    for use in uses_of_a_collection(other, london, own_person, collection):
        expect(use(), 404, collection)
    assert [entry["id"] for entry in other.get("/collection").json()["data"]] == [own_collection]
    assert other.described(own_collection)["enrollments"] == []


def test_keys_of_one_tenant_share_its_people(server: Served, london: list[Path], enrolled: str) -> None:
    colleague = new_trueface_client(server, TENANT)
    answer = colleague.post("/match", {"img": b64(london[0]), "id": enrolled})
    assert answer.json()["data"]["emb0_match"] is True


def test_a_collection_without_a_classifier_says_what_to_do(
    client: TruefaceClient, london: list[Path]
) -> None:
    empty = client.collection(name="Empty")
    try:
        expect(client.identify(london[0], empty), 400, "PUT /v1/collection", "POST /v1/train")
        expect(client.post("/train", {"collection_id": empty}), 400, "PUT /v1/collection")
    finally:
        client.delete("/collection", {"collection_id": empty})
