"""What Trueface's clients send beyond its document, and what its document spells in two ways."""

import base64
import uuid
from pathlib import Path

import pytest

from tests.conformance.test_trueface_documented import data_of
from tests.conformance.trueface_client import TruefaceClient, b64, new_trueface_client, pictures
from tests.paths import smiling
from tests.support.in_process import InProcess


@pytest.fixture
def client(faces_in_process: InProcess) -> TruefaceClient:
    """With a tenant of its own."""
    return new_trueface_client(faces_in_process, tenant=f"tenant-{uuid.uuid4()}")


def test_the_other_spelling_of_a_collections_id(client: TruefaceClient, london: list[Path]) -> None:
    collection = client.collection()
    for fields in (
        ("POST", "/enroll", {**pictures(london[0]), "collection_id_": collection}),
        ("PUT", "/collection", {"enrollment_id": client.enroll(london[1]), "collection_id_": collection}),
        ("POST", "/train", {"collection_id_": collection}),
    ):
        method, path, body = fields
        assert client.request(method, path, json=body).status_code == 200, path
    assert len(client.described(collection)["enrollments"]) == 2
    unknown = client.request("POST", "/train", json={"collection_id_": str(uuid.uuid4())})
    assert unknown.status_code == 404
    deleted = client.delete("/collection", {"collection_id_": collection})
    assert data_of(deleted, None) == f"Entity {collection} has been deleted"


def test_a_threshold_may_be_text_or_nothing(client: TruefaceClient, london: list[Path]) -> None:
    asked = {"img": b64(london[0]), "id": client.enroll(smiling(london[0]))}
    plain = data_of(client.post("/match", asked), "face processed successfully")
    score = plain["emb0_score"]
    for threshold in (None, "", "0.5"):
        answer = client.post("/match", {**asked, "threshold": threshold})
        assert data_of(answer, "face processed successfully") == plain
    for threshold, matches in ((f"{score - 0.001:.4f}", True), (f"{min(1, score + 0.001):.4f}", False)):
        answer = client.post("/match", {**asked, "threshold": threshold})
        assert data_of(answer, "face processed successfully")["emb0_match"] is matches


@pytest.mark.parametrize(
    ("given", "meant"),
    [("true", True), ("True", True), (1, True), ("false", False), ("", False), (None, False), (0, False)],
)
def test_unknowns_may_be_text_or_nothing(client: TruefaceClient, given: object, meant: bool) -> None:
    created = client.post("/collection", {"name": "Home", "unknowns": given})
    collection = data_of(created, "collection created successfully")["collection_id"]
    assert client.described(collection)["unknown"] is meant


@pytest.mark.parametrize("media_type", ["image/jpg", "IMAGE/JPEG", "image/jpeg; charset=binary"])
def test_other_names_of_jpeg(client: TruefaceClient, london: list[Path], media_type: str) -> None:
    answer = client.post_picture("/facedetect", london[0], media_type)
    assert len(data_of(answer, "face processed successfully")["faces"]) == 1


def test_base64_in_either_alphabet_and_without_padding(client: TruefaceClient, london: list[Path]) -> None:
    expected = client.post("/facedetect", {"img": b64(london[0])}).json()
    padded = london[0].read_bytes()
    while len(padded) % 3 != 1:  # so that there is something to leave out
        padded += b"\0"
    safe = base64.urlsafe_b64encode(padded).decode()
    assert safe.endswith("==") and set("-_") & set(safe)
    for text in (safe, safe.rstrip("="), base64.b64encode(padded).decode().rstrip("=")):
        assert client.post("/facedetect", {"img": text}).json() == expected
        assert client.post("/facedetect", {"img": f"data:image/jpeg;base64,{text}"}).json() == expected


@pytest.mark.parametrize("query", ["rawlandmarks", "rawlandmark", "rawlandmarks=", "rawlandmarks=1"])
def test_a_bare_rawlandmarks(client: TruefaceClient, london: list[Path], query: str) -> None:
    answer = client.post_picture(f"/facedetect?{query}", london[0])
    (face,) = data_of(answer, "face processed successfully")["faces"]
    assert len(face["raw_landmarks"]) == 68


def test_slashes_at_the_end(client: TruefaceClient, london: list[Path]) -> None:
    assert client.post("/enroll/", pictures(london[0])).status_code == 200
    assert data_of(client.get("/collection/"), None) == []


def test_two_people_in_one_profile_are_told(client: TruefaceClient, london: list[Path]) -> None:
    done = "enrollment processed successfully"
    same = client.post("/enroll", pictures(london[0], smiling(london[0])))
    enrollment = data_of(same, done)["enrollment_id"]
    two = client.post("/enroll", pictures(london[0], smiling(london[0]), london[1]))
    assert two.status_code == 200 and two.json()["success"] is True
    assert two.json()["message"].startswith(f"{done}; warning: img2 and img")
    assert "different people" in two.json()["message"]
    added = client.put("/enroll", {**pictures(london[1]), "enrollment_id": enrollment})
    assert added.json()["message"].startswith("enrollment updated successfully; warning: img0 and ")
    matched = client.post("/match", {"img": b64(london[1]), "id": enrollment})
    assert len(data_of(matched, "face processed successfully")) == 6, "it was added all the same"
