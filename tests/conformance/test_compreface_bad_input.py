"""Input that is wrong gets the contract's error and changes nothing."""

import io
import json
import struct
import time
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.conformance.client import Client, keys_of, new_client, part
from tests.paths import DATA, require
from tests.support.in_process import InProcess, Served
from tests.weights import embedding_dim


@pytest.fixture(scope="module")
def server(faces_in_process: InProcess) -> InProcess:
    return faces_in_process


@pytest.fixture(scope="module")
def client(server: Served) -> Client:
    return new_client(server, "recognition", "detection", "verification")


@pytest.fixture(autouse=True)
def nothing_changed(client: Client) -> Iterator[None]:
    before = client.get("/recognition/faces").json(), client.get("/recognition/subjects").json()
    yield
    assert (client.get("/recognition/faces").json(), client.get("/recognition/subjects").json()) == before


def expect(answer: httpx.Response, status: int, code: int, *words: str) -> None:
    body = answer.json()
    assert set(body) == {"message", "code"}, answer.text
    assert (answer.status_code, body["code"]) == (status, code), answer.text
    for word in words:
        assert word in body["message"], body["message"]


def detect(client: Client, data: bytes, name: str = "picture.jpg", **params: Any) -> httpx.Response:
    return client.post("/detection/detect", params=params, files={"file": (name, data)})


# --- keys


def test_missing_key(client: Client) -> None:
    expect(client.http.get("/api/v1/recognition/subjects"), 400, 20, "x-api-key")


@pytest.mark.parametrize(("key", "code"), [("", 20), ("nonsense", 26), ("1234", 26), ("é" * 8, 26)])
def test_key_that_is_no_uuid(client: Client, key: str, code: int) -> None:
    for path in ("/recognition/subjects", "/recognition/faces", "/recognition/nothing"):
        answer = client.http.get(f"/api/v1{path}", headers={"x-api-key": key.encode()})
        expect(answer, *((404, 0) if path.endswith("nothing") else (400, code)))


def test_unknown_key(client: Client) -> None:
    answer = client.get("/recognition/subjects", headers={"x-api-key": str(uuid.uuid4())})
    expect(answer, 404, 10)


def test_key_of_another_service(server: Served, london: list[Path]) -> None:
    detection = new_client(server, "detection")
    expect(detection.get("/recognition/subjects"), 404, 10)
    expect(detection.post("/verification/verify"), 404, 10)
    assert detect(detection, london[0].read_bytes()).status_code == 200


def test_revoked_key_stops_working_within_two_seconds(server: Served) -> None:
    revoked = new_client(server, "recognition")
    assert revoked.get("/recognition/subjects").status_code == 200
    with keys_of(server.home) as keys:
        found = keys.find(revoked.key)
        assert found is not None
        keys.revoke(found.id)
    time.sleep(2.1)
    expect(revoked.get("/recognition/subjects"), 404, 10)


def test_one_key_does_not_see_the_faces_of_another(
    server: Served, client: Client, london: list[Path]
) -> None:
    other = new_client(server, "recognition")
    image_id = other.enrol("secret", london[0])
    assert client.get(f"/recognition/faces/{image_id}/img").content == b""
    assert client.http.get(f"/api/v1/static/{client.key}/images/{image_id}").content == b""
    expect(client.delete(f"/recognition/faces/{image_id}"), 404, 44)
    expect(client.delete("/recognition/subjects/secret"), 404, 42)
    assert client.post("/recognition/faces/delete", json=[image_id]).json() == []
    assert other.get("/recognition/faces").json()["total_elements"] == 1
    files = {"file": part(london[0])}
    expect(client.post(f"/recognition/faces/{image_id}/verify", files=files), 404, 44)


# --- parts and parameters


def test_missing_part(client: Client, london: list[Path]) -> None:
    expect(client.post("/detection/detect", files={"other": part(london[0])}), 400, 34, "file")
    expect(
        client.post("/verification/verify", files={"source_image": part(london[0])}), 400, 34, "target_image"
    )


def test_file_field_that_is_text(client: Client) -> None:
    expect(client.post("/detection/detect", data={"file": "text"}, files={"x": b""}), 400, 34)


def test_missing_and_empty_base64(client: Client) -> None:
    expect(client.post("/detection/detect", json={}), 400, 5, "file")
    expect(client.post("/detection/detect", json={"file": ""}), 400, 5, "file")
    expect(client.post("/detection/detect", json={"file": None}), 400, 5, "file")


@pytest.mark.parametrize("value", ["%%%", 7, ["x"], "data:image/png;base64,@@@@"])
def test_base64_that_is_not(client: Client, value: object) -> None:
    expect(client.post("/detection/detect", json={"file": value}), 400, 21, "file", "base64")


def test_base64_of_no_picture(client: Client) -> None:
    expect(client.post("/detection/detect", json={"file": "abc"}), 400, 0)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"text"', b"\xff\xfe", b"null"])
def test_json_that_is_not(client: Client, content: bytes) -> None:
    answer = client.post("/detection/detect", content=content, headers={"Content-Type": "application/json"})
    expect(answer, 400, 0)


def test_multipart_that_is_cut_off(client: Client) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\nabc'
    answer = client.post("/detection/detect", content=body, headers=headers)
    assert answer.status_code == 400 and set(answer.json()) == {"message", "code"}
    no_boundary = client.post(
        "/detection/detect", content=body, headers={"Content-Type": "multipart/form-data"}
    )
    expect(no_boundary, 400, 0)


@pytest.mark.parametrize("name", ["picture.txt", "picture", "picture.", "picture.jpg.exe", ".jpg.pdf"])
def test_wrong_extension_of_what_is_no_picture(client: Client, name: str) -> None:
    expect(detect(client, b"%PDF-1.4 and more", name), 400, 21, name)


@pytest.mark.parametrize("name", ["A.JPG", "a.jpeg", "b.webp", "c.tif", "d.ico"])
def test_extension_is_taken_from_the_name_in_any_case(client: Client, london: list[Path], name: str) -> None:
    assert detect(client, london[0].read_bytes(), name).status_code == 200


@pytest.mark.parametrize(
    ("params", "code", "word"),
    [
        ({"limit": -1}, 26, "limit"),
        ({"limit": "many"}, 36, "limit"),
        ({"limit": 2**40}, 26, "limit"),
        ({"prediction_count": 0}, 26, "prediction_count"),
        ({"prediction_count": "x"}, 36, "prediction_count"),
        ({"det_prob_threshold": 7}, 26, "det_prob_threshold"),
        ({"det_prob_threshold": -0.1}, 26, "det_prob_threshold"),
        ({"det_prob_threshold": "nan"}, 26, "det_prob_threshold"),
        ({"det_prob_threshold": "high"}, 36, "det_prob_threshold"),
        ({"status": "perhaps"}, 36, "status"),
        ({"detect_faces": "perhaps"}, 36, "detect_faces"),
    ],
)
def test_parameter_out_of_range_or_of_wrong_type(
    client: Client, london: list[Path], params: dict[str, Any], code: int, word: str
) -> None:
    answer = client.post("/recognition/recognize", params=params, files={"file": part(london[0])})
    expect(answer, 400, code, word)


def test_unknown_query_and_body_fields_are_ignored(client: Client, london: list[Path]) -> None:
    files = {"file": part(london[0]), "extra": part(london[0])}
    assert client.post("/detection/detect", params={"colour": "red"}, files=files).status_code == 200


# --- subjects and ids


def test_missing_subject(client: Client, london: list[Path]) -> None:
    expect(client.post("/recognition/faces", files={"file": part(london[0])}), 400, 33, "subject")
    expect(client.post("/recognition/subjects", json={}), 400, 5, "subject")
    expect(client.post("/recognition/subjects", json={"subject": None}), 400, 36, "subject")


@pytest.mark.parametrize("name", ["", "   ", "\n", ".", ".."])
def test_what_is_no_name_of_a_subject(client: Client, london: list[Path], name: str) -> None:
    files = {"file": part(london[0])}
    expect(client.post("/recognition/faces", params={"subject": name}, files=files), 400, 26)
    expect(client.post("/recognition/subjects", json={"subject": name}), 400, 26)


@pytest.mark.parametrize("name", ["", "  "])
def test_to_delete_the_examples_of_nobody_is_not_to_delete_all(server: Served, name: str) -> None:
    own = new_client(server, "recognition")
    own.post("/recognition/subjects", json={"subject": "Ann"})
    expect(own.delete("/recognition/faces", params={"subject": name}), 400, 26)
    assert own.get("/recognition/subjects").json() == {"subjects": ["Ann"]}


def test_subject_of_ten_kilobytes(client: Client, london: list[Path]) -> None:
    name = "x" * 10_240
    expect(client.post("/recognition/subjects", json={"subject": name}), 400, 26)
    files = {"file": part(london[0])}
    expect(client.post("/recognition/faces", params={"subject": name}, files=files), 400, 26)


@pytest.mark.parametrize(
    "name", ["a/b", "a/b/", "../..", "Zoë Ünïcode 李雷 🙂", "x y?&#%2F", "'; DROP TABLE subjects;--"]
)
def test_any_string_is_a_subject(client: Client, london: list[Path], name: str) -> None:
    from urllib.parse import quote

    path = f"/recognition/subjects/{quote(name, safe='')}"
    assert client.post("/recognition/subjects", json={"subject": name}).status_code == 201
    assert name in client.get("/recognition/subjects").json()["subjects"]
    assert client.put(path, json={"subject": name + "!"}).json() == {"updated": True}
    assert client.put(f"/recognition/subjects/{quote(name + '!', safe='')}", json={"subject": name}).json()
    assert client.delete(path).json() == {"subject": name}


def test_unknown_and_existing_subjects(client: Client, server: Served) -> None:
    expect(client.delete("/recognition/subjects/nobody"), 404, 42, "Subject nobody not found")
    expect(client.put("/recognition/subjects/nobody", json={"subject": "other"}), 404, 42)
    other = new_client(server, "recognition")
    other.post("/recognition/subjects", json={"subject": "twice"})
    expect(other.post("/recognition/subjects", json={"subject": "twice"}), 400, 43, "already exists")


def test_unknown_and_malformed_image_ids(client: Client) -> None:
    expect(client.delete(f"/recognition/faces/{uuid.uuid4()}"), 404, 44)
    expect(client.delete("/recognition/faces/not-an-id"), 400, 36)
    expect(client.post("/recognition/faces/delete", json=["not-an-id"]), 400, 36)
    expect(client.post("/recognition/faces/delete", json={"ids": []}), 400, 36)


# --- embeddings

DIM = embedding_dim()


@pytest.mark.parametrize(
    ("embeddings", "code"),
    [
        ([[0.1] * (DIM - 1)], 37),
        ([[0.1] * (DIM + 1)], 37),
        ([[]], 37),
        ([[0.0] * DIM], 36),
        ([["a"] * DIM], 36),
        ("text", 36),
        ([0.1] * DIM, 36),
        ([[1e308] * DIM], 36),
    ],
)
def test_wrong_embeddings(client: Client, embeddings: object, code: int) -> None:
    for path in ("/recognition/embeddings/recognize", f"/recognition/embeddings/faces/{uuid.uuid4()}/verify"):
        expect(client.post(path, json={"embeddings": embeddings}), 400, code)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_embedding_that_is_not_finite(client: Client, number: str) -> None:
    row = "[" + ",".join([number] + ["0.1"] * (DIM - 1)) + "]"
    headers = {"Content-Type": "application/json"}
    for path, content in (
        ("/recognition/embeddings/recognize", f'{{"embeddings": [{row}]}}'),
        ("/verification/embeddings/verify", f'{{"source": {row}, "targets": [{row}]}}'),
    ):
        answer = client.post(path, content=content, headers=headers)
        assert answer.status_code == 400 and answer.json()["code"] in {0, 26, 36}, answer.text


def test_no_embeddings_at_all(client: Client) -> None:
    one = [0.1] * DIM
    paths = ("/recognition/embeddings/recognize", f"/recognition/embeddings/faces/{uuid.uuid4()}/verify")
    for path in paths:
        expect(client.post(path, json={"embeddings": []}), 400, 5, "embeddings")
    expect(client.post("/verification/embeddings/verify", json={"source": one, "targets": []}), 400, 5)
    expect(client.post("/verification/embeddings/verify", json={"source": [], "targets": [one]}), 400, 5)


def test_verify_embedding_of_an_unknown_example(client: Client) -> None:
    answer = client.post(
        f"/recognition/embeddings/faces/{uuid.uuid4()}/verify", json={"embeddings": [[0.1] * DIM]}
    )
    expect(answer, 404, 44)


# --- pictures


def test_no_face_and_two_faces(client: Client, group_picture: Path) -> None:
    empty = require(DATA / "malformed") / "empty.png"
    data = Image.new("RGB", (320, 240), "gray")
    buffer = io.BytesIO()
    data.save(buffer, "PNG")
    expect(detect(client, buffer.getvalue(), "gray.png"), 400, 28, "No face is found in the given image")
    two = {"file": part(group_picture)}
    expect(client.post("/recognition/faces", params={"subject": "s"}, files=two), 400, 31)
    pair = {"source_image": part(group_picture), "target_image": part(group_picture)}
    expect(client.post("/verification/verify", files=pair), 400, 31, "More than one face in the source image")
    assert empty.exists()


def test_zero_bytes_and_six_megabytes(client: Client) -> None:
    expect(detect(client, b""), 400, 5)
    expect(detect(client, b"\xff\xd8" + b"0" * 6 * 1024 * 1024), 400, 0, "bytes")


def test_malformed_files(client: Client) -> None:
    folder = require(DATA / "malformed")
    for path in sorted(folder.iterdir()):
        answer = detect(client, path.read_bytes(), path.name)
        if path.name == "corrupted.png":
            expect(answer, 400, 0)
        elif path.name == "empty.png":
            assert answer.status_code == 400 and answer.json()["code"] in {0, 5, 28}, answer.text
        else:
            assert answer.status_code == 200 and len(answer.json()["result"]) == 1, (path.name, answer.text)


@pytest.mark.parametrize(
    "data", [b"hello", b"<svg/>", b"%PDF-1.4", b"GIF89a", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"]
)
def test_not_an_image(client: Client, data: bytes) -> None:
    expect(detect(client, data), 400, 0)


def test_truncated(client: Client, london: list[Path]) -> None:
    data = london[0].read_bytes()
    expect(detect(client, data[: len(data) // 2]), 400, 0)


def test_bomb_of_400_million_pixels(client: Client) -> None:
    """20,000 x 20,000 in 400 kB: refused by its header, before a pixel is decoded."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compressobj(9)
    pixels = b"".join(rows.compress(b"\0" * 20_001) for _ in range(20_000)) + rows.flush()
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    expect(detect(client, bomb, "bomb.png"), 400, 0, "pixels")


@pytest.mark.parametrize("kind", ["gray16", "cmyk", "palette", "animated", "rgba", "1-bit"])
def test_unusual_pictures_are_understood(client: Client, london: list[Path], kind: str) -> None:
    picture = Image.open(london[0]).convert("RGB")
    buffer = io.BytesIO()
    if kind == "gray16":
        values = np.asarray(picture.convert("L")).astype(np.uint16) * 257
        Image.fromarray(values).save(buffer, "PNG")
    elif kind == "cmyk":
        picture.convert("CMYK").save(buffer, "JPEG")
    elif kind == "palette":
        picture.quantize(64).save(buffer, "PNG")
    elif kind == "animated":
        frames = [picture, Image.new("RGB", picture.size)]
        frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    elif kind == "rgba":
        picture.convert("RGBA").save(buffer, "PNG")
    else:
        picture.convert("1").save(buffer, "PNG")
    answer = detect(client, buffer.getvalue(), "picture.png")
    if kind == "1-bit":
        assert answer.status_code == 200 or answer.json()["code"] == 28
    else:
        assert answer.status_code == 200 and len(answer.json()["result"]) == 1, answer.text


def test_exif_rotation_is_applied(client: Client, london: list[Path]) -> None:
    upright = Image.open(london[0]).convert("RGB")
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    upright.transpose(Image.Transpose.ROTATE_90).save(buffer, "JPEG", exif=exif, quality=95)
    expected = detect(client, london[0].read_bytes()).json()["result"][0]["box"]
    found = detect(client, buffer.getvalue()).json()["result"][0]["box"]
    for name in ("x_min", "x_max", "y_min", "y_max"):
        assert abs(found[name] - expected[name]) <= 6, (found, expected)


# --- routes


def test_unknown_route_and_wrong_method(client: Client) -> None:
    expect(client.get("/recognition/nothing"), 404, 0)
    expect(client.get("/detection/detect"), 404, 0)
    expect(client.put("/recognition/faces", json={}), 404, 0)


def test_a_body_of_the_wrong_kind(client: Client) -> None:
    answer = client.post("/recognition/subjects", content=b"{", headers={"Content-Type": "application/json"})
    assert answer.status_code == 400 and set(answer.json()) == {"message", "code"}
    assert json.loads(answer.content)["code"] in {0, 36}
