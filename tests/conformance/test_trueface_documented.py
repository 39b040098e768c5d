"""Trueface's documented examples: the same request gets the same shape of answer, field for field."""

import json
import re
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.conformance.trueface_client import (
    TruefaceClient,
    b64,
    new_trueface_client,
    pictures,
)
from tests.paths import DATA, require, smiling
from tests.support.in_process import InProcess


@pytest.fixture
def client(faces_in_process: InProcess) -> TruefaceClient:
    """With a tenant of its own."""
    return new_trueface_client(faces_in_process, tenant=f"tenant-{uuid.uuid4()}")


def data_of(answer: httpx.Response, message: str | None) -> Any:
    """What a successful answer carries, its envelope checked."""
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert set(body) == {"data", "message", "success"}
    assert body["success"] is True and body["message"] == message
    return body["data"]


# --- spoof detection


def check_spoof(data: dict[str, Any], kind: str) -> None:
    assert set(data) == {"class", "key", "score", "success"}
    assert data["class"] == kind and data["success"] is True
    assert isinstance(data["key"], str) and data["key"]
    assert 0.5 <= data["score"] <= 1


@pytest.mark.parametrize(("name", "kind"), [("image_T1.jpg", "real"), ("image_F1.jpg", "fake")])
@pytest.mark.parametrize("form", ["raw", "json"])
def test_spoof_detection(client: TruefaceClient, name: str, kind: str, form: str) -> None:
    picture = require(DATA / "minivision") / name
    if form == "raw":
        answer = client.post_picture("/spdetect", picture)
    else:
        answer = client.post("/spdetect", {"img": b64(picture)})
    check_spoof(data_of(answer, "data processed successfully"), kind)
    assert answer.headers["X-Liveness-Model"] == "prosopon-liveness"


def test_a_face_without_surroundings_is_checked_with_a_warning(client: TruefaceClient) -> None:
    body = client.post_picture("/spdetect", require(DATA / "fairface") / "100.jpg").json()
    assert set(body["data"]) == {"class", "key", "score", "success"} and body["success"] is True
    assert body["message"].startswith(
        "data processed successfully; warning: the picture ends close to the face"
    )


def test_every_spoof_check_has_a_key_of_its_own(client: TruefaceClient, london: list[Path]) -> None:
    keys = {
        data_of(client.post_picture("/spdetect", london[0]), "data processed successfully")["key"]
        for _ in range(2)
    }
    assert len(keys) == 2


# --- face detection


def check_face(face: dict[str, Any], *extra: str) -> None:
    assert set(face) == {"bounding_box", "points", *extra}
    x1, y1, x2, y2, confidence = face["bounding_box"]
    assert all(isinstance(value, float) for value in face["bounding_box"])
    assert x1 < x2 and y1 < y2 and 0.5 <= confidence <= 1
    assert len(face["points"]) == 10 and all(isinstance(value, int) for value in face["points"])
    left_eye, right_eye, nose, left_mouth, right_mouth = zip(
        face["points"][:5], face["points"][5:], strict=True
    )
    for x, y in (left_eye, right_eye, nose, left_mouth, right_mouth):
        assert x1 <= x <= x2 and y1 <= y <= y2
    assert left_eye[0] < nose[0] < right_eye[0] and left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


@pytest.mark.parametrize("form", ["jpeg", "png", "json"])
def test_face_detection(client: TruefaceClient, london: list[Path], tmp_path: Path, form: str) -> None:
    if form == "png":
        from PIL import Image

        png = tmp_path / "face.png"
        Image.open(london[0]).save(png)
        answer = client.post_picture("/facedetect", png, "image/png")
    elif form == "jpeg":
        answer = client.post_picture("/facedetect", london[0])
    else:
        answer = client.post("/facedetect", {"img": b64(london[0])})
    data = data_of(answer, "face processed successfully")
    assert set(data) == {"faces"}
    (face,) = data["faces"]
    check_face(face)


@pytest.mark.parametrize("spelling", ["rawlandmarks", "rawlandmark"])
def test_raw_landmarks_in_either_spelling(client: TruefaceClient, london: list[Path], spelling: str) -> None:
    answer = client.post_picture("/facedetect", london[0], params={spelling: "true"})
    (face,) = data_of(answer, "face processed successfully")["faces"]
    check_face(face, "raw_landmarks")
    dense = np.array(face["raw_landmarks"])
    assert dense.shape == (68, 2)
    # The iBUG order: 36-41 and 42-47 are the eyes, 30 the nose's tip, 48 and 54 the corners of the mouth.
    five = np.array([dense[36:42].mean(axis=0), dense[42:48].mean(axis=0), dense[30], dense[48], dense[54]])
    points = np.array(face["points"]).reshape(2, 5).T
    between_eyes = np.linalg.norm(points[0] - points[1])
    assert np.linalg.norm(five - points, axis=1).mean() / between_eyes < 0.1
    without = client.post_picture("/facedetect", london[0], params={spelling: "false"})
    assert "raw_landmarks" not in data_of(without, "face processed successfully")["faces"][0]


def test_every_face_of_a_group_picture_is_found(client: TruefaceClient, group_picture: Path) -> None:
    answer = client.post_picture("/facedetect", group_picture)
    faces = data_of(answer, "face processed successfully")["faces"]
    assert len(faces) == 6
    for face in faces:
        check_face(face)


def test_no_face_is_an_empty_list(client: TruefaceClient) -> None:
    answer = client.post_picture("/facedetect", require(DATA / "compreface_samples") / "017_0.jpg")
    assert data_of(answer, "face processed successfully") == {"faces": []}


# --- enrollment


def test_enroll_with_five_pictures_and_a_name(client: TruefaceClient, london: list[Path]) -> None:
    shots = [london[0], smiling(london[0])] * 2 + [london[0]]
    answer = client.post("/enroll", {**pictures(*shots), "name": "John Doe"})
    data = data_of(answer, "enrollment processed successfully")
    assert set(data) == {"enrollment_id"} and isinstance(data["enrollment_id"], str)
    matched = client.post("/match", {"img": b64(london[0]), "id": data["enrollment_id"]})
    scores = data_of(matched, "face processed successfully")
    assert scores["emb3_match"] is True and len(scores) == 10


def test_the_documented_python_client_sends_json_as_text(client: TruefaceClient, london: list[Path]) -> None:
    body = json.dumps({"img0": b64(london[0]), "name": "John Doe"})
    headers = {"Content-Type": "application/json"}
    answer = client.request("POST", "/enroll", content=body, headers=headers)
    data_of(answer, "enrollment processed successfully")


def test_update_an_enrollment(client: TruefaceClient, london: list[Path]) -> None:
    enrollment = client.enroll(london[0])
    answer = client.put("/enroll", {"enrollment_id": enrollment, "img0": b64(smiling(london[0]))})
    assert data_of(answer, "enrollment updated successfully") == {"enrollment_id": enrollment}
    matched = client.post("/match", {"img": b64(smiling(london[0])), "id": enrollment})
    scores = data_of(matched, "face processed successfully")
    assert set(scores) == {"emb0_match", "emb0_score", "emb1_match", "emb1_score"}
    assert scores["emb1_score"] > 0.99


def test_delete_an_enrollment(client: TruefaceClient, london: list[Path]) -> None:
    enrollment = client.enroll(london[0])
    answer = client.delete("/enroll", {"enrollment_id": enrollment})
    assert data_of(answer, None) == f"Enrollment {enrollment} has been deleted"
    assert client.post("/match", {"img": b64(london[0]), "id": enrollment}).status_code == 404


# --- match


def test_match_gives_a_score_for_every_embedding(client: TruefaceClient, london: list[Path]) -> None:
    enrollment = client.enroll(london[0], smiling(london[0]), london[1])
    answer = client.post("/match", {"img": b64(london[0]), "id": enrollment})
    data = data_of(answer, "face processed successfully")
    assert set(data) == {f"emb{n}_{field}" for n in range(3) for field in ("match", "score")}
    assert [data[f"emb{n}_match"] for n in range(3)] == [True, True, False]
    assert all(0 <= data[f"emb{n}_score"] <= 1 for n in range(3))
    assert data["emb0_score"] > 0.99 and data["emb0_score"] > data["emb1_score"] > 0.5 > data["emb2_score"]


def test_the_threshold_decides_what_is_a_match(client: TruefaceClient, london: list[Path]) -> None:
    enrollment = client.enroll(smiling(london[0]))
    asked = {"img": b64(london[0]), "id": enrollment}
    score = data_of(client.post("/match", asked), "face processed successfully")["emb0_score"]
    for threshold, matches in ((score - 0.001, True), (min(1.0, score + 0.001), False), (0, True)):
        answer = client.post("/match", {**asked, "threshold": threshold})
        assert data_of(answer, "face processed successfully")["emb0_match"] is matches


def test_any_face_of_the_picture_may_match(
    client: TruefaceClient, london: list[Path], tmp_path: Path
) -> None:
    from PIL import Image

    enrollment = client.enroll(smiling(london[1]))
    large, small = Image.open(london[0]), Image.open(london[1])
    both = Image.new("RGB", (large.width + small.width // 2, large.height), "white")
    both.paste(large, (0, 0))
    both.paste(small.resize((small.width // 2, small.height // 2)), (large.width, 0))
    both.save(tmp_path / "both.png")
    answer = client.post("/match", {"img": b64(tmp_path / "both.png"), "id": enrollment})
    assert data_of(answer, "face processed successfully")["emb0_match"] is True


# --- collections


def test_create_update_and_delete_a_collection(client: TruefaceClient, london: list[Path]) -> None:
    created = data_of(client.post("/collection", {"name": "Home"}), "collection created successfully")
    assert set(created) == {"collection_id"} and isinstance(created["collection_id"], str)
    collection, enrollment = created["collection_id"], client.enroll(london[0])
    asked = {"enrollment_id": enrollment, "collection_id": collection}
    updated = client.put("/collection", asked)
    assert data_of(updated, "collection updated successfully") == {"collection_id": collection}
    deleted = client.delete("/collection", {"collection_id": collection})
    assert data_of(deleted, None) == f"Entity {collection} has been deleted"
    assert data_of(client.get("/collection"), None) == []
    matched = client.post("/match", {"img": b64(london[0]), "id": enrollment})
    assert matched.status_code == 200, "enrollments outlive their collections"


def test_train_a_collection(client: TruefaceClient, london: list[Path]) -> None:
    collection = client.collection(client.enroll(london[0]))
    answer = client.post("/train", {"collection_id": collection})
    assert data_of(answer, "retraining the classifier") == {"collection_id": collection}


def test_list_collections(client: TruefaceClient, london: list[Path]) -> None:
    members = [client.enroll(london[0]), client.enroll(london[1])]
    collection = client.collection(*members, unknowns=True)
    client.collection(name="Office")
    answer = client.get("/collection", headers={"Content-Type": "application/json"})
    home, office = data_of(answer, None)
    assert set(home) == {
        "classifier_url",
        "created",
        "enrollments",
        "id",
        "label_encoder",
        "name",
        "owner",
        "unknown",
        "updated",
    }
    assert home["id"] == collection and home["name"] == "Home" and home["unknown"] is True
    assert home["enrollments"] == members
    assert (office["name"], office["unknown"], office["enrollments"]) == ("Office", False, [])
    assert (office["classifier_url"], office["label_encoder"]) == ("", "")
    for name in ("classifier_url", "label_encoder", "owner"):
        assert isinstance(home[name], str)
    for name in ("created", "updated"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}", home[name])
    assert datetime.fromisoformat(home["created"]) <= datetime.fromisoformat(home["updated"])


# --- identification


@pytest.mark.parametrize("unknowns", [False, True])
def test_enroll_into_a_collection_train_and_identify(
    client: TruefaceClient, london: list[Path], unknowns: bool
) -> None:
    collection = client.collection(unknowns=unknowns)
    people = {client.enroll(london[n], name=f"Person {n}", collection_id=collection): n for n in range(6)}
    nameless = client.enroll(london[6], collection_id=collection)
    client.post("/train", {"collection_id": collection})
    client.wait_for_classifier(collection)
    wait_until_identified(client, smiling(london[6]), collection, nameless)
    for enrollment, n in people.items():
        data = data_of(client.identify(smiling(london[n]), collection), "identify processed successfully")
        assert set(data) == {"name", "key", "confidence"}
        assert (data["name"], data["key"]) == (f"Person {n}", enrollment)
        assert 0.5 <= data["confidence"] <= 1
    data = data_of(client.identify(smiling(london[6]), collection), "identify processed successfully")
    assert (data["name"], data["key"]) == (None, nameless)
    # One pair of strangers in a hundred reaches 0.5: these are like nobody who is enrolled.
    for stranger in london[20:24]:
        answer = client.identify(stranger, collection)
        data = data_of(answer, "the person is unknown")
        assert (data["name"], data["key"]) == (None, None)
        assert 0 <= data["confidence"] < 0.5


def wait_until_identified(client: TruefaceClient, picture: Path, collection: str, key: str) -> None:
    """Until the classifier knows who was enrolled last, within the 30 seconds that are promised."""
    serving = ""
    for _ in range(20):
        if client.identify(picture, collection).json()["data"]["key"] == key:
            return
        serving = client.wait_for_classifier(collection, other_than=serving)
    raise AssertionError("the last one enrolled is not known")


def test_the_classifier_follows_its_collection(client: TruefaceClient, london: list[Path]) -> None:
    first = client.enroll(london[0])
    collection = client.collection(first)
    serving = client.wait_for_classifier(collection)
    assert data_of(client.identify(london[1], collection), "the person is unknown")["key"] is None
    second = client.enroll(london[1])
    client.put("/collection", {"enrollment_id": second, "collection_id": collection})
    serving = client.wait_for_classifier(collection, other_than=serving)
    found = data_of(client.identify(london[1], collection), "identify processed successfully")
    assert found["key"] == second


def test_a_deleted_enrollment_leaves_every_collection_at_once(
    client: TruefaceClient, london: list[Path]
) -> None:
    gone, stays = client.enroll(london[0]), client.enroll(london[1])
    collections = [client.collection(gone, stays, name=name) for name in ("a", "b")]
    for collection in collections:
        client.wait_for_classifier(collection)
        wait_until_identified(client, london[1], collection, stays)
    client.delete("/enroll", {"enrollment_id": gone})
    for collection in collections:
        assert client.described(collection)["enrollments"] == [stays]
        assert client.identify(london[0], collection).json()["data"]["key"] is None


def test_openapi_describes_every_route(client: TruefaceClient) -> None:
    document = client.http.get("/openapi/trueface.json").json()
    assert {path: set(methods) for path, methods in document["paths"].items()} == {
        "/v1/spdetect": {"post"},
        "/v1/facedetect": {"post"},
        "/v1/enroll": {"post", "put", "delete"},
        "/v1/collection": {"post", "put", "delete", "get"},
        "/v1/train": {"post"},
        "/v1/match": {"post"},
        "/v1/identify": {"post"},
    }
