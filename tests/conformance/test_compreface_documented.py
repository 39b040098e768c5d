"""CompreFace's documented examples: the same request gets the same shape of answer, field for field."""

import base64
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.client import Client, new_client, part
from tests.paths import smiling
from tests.support.in_process import InProcess

ALL = ("recognition", "detection", "verification")
PLUGINS = "age,gender,landmarks,calculator,pose"


@pytest.fixture
def client(faces_in_process: InProcess) -> Client:
    return new_client(faces_in_process, *ALL)


def check_face(face: dict[str, Any], *extra: str, status: bool = True) -> None:
    """The fields that the documentation shows of a face, with their types and ranges."""
    expected = {"box", "age", "gender", "landmarks", "embedding", "pose", *extra}
    assert set(face) == expected | ({"execution_time"} if status else set())
    box = face["box"]
    assert set(box) == {"probability", "x_max", "y_max", "x_min", "y_min"}
    assert all(isinstance(box[name], int) for name in ("x_max", "y_max", "x_min", "y_min"))
    assert 0 <= box["x_min"] < box["x_max"] and 0 <= box["y_min"] < box["y_max"]
    assert 0 < box["probability"] <= 1
    assert set(face["age"]) == {"probability", "high", "low"}
    assert 0 <= face["age"]["low"] <= face["age"]["high"] <= 120
    assert 0 < face["age"]["probability"] <= 1
    assert set(face["gender"]) == {"probability", "value"}
    assert face["gender"]["value"] in {"male", "female"}
    assert set(face["pose"]) == {"pitch", "roll", "yaw"}
    assert len(face["landmarks"]) == 5
    for x, y in face["landmarks"]:
        assert isinstance(x, int) and isinstance(y, int)
        assert box["x_min"] <= x <= box["x_max"] and box["y_min"] <= y <= box["y_max"]
    left_eye, right_eye, nose, left_mouth, right_mouth = face["landmarks"]
    assert left_eye[0] < nose[0] < right_eye[0] and left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
    assert sum(value * value for value in face["embedding"]) == pytest.approx(1, abs=1e-3)
    if status:
        times = face["execution_time"]
        assert {"age", "gender", "detector", "calculator"} <= set(times)
        assert all(isinstance(time, float) and time > 0 for time in times.values())


def check_versions(versions: dict[str, str]) -> None:
    assert {"age", "gender", "detector", "calculator"} <= set(versions)
    assert all(isinstance(name, str) and name for name in versions.values())


def test_add_rename_list_and_delete_a_subject(client: Client) -> None:
    added = client.post("/recognition/subjects", json={"subject": "Ann"})
    assert (added.status_code, added.json()) == (201, {"subject": "Ann"})
    assert client.get("/recognition/subjects/").json() == {"subjects": ["Ann"]}
    assert client.get("/recognition/subjects").json() == {"subjects": ["Ann"]}
    renamed = client.put("/recognition/subjects/Ann", json={"subject": "Anna"})
    assert (renamed.status_code, renamed.json()) == (200, {"updated": True})
    deleted = client.delete("/recognition/subjects/Anna")
    assert (deleted.status_code, deleted.json()) == (200, {"subject": "Anna"})
    client.post("/recognition/subjects", json={"subject": "Ben"})
    assert client.delete("/recognition/subjects").json() == {"deleted": 1}
    assert client.get("/recognition/subjects").json() == {"subjects": []}


def test_renaming_to_a_name_that_exists_merges(client: Client, london: list[Path]) -> None:
    first, second = client.enrol("one", london[0]), client.enrol("two", london[1])
    assert client.put("/recognition/subjects/one", json={"subject": "two"}).json() == {"updated": True}
    assert client.get("/recognition/subjects").json() == {"subjects": ["two"]}
    faces = client.get("/recognition/faces", params={"subject": "two"}).json()["faces"]
    assert {face["image_id"] for face in faces} == {first, second}
    found = client.post("/recognition/recognize", files={"file": part(london[0])}).json()["result"][0]
    assert found["subjects"][0]["subject"] == "two"


def test_add_an_example(client: Client, london: list[Path]) -> None:
    answer = client.post(
        "/recognition/faces",
        params={"subject": "subject1", "det_prob_threshold": 0.5},
        files={"file": part(london[0])},
    )
    assert answer.status_code == 201
    body = answer.json()
    assert set(body) == {"image_id", "subject"}
    assert body["subject"] == "subject1" and uuid.UUID(body["image_id"])
    assert client.get("/recognition/subjects").json() == {"subjects": ["subject1"]}


def test_list_examples_by_page_and_subject(client: Client, london: list[Path]) -> None:
    ids = [client.enrol(f"s{number % 2}", london[number]) for number in range(3)]
    page = client.get("/recognition/faces", params={"page": 1, "size": 2}).json()
    assert page == {
        "faces": [{"image_id": ids[2], "subject": "s0"}],
        "page_number": 1,
        "page_size": 2,
        "total_pages": 2,
        "total_elements": 3,
    }
    of_one = client.get("/recognition/faces", params={"subject": "s1"}).json()
    assert [face["image_id"] for face in of_one["faces"]] == [ids[1]]
    assert (of_one["page_number"], of_one["page_size"], of_one["total_elements"]) == (0, 20, 1)


def test_delete_examples_in_every_documented_way(client: Client, london: list[Path]) -> None:
    ids = [client.enrol(name, london[number]) for number, name in enumerate(["a", "a", "b", "c", "c"])]
    one = client.delete(f"/recognition/faces/{ids[0]}")
    assert (one.status_code, one.json()) == (200, {"image_id": ids[0], "subject": "a"})
    unknown = str(uuid.uuid4())
    several = client.post("/recognition/faces/delete", json=[ids[1], unknown, ids[2]])
    assert several.json() == [
        {"image_id": ids[1], "subject": "a"},
        {"image_id": ids[2], "subject": "b"},
    ]
    assert client.get("/recognition/subjects").json() == {"subjects": ["c"]}
    assert client.delete("/recognition/faces", params={"subject": "c"}).json() == {"deleted": 2}
    assert client.delete("/recognition/faces").json() == {"deleted": 0}
    for image_id in ids:
        assert client.get(f"/recognition/faces/{image_id}/img").content == b""


def test_a_subject_without_examples_is_deleted_unless_it_was_created_by_itself(
    client: Client, london: list[Path]
) -> None:
    client.post("/recognition/subjects", json={"subject": "explicit"})
    for name in ("explicit", "implicit"):
        client.delete(f"/recognition/faces/{client.enrol(name, london[0])}")
    assert "implicit" not in client.get("/recognition/subjects").json()["subjects"]


def test_download_an_example_with_and_without_the_header(client: Client, london: list[Path]) -> None:
    image_id = client.enrol("p", london[0])
    original = london[0].read_bytes()
    by_header = client.get(f"/recognition/faces/{image_id}/img")
    by_path = client.http.get(f"/api/v1/static/{client.key}/images/{image_id}")
    for answer in (by_header, by_path):
        assert answer.content == original
        assert answer.headers["content-type"] == "image/jpeg"
        assert "max-age" in answer.headers["cache-control"]
    assert client.http.get(f"/api/v1/static/{client.key}/images/{uuid.uuid4()}").content == b""


@pytest.mark.parametrize("form", ["multipart", "base64", "data-uri"])
def test_recognize(client: Client, london: list[Path], form: str) -> None:
    client.enrol("subject1", london[0])
    client.enrol("subject2", london[1])
    answer = client.post(
        "/recognition/recognize",
        params={
            "limit": 0,
            "prediction_count": 2,
            "det_prob_threshold": 0.5,
            "face_plugins": PLUGINS,
            "status": "true",
            "detect_faces": "true",
        },
        **body_of(form, file=smiling(london[0])),
    )
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"result", "plugins_versions"}
    (face,) = body["result"]
    check_face(face, "subjects")
    check_versions(body["plugins_versions"])
    assert [match["subject"] for match in face["subjects"]] == ["subject1", "subject2"]
    best, other = (match["similarity"] for match in face["subjects"])
    assert best > 0.9 > 0.5 > other
    assert best == round(best, 5)


def body_of(form: str, **pictures: Path) -> dict[str, Any]:
    if form == "multipart":
        return {"files": {name: part(picture) for name, picture in pictures.items()}}
    prefix = "data:image/jpeg;base64," if form == "data-uri" else ""
    texts = {name: prefix + base64.b64encode(path.read_bytes()).decode() for name, path in pictures.items()}
    return {"json": texts}


def test_recognize_without_detection_takes_the_picture_as_a_face(client: Client, london: list[Path]) -> None:
    client.enrol("subject1", london[0])
    answer = client.post(
        "/recognition/recognize", params={"detect_faces": "false"}, files={"file": part(london[0])}
    ).json()
    (face,) = answer["result"]
    assert face["box"]["probability"] == 1
    assert (face["box"]["x_min"], face["box"]["y_min"]) == (0, 0)
    assert set(face) == {"box", "subjects"}


@pytest.mark.parametrize("form", ["multipart", "base64"])
def test_verify_faces_of_a_picture_with_an_example(client: Client, london: list[Path], form: str) -> None:
    image_id = client.enrol("subject1", london[0])
    answer = client.post(
        f"/recognition/faces/{image_id}/verify",
        params={"face_plugins": PLUGINS, "status": "true", "limit": 1, "det_prob_threshold": 0.5},
        **body_of(form, file=london[0]),
    )
    assert set(answer.json()) == {"result", "plugins_versions"}
    (face,) = answer.json()["result"]
    check_face(face, "similarity", "subject")
    assert face["similarity"] > 0.99 and face["subject"] == "subject1"
    stranger = client.post(f"/recognition/faces/{image_id}/verify", **body_of(form, file=london[1]))
    assert stranger.json()["result"][0]["similarity"] < 0.5


@pytest.mark.parametrize("form", ["multipart", "base64"])
def test_detect(client: Client, london: list[Path], form: str) -> None:
    answer = client.post(
        "/detection/detect",
        params={"face_plugins": PLUGINS, "status": "true", "limit": 1, "det_prob_threshold": 0.5},
        **body_of(form, file=london[0]),
    )
    assert set(answer.json()) == {"result", "plugins_versions"}
    check_face(answer.json()["result"][0])
    bare = client.post("/detection/detect", **body_of(form, file=london[0])).json()
    assert set(bare) == {"result"} and set(bare["result"][0]) == {"box"}


@pytest.mark.parametrize("form", ["multipart", "base64"])
def test_verify_two_pictures(client: Client, london: list[Path], form: str) -> None:
    answer = client.post(
        "/verification/verify",
        params={
            "limit": 0,
            "prediction_count": 1,
            "det_prob_threshold": 0.5,
            "face_plugins": PLUGINS,
            "status": "true",
        },
        **body_of(form, source_image=london[0], target_image=smiling(london[0])),
    )
    (verification,) = answer.json()["result"]
    assert set(verification) == {"source_image_face", "face_matches", "plugins_versions"}
    check_face(verification["source_image_face"])
    (match,) = verification["face_matches"]
    check_face(match, "similarity")
    assert match["similarity"] > 0.9


def test_recognize_and_verify_embeddings(client: Client, london: list[Path]) -> None:
    image_id = client.enrol("John", london[0])
    detected = client.post(
        "/detection/detect", params={"face_plugins": "calculator"}, files={"file": part(london[0])}
    )
    embedding = detected.json()["result"][0]["embedding"]
    other = [-value for value in embedding]

    recognized = client.post(
        "/recognition/embeddings/recognize",
        params={"prediction_count": 1},
        json={"embeddings": [embedding, other]},
    ).json()
    assert [entry["embedding"] for entry in recognized["result"]] == [embedding, other]
    assert set(recognized["result"][0]) == {"embedding", "similarities"}
    assert recognized["result"][0]["similarities"][0]["subject"] == "John"
    assert recognized["result"][0]["similarities"][0]["similarity"] > 0.99
    assert recognized["result"][1]["similarities"][0]["similarity"] < 0.01

    verified = client.post(
        f"/recognition/embeddings/faces/{image_id}/verify", json={"embeddings": [embedding, other]}
    ).json()
    assert [set(entry) for entry in verified["result"]] == [{"embedding", "similarity"}] * 2
    assert verified["result"][0]["similarity"] > 0.99 > 0.01 > verified["result"][1]["similarity"]

    pairs = client.post(
        "/verification/embeddings/verify", json={"source": embedding, "targets": [embedding, other]}
    ).json()
    assert [entry["embedding"] for entry in pairs["result"]] == [embedding, other]
    assert pairs["result"][0]["similarity"] > 0.99 > 0.01 > pairs["result"][1]["similarity"]


def test_limit_takes_the_biggest_faces(client: Client, group_picture: Path) -> None:
    every = client.post("/detection/detect", files={"file": part(group_picture)}).json()["result"]
    assert len(every) > 2
    areas = [area(face["box"]) for face in every]
    assert areas == sorted(areas, reverse=True)
    two = client.post("/detection/detect", params={"limit": 2}, files={"file": part(group_picture)}).json()
    assert two["result"] == every[:2]


def area(box: dict[str, int]) -> int:
    return (box["x_max"] - box["x_min"]) * (box["y_max"] - box["y_min"])
