"""Requests as two clients of CompreFace make them that cannot be run here: Double Take, and the .NET SDK."""

import base64
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.client import Client, new_client, part
from tests.paths import smiling
from tests.support.in_process import InProcess


@pytest.fixture
def client(faces_in_process: InProcess) -> Client:
    """With a face collection of its own."""
    return new_client(faces_in_process, "recognition", "detection", "verification")


def double_takes_reading(answer: dict[str, Any]) -> list[tuple[str, float, dict[str, int]]]:
    """What Double Take makes of an answer: name in lower case, confidence in percent, box. Code 28 is nobody."""
    if answer.get("code") == 28:
        return []
    read = []
    for face in answer["result"]:
        best = next(iter(face["subjects"]), {"subject": "unknown", "similarity": 0})
        box = face["box"]
        size = {"width": box["x_max"] - box["x_min"], "height": box["y_max"] - box["y_min"]}
        read.append((best["subject"].lower(), round(best["similarity"] * 100, 2), size))
    return read


def test_double_take_trains_recognises_and_forgets(client: Client, london: list[Path]) -> None:
    for picture in (london[0], smiling(london[0])):
        trained = client.post("/recognition/faces", params={"subject": "Ann"}, files={"file": part(picture)})
        assert trained.status_code == 201
    for asked in ({"det_prob_threshold": 0.8, "face_plugins": "undefined"}, {"det_prob_threshold": 0.8}):
        files = {"file": part(london[0])}
        ((name, confidence, size),) = double_takes_reading(
            client.post("/recognition/recognize", params=asked, files=files).json()
        )
        assert name == "ann" and confidence > 99 and min(size.values()) > 50
    assert client.delete("/recognition/faces", params={"subject": "ann"}).json() == {"deleted": 2}
    assert client.get("/recognition/subjects").json() == {"subjects": []}


def test_double_take_takes_a_picture_of_nobody_for_nobody(client: Client) -> None:
    from io import BytesIO

    from PIL import Image

    snapshot = BytesIO()
    Image.new("RGB", (640, 480), "gray").save(snapshot, "JPEG")
    files = {"file": ("latest.jpg", snapshot.getvalue())}
    answer = client.post("/recognition/recognize?det_prob_threshold=0.8&face_plugins=undefined", files=files)
    assert double_takes_reading(answer.json()) == []


DOT_NET: dict[str, Any] = {
    "limit": 0,
    "prediction_count": 1,
    "det_prob_threshold": "0.81",
    "face_plugins": "age,gender,mask,calculator",
    "status": "True",
}
"""A .NET boolean as text begins with a capital; an empty list of plugins becomes an empty parameter."""


def test_the_dot_net_sdk_manages_subjects(client: Client) -> None:
    assert client.post("/recognition/subjects", json={"subject": "Ann"}).status_code == 201
    assert client.get("/recognition/subjects/").json() == {"subjects": ["Ann"]}
    assert client.put("/recognition/subjects/Ann", json="Anna Belle").json() == {"updated": True}
    assert client.delete("/recognition/subjects/Anna%20Belle").json() == {"subject": "Anna Belle"}
    assert client.delete("/recognition/subjects").json() == {"deleted": 0}


def test_the_dot_net_sdk_recognises_by_file_and_by_base64(client: Client, london: list[Path]) -> None:
    text = base64.b64encode(london[0].read_bytes()).decode()
    asked = {"subject": "Ann", "det_prob_threshold": "0.81"}
    added = client.post("/recognition/faces", params=asked, json={"file": text})
    image_id = added.json()["image_id"]
    picture = smiling(london[0])
    for body in (
        {"files": {"file": part(picture)}},
        {"json": {"file": base64.b64encode(picture.read_bytes()).decode()}},
    ):
        answer = client.post("/recognition/recognize", params=DOT_NET, **body).json()
        (face,) = answer["result"]
        assert face["subjects"][0]["subject"] == "Ann" and {"age", "gender", "mask", "embedding"} <= set(face)
        assert "calculator" in answer["plugins_versions"]
        bare = {**DOT_NET, "face_plugins": "", "status": "False"}
        compared = client.post(f"/recognition/faces/{image_id}/verify", params=bare, **body).json()
        assert set(compared) == {"result"} and compared["result"][0]["subject"] == "Ann"
    listed = client.get("/recognition/faces?page=0&size=10&subject=Ann").json()
    assert [face["image_id"] for face in listed["faces"]] == [image_id]
    for path in (f"/static/{client.key}/images/{image_id}", f"/static/{client.key}//images//{image_id}"):
        assert client.get(path).content == london[0].read_bytes()
    gone = client.post("/recognition/faces/delete", json=[image_id]).json()
    assert gone == [{"image_id": image_id, "subject": "Ann"}]
