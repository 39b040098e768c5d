"""What CompreFace's server accepts beyond its document, and clients send: each is taken as the server takes it."""

import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from prosopon.configs.settings import StateSettings
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.schema import subjects
from tests.conformance.client import Client, new_client, part
from tests.conformance.test_compreface_bad_input import expect
from tests.paths import DATA, require, smiling
from tests.support.in_process import InProcess, in_process

HEAD = 'Content-Disposition: form-data; name="file"'


@pytest.fixture
def client(faces_in_process: InProcess) -> Client:
    """With a face collection of its own."""
    return new_client(faces_in_process, "recognition", "detection", "verification")


def send_parts(client: Client, path: str, *parts: tuple[str, bytes]) -> httpx.Response:
    """A form of parts, each a header and its content."""
    body = b"".join(b"--frontier\r\n" + head.encode() + b"\r\n\r\n" + data + b"\r\n" for head, data in parts)
    headers = {"Content-Type": "multipart/form-data; boundary=frontier"}
    return client.post(path, content=body + b"--frontier--\r\n", headers=headers)


def faces_of(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    result: list[dict[str, Any]] = answer.json()["result"]
    return result


# --- parameters


@pytest.mark.parametrize("names", ["undefined", "age,unicorn", ",,age , ", "landmarks2d106,age"])
def test_plugins_that_nobody_knows_are_ignored(client: Client, london: list[Path], names: str) -> None:
    files = {"file": part(london[0])}
    answer = client.post("/recognition/recognize", params={"face_plugins": names}, files=files)
    (face,) = faces_of(answer)
    assert set(face) == {"box", "subjects"} | ({"age"} if "age" in names else set())
    told = answer.headers.get("x-notice", "")
    assert ("calculator" in told) == (names != ",,age , "), told


def test_empty_values_are_none(client: Client, london: list[Path]) -> None:
    plain = faces_of(client.post("/recognition/recognize", files={"file": part(london[0])}))
    empty = "limit=&prediction_count=&det_prob_threshold=&face_plugins=&status=&detect_faces="
    answer = client.post(f"/recognition/recognize?{empty}", files={"file": part(london[0])})
    assert faces_of(answer) == plain and set(answer.json()) == {"result"}
    listed = client.get("/recognition/faces?page=&size=&subject=").json()
    assert (listed["page_number"], listed["page_size"]) == (0, 20)


def test_parameters_may_be_fields_of_the_form(
    client: Client, london: list[Path], group_picture: Path
) -> None:
    files = {"file": part(london[0])}
    added = client.post("/recognition/faces", data={"subject": "Zoë & Bo"}, files=files)
    assert (added.status_code, added.json()["subject"]) == (201, "Zoë & Bo")
    client.enrol("second", london[1])
    fields = {"limit": "2", "prediction_count": "2", "face_plugins": "age", "status": "true"}
    group = {"file": part(group_picture)}
    answer = client.post("/recognition/recognize", data=fields, files=group)
    assert len(faces_of(answer)) == 2 and "plugins_versions" in answer.json()
    for face in faces_of(answer):
        assert {"age", "execution_time"} <= set(face) and len(face["subjects"]) == 2
    answer = client.post("/recognition/recognize?limit=1&status=false", data=fields, files=group)
    assert len(faces_of(answer)) == 1 and set(answer.json()) == {"result"}, "the query wins"
    fields = {"detect_faces": "false", "det_prob_threshold": "0.99"}
    (face,) = faces_of(client.post("/recognition/recognize", data=fields, files=files))
    assert face["box"]["probability"] == 1
    expect(client.post("/detection/detect", data={"limit": "-1"}, files=files), 400, 26, "limit")


@pytest.mark.parametrize(
    ("page", "size", "expected"),
    [(0, 0, (0, 20)), (0, -5, (0, 20)), (0, "x", (0, 20)), (-1, 2, (0, 2)), ("x", 2, (0, 2)),
     (0, 10**9, (0, 2000)), (0, 2000, (0, 2000)), (0, 10**30, (0, 20)), (1, "1.5", (1, 20))],
)  # fmt: skip
def test_pages_count_as_spring_data_counts(
    client: Client, page: object, size: object, expected: tuple[int, int]
) -> None:
    listed = client.get("/recognition/faces", params={"page": page, "size": size}).json()
    assert (listed["page_number"], listed["page_size"]) == expected


# --- files


@pytest.mark.parametrize("name", ["blob", "image.jfif", "image.jpe", "", "picture.txt", "a.jpg.exe"])
def test_a_file_is_judged_by_its_content_where_its_name_says_nothing(
    client: Client, london: list[Path], name: str
) -> None:
    head = f'{HEAD}; filename="{name}"\r\nContent-Type: application/octet-stream'
    assert len(faces_of(send_parts(client, "/detection/detect", (head, london[0].read_bytes())))) == 1
    expect(send_parts(client, "/detection/detect", (head, b"no picture")), 400, 21)


def test_a_file_without_a_name(client: Client, london: list[Path]) -> None:
    sent = (f"{HEAD}\r\nContent-Type: image/jpeg", london[0].read_bytes())
    assert len(faces_of(send_parts(client, "/detection/detect", sent))) == 1


def test_the_first_file_of_a_name_counts(client: Client, london: list[Path], group_picture: Path) -> None:
    one = (f'{HEAD}; filename="a.jpg"', london[0].read_bytes())
    group, text = (f'{HEAD}; filename="b.jpg"', group_picture.read_bytes()), (HEAD, b"b.jpg")
    for parts in ((one, text), (text, one)):
        answer = send_parts(client, "/detection/detect", *parts)
        assert len(faces_of(answer)) == 1 and "x-notice" not in answer.headers
    answer = send_parts(client, "/detection/detect", one, group)
    assert len(faces_of(answer)) == 1 and "file" in answer.headers["x-notice"]


def test_the_limit_counts_for_the_source_of_a_verification_too(
    client: Client, london: list[Path], group_picture: Path
) -> None:
    files = {"source_image": part(group_picture), "target_image": part(group_picture)}
    expect(client.post("/verification/verify", files=files), 400, 31)
    expect(client.post("/verification/verify?limit=2", files=files), 400, 31)
    (found,) = faces_of(client.post("/verification/verify?limit=1", files=files))
    assert found["face_matches"][0]["similarity"] > 0.99
    assert found["face_matches"][0]["box"] == found["source_image_face"]["box"]


# --- subjects


def test_subjects_are_found_without_regard_to_case(client: Client, london: list[Path]) -> None:
    first = client.enrol("Bob", london[0])
    second = client.enrol("BOB", smiling(london[0]))
    assert client.get("/recognition/subjects").json() == {"subjects": ["Bob"]}
    expect(client.post("/recognition/subjects", json={"subject": "bob"}), 400, 43)
    listed = client.get("/recognition/faces", params={"subject": "bOb"}).json()["faces"]
    assert [(face["image_id"], face["subject"]) for face in listed] == [(first, "Bob"), (second, "Bob")]
    (face,) = faces_of(
        client.post("/recognition/recognize?prediction_count=5", files={"file": part(london[0])})
    )
    assert [match["subject"] for match in face["subjects"]] == ["Bob"]
    assert client.put("/recognition/subjects/bob", json={"subject": "bob"}).json() == {"updated": False}
    assert client.put("/recognition/subjects/bob", json={"subject": "BoB"}).json() == {"updated": True}
    assert client.get("/recognition/subjects").json() == {"subjects": ["BoB"]}
    assert client.delete("/recognition/subjects/bob").json() == {"subject": "BoB"}


def test_a_subject_is_renamed_by_a_bare_string(client: Client) -> None:
    client.post("/recognition/subjects", json={"subject": "Ann"})
    assert client.put("/recognition/subjects/Ann", json="Zoë").json() == {"updated": True}
    assert client.get("/recognition/subjects").json() == {"subjects": ["Zoë"]}
    expect(client.put("/recognition/subjects/Zoë", json=""), 400, 26)
    expect(client.put("/recognition/subjects/Zoë", json=["Ann"]), 400, 36)


def test_subjects_go_with_their_examples(client: Client, london: list[Path]) -> None:
    for name in ("empty", "other"):
        client.post("/recognition/subjects", json={"subject": name})
    client.enrol("other", london[0])
    assert client.delete("/recognition/faces", params={"subject": "EMPTY"}).json() == {"deleted": 0}
    assert client.get("/recognition/subjects").json() == {"subjects": ["other"]}
    client.post("/recognition/subjects", json={"subject": "empty"})
    assert client.delete("/recognition/faces").json() == {"deleted": 1}
    assert client.get("/recognition/subjects").json() == {"subjects": []}


def test_a_name_from_before_that_a_path_cannot_hold_is_deleted_by_the_query(
    faces_in_process: InProcess, client: Client, london: list[Path]
) -> None:
    client.enrol("first", london[0])
    client.enrol("dot of before", london[1])
    with (
        closing(Records(StateSettings(home=faces_in_process.home).database)) as records,
        records.write() as db,
    ):
        before = sa.update(subjects).where(subjects.c.name == "dot of before")
        db.execute(before.values(name=".", folded="."))
    assert len(client.get("/recognition/faces", params={"subject": "."}).json()["faces"]) == 1
    assert client.delete("/recognition/faces", params={"subject": "."}).json() == {"deleted": 1}
    assert client.get("/recognition/subjects").json() == {"subjects": ["first"]}


# --- embeddings


def test_the_most_similar_embedding_comes_first(client: Client, london: list[Path]) -> None:
    image_id = client.enrol("John", london[0])
    pictures = (london[1], smiling(london[0]), london[0])
    embeddings = []
    for picture in pictures:
        files = {"file": part(picture)}
        (face,) = faces_of(client.post("/detection/detect?face_plugins=calculator", files=files))
        embeddings.append(face["embedding"])
    stranger, same_person, same_picture = embeddings
    verified = faces_of(
        client.post(f"/recognition/embeddings/faces/{image_id}/verify", json={"embeddings": embeddings})
    )
    body = {"source": same_picture, "targets": embeddings}
    for result in (verified, faces_of(client.post("/verification/embeddings/verify", json=body))):
        assert [entry["embedding"] for entry in result] == [same_picture, same_person, stranger]
        similarities = [entry["similarity"] for entry in result]
        assert similarities == sorted(similarities, reverse=True) and similarities[0] > 0.99


def test_a_face_that_is_compared_to_an_example_tells_whose_it_is(client: Client, london: list[Path]) -> None:
    image_id = client.enrol("John", london[0])
    (face,) = faces_of(
        client.post(f"/recognition/faces/{image_id}/verify", files={"file": part(smiling(london[0]))})
    )
    assert set(face) == {"box", "similarity", "subject"} and face["subject"] == "John"


# --- as its proxy does


def test_slashes_at_the_end_and_doubled_ones(client: Client, london: list[Path]) -> None:
    files = {"file": part(london[0])}
    assert client.post("/recognition/faces/?subject=Ann", files=files).status_code == 201
    assert client.http.get(
        "http://127.0.0.1//api/v1//recognition/faces//", headers={"x-api-key": client.key}
    ).json()["faces"]
    assert client.get("/recognition/subjects/").json() == {"subjects": ["Ann"]}
    assert client.delete("/recognition/subjects/").json() == {"deleted": 1}


def test_pages_of_every_origin_may_call(client: Client) -> None:
    asked = {"Origin": "https://example.org", "Access-Control-Request-Headers": "x-api-key,content-type"}
    before = client.http.options("/api/v1/recognition/recognize", headers=asked)
    assert before.status_code == 204 and before.headers["access-control-allow-origin"] == "*"
    allowed = before.headers["access-control-allow-headers"].lower()
    assert "x-api-key" in allowed and "content-type" in allowed
    methods = before.headers["access-control-allow-methods"]
    assert all(method in methods for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"))
    refused = client.http.get("/api/v1/recognition/subjects", headers={"Origin": "https://example.org"})
    expect(refused, 400, 20)
    assert refused.headers["access-control-allow-origin"] == "*"


def test_stored_images_have_validators_ranges_and_heads(client: Client, london: list[Path]) -> None:
    image_id, original = client.enrol("p", london[0]), london[0].read_bytes()
    for path in (f"/recognition/faces/{image_id}/img", f"/static/{client.key}/images/{image_id}"):
        whole = client.get(path)
        assert whole.content == original and whole.headers["etag"]
        known = client.get(path, headers={"If-None-Match": whole.headers["etag"]})
        assert (known.status_code, known.content) == (304, b"")
        ranged = client.get(path, headers={"Range": "bytes=10-19"})
        assert (ranged.status_code, ranged.content) == (206, original[10:20])
        head = client.request("HEAD", path)
        assert head.headers["content-length"] == str(len(original)) and head.content == b""


def test_the_key_is_asked_for_before_the_body_is_read(client: Client) -> None:
    """A body that is none does not matter to who has no key."""
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    for path in ("/recognition/faces", "/recognition/recognize", "/detection/detect", "/verification/verify"):
        expect(client.http.post(f"/api/v1{path}", content=b"nonsense", headers=headers), 400, 20)
        unknown = {**headers, "x-api-key": str(uuid.uuid4())}
        expect(client.http.post(f"/api/v1{path}", content=b"nonsense", headers=unknown), 404, 10)


# --- the server's words for masks


@pytest.fixture(scope="module")
def words_of_the_server(tmp_path_factory: pytest.TempPathFactory, models_mirror: None) -> Iterator[Client]:
    home = tmp_path_factory.mktemp("masks")
    with in_process(home, {"apis": ["compreface"], "compreface": {"mask_values": "server"}}) as running:
        yield new_client(running, "detection")


def test_masks_are_called_as_the_document_or_the_server_calls_them(
    client: Client, words_of_the_server: Client, london: list[Path]
) -> None:
    masked = sorted(require(DATA / "mask" / "with_mask").iterdir())[:30]
    worn = 0
    for picture in [london[0], *masked]:
        files = {"file": part(picture)}
        answers = [
            one.post("/detection/detect?face_plugins=mask", files=files)
            for one in (client, words_of_the_server)
        ]
        if answers[0].status_code == 400:
            continue
        for ours, servers in zip(*map(faces_of, answers), strict=True):
            said = {"without_mask": "without_mask", "mask_worn_correctly": "with_mask",
                    "mask_worn_incorrectly": "mask_weared_incorrect"}  # fmt: skip
            assert servers["mask"]["value"] == said[ours["mask"]["value"]]
            assert servers["mask"]["probability"] == ours["mask"]["probability"]
            worn += ours["mask"]["value"] == "mask_worn_correctly"
    assert worn >= 10
