"""What goes wrong is said in FaceCheck's own form, and changes nothing."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import cv2
import httpx
import numpy as np
import pytest

from tests.conformance.client import new_key
from tests.conformance.facecheck_client import FaceCheckClient, balance, files, form, new_token
from tests.paths import DATA, require
from tests.support.in_process import OverHttp


def wrong(document: dict[str, Any], code: str, *words: str) -> None:
    assert document["code"] == code
    for word in words:
        assert word in document["error"]
    assert "output" not in document


def blank() -> bytes:
    return bytes(cv2.imencode(".png", np.full((200, 200, 3), 200, np.uint8))[1])


_NOBODYS = "7d3c0f5e-2b7c-4a86-9c0e-5f1a1d9b6e42"


@pytest.mark.parametrize("header", [None, "", "Bearer", "nonsense", _NOBODYS, "Basic dTpw"])
@pytest.mark.parametrize("path", ["upload_pic", "search", "delete_pic", "info"])
def test_a_bad_token(client: FaceCheckClient, path: str, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    response = client.http.post(f"/api/{path}", headers=headers)
    assert response.status_code == 401
    wrong(response.json(), "BAD_TOKEN")


def test_a_token_of_another_api(client: FaceCheckClient, facecheck_server: OverHttp) -> None:
    other = new_key(facecheck_server, "recognition")
    assert client.http.post("/api/info", headers={"Authorization": other}).status_code == 401


def test_four_pictures(client: FaceCheckClient, london: list[Path]) -> None:
    wrong(client.upload(*london[:4]), "TOO_MANY_PICTURES", "at most 3", "4")


def test_a_fourth_picture_for_a_search_that_has_three(client: FaceCheckClient, london: list[Path]) -> None:
    search = client.upload(*london[:3])["id_search"]
    wrong(client.upload(london[3], search=search), "TOO_MANY_PICTURES", "at most 3", "4")
    assert len(client.search(search, status_only=True)["input"]) == 3


def test_no_face_names_the_picture_and_adds_none(client: FaceCheckClient, london: list[Path]) -> None:
    search = client.upload(london[0])["id_search"]
    response = client.call(
        "upload_pic",
        files=[*files(london[1]), ("images", ("wall.png", blank()))],
        data=form(search),
    )
    assert response.status_code == 200
    wrong(response.json(), "NO_FACE", "picture 2", "wall.png")
    assert len(client.search(search, status_only=True)["input"]) == 1


def test_of_several_faces_the_biggest_is_used_and_the_answer_says_so(
    client: FaceCheckClient, london: list[Path]
) -> None:
    left, right = (cv2.imread(str(path)) for path in london[4:6])
    small = cv2.resize(right, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    both = np.full((left.shape[0], left.shape[1] + small.shape[1], 3), 255, np.uint8)
    both[:, : left.shape[1]] = left
    both[: small.shape[0], left.shape[1] :] = small
    uploaded = client.upload(bytes(cv2.imencode(".jpg", both)[1]))
    assert "picture 1" in uploaded["message"] and "the biggest is used" in uploaded["message"]
    items = client.search(uploaded["id_search"])["output"]["items"]
    assert items[0]["url"].endswith(london[4].stem)


def test_a_crowd(client: FaceCheckClient, group_picture: Path) -> None:
    assert "the biggest is used" in client.upload(group_picture)["message"]


@pytest.mark.parametrize("search", [_NOBODYS, "3vdi8t-s_8DAAA7D5E784616", "'; drop table searches", "\0"])
def test_an_unknown_search(client: FaceCheckClient, london: list[Path], search: str) -> None:
    wrong(client.search(search), "UNKNOWN_SEARCH")
    wrong(client.search(search, status_only=True), "UNKNOWN_SEARCH")
    wrong(client.delete(search, str(uuid4())), "UNKNOWN_SEARCH")
    wrong(client.upload(london[0], search=search), "UNKNOWN_SEARCH")


def test_the_search_of_another_tenant_is_unknown(
    client: FaceCheckClient, facecheck_server: OverHttp, london: list[Path]
) -> None:
    uploaded = client.upload(london[0])
    search, picture = uploaded["id_search"], uploaded["input"][0]["id_pic"]
    foreign = FaceCheckClient(client.http, new_token(facecheck_server.home, tenant=f"tenant-{uuid4()}")[1])
    unknown = foreign.search(str(uuid4()))
    assert foreign.search(search) == foreign.search(search, status_only=True) == unknown
    assert foreign.delete(search, picture) == unknown
    assert foreign.upload(london[1], search=search) == unknown
    sibling = FaceCheckClient(client.http, new_token(facecheck_server.home)[1])
    assert sibling.search(search, status_only=True)["input"] == uploaded["input"]


def test_a_picture_that_is_deleted_twice(client: FaceCheckClient, london: list[Path]) -> None:
    uploaded = client.upload(*london[:2])
    search, picture = uploaded["id_search"], uploaded["input"][0]["id_pic"]
    client.delete(search, picture)
    wrong(client.delete(search, picture), "UNKNOWN_PICTURE")
    wrong(client.delete(search, "no id"), "UNKNOWN_PICTURE")
    other = client.upload(london[2])["input"][0]["id_pic"]
    wrong(client.delete(search, other), "UNKNOWN_PICTURE")
    assert len(client.search(search, status_only=True)["input"]) == 1


def test_a_search_without_pictures(charged: FaceCheckClient, london: list[Path]) -> None:
    uploaded = charged.upload(london[0])
    charged.delete(uploaded["id_search"], uploaded["input"][0]["id_pic"])
    wrong(charged.search(uploaded["id_search"]), "NO_PICTURE")
    assert charged.info()["remaining_credits"] == 10


def test_an_upload_without_pictures(client: FaceCheckClient) -> None:
    for response in (
        client.call("upload_pic", files=[("other", ("a.jpg", b"x"))]),
        client.call("upload_pic", data={"images": "text"}, files=[("other", ("a.jpg", b"x"))]),
    ):
        assert response.status_code == 200 and response.json()["error"]
    for options in (
        {},
        {"json": {"images": []}},
        {"content": b"x", "headers": {"Content-Type": "image/jpeg"}},
    ):
        wrong(client.call("upload_pic", **options).json(), "BAD_REQUEST", "multipart")
    broken = client.call(
        "upload_pic", content=b"--x", headers={"Content-Type": "multipart/form-data; boundary=y"}
    )
    assert broken.json()["error"]
    headers = {"Content-Type": "multipart/form-data"}
    wrong(client.call("upload_pic", content=b"--x", headers=headers).json(), "BAD_REQUEST")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b'"text"', b'{"id_search": 7}', b'{"id_search": null}', b"{}", b"\xff"],
)
def test_malformed_search_requests(client: FaceCheckClient, content: bytes) -> None:
    response = client.call("search", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == 200
    wrong(response.json(), "BAD_REQUEST")


@pytest.mark.parametrize("field", ["with_progress", "status_only", "demo"])
@pytest.mark.parametrize("value", ["yes", 1, [], {}])
def test_flags_of_the_wrong_type_start_nothing(
    charged: FaceCheckClient, london: list[Path], field: str, value: object
) -> None:
    search = charged.upload(london[0])["id_search"]
    wrong(charged.search(search, **{field: value}), "BAD_REQUEST", field)
    assert charged.info()["remaining_credits"] == 10


def test_a_deletion_that_names_nothing(client: FaceCheckClient, london: list[Path]) -> None:
    wrong(client.call("delete_pic").json(), "BAD_REQUEST", "id_search")
    search = client.upload(london[0])["id_search"]
    wrong(client.call("delete_pic", params={"id_search": search}).json(), "BAD_REQUEST", "id_pic")


def test_broken_pictures_are_named(client: FaceCheckClient, london: list[Path]) -> None:
    for file in sorted(require(DATA / "malformed").iterdir()):
        response = client.call(
            "upload_pic", files=[*files(london[0]), ("images", (file.name, file.read_bytes()))]
        )
        document = response.json()
        assert response.status_code in (200, 413)
        if document["error"]:
            assert (
                document["code"] in ("BAD_PICTURE", "NO_FACE", "TOO_LARGE")
                and "picture 2" in document["error"]
            )
            assert document["input"] is None


def test_a_picture_that_is_too_large(client: FaceCheckClient, london: list[Path]) -> None:
    data = london[0].read_bytes() + bytes(5 * 1024 * 1024)
    for response in (
        client.call("upload_pic", files=files(london[1], data)),
        client.call("upload_pic", files=files(*[data] * 9)),
    ):
        assert response.status_code == 413
        wrong(response.json(), "TOO_LARGE")


def test_another_method_and_another_path(client: FaceCheckClient) -> None:
    for path in ("upload_pic", "search", "delete_pic", "info"):
        response = client.http.get(f"/api/{path}", headers={"Authorization": client.token})
        assert response.status_code == 405 and response.headers["allow"] == "POST"
    assert client.call("searches").status_code == 404


def test_without_enough_credits_nothing_is_searched(
    client: FaceCheckClient, facecheck_server: OverHttp, london: list[Path]
) -> None:
    key, token = new_token(facecheck_server.home, credits=2)
    poor = FaceCheckClient(client.http, token)
    search = poor.upload(london[0])["id_search"]
    for options in ({}, {"with_progress": True}, {"demo": False}):
        wrong(poor.search(search, **options), "NOT_ENOUGH_CREDITS")
    assert poor.search(search, status_only=True)["progress"] == 0
    assert balance(facecheck_server.home, key) == 2


def test_of_a_hundred_concurrent_searches_on_a_balance_for_ten_exactly_ten_succeed(
    client: FaceCheckClient, facecheck_server: OverHttp, london: list[Path], tmp_path: Path
) -> None:
    key, token = new_token(facecheck_server.home, credits=10 * 3)
    small = [tmp_path / f"{number}.jpg" for number in range(5)]
    for portrait, path in zip(london, small, strict=False):
        cv2.imwrite(str(path), cv2.resize(cv2.imread(str(portrait)), (256, 256)))
    searches = [client.upload(small[number % 5])["id_search"] for number in range(100)]
    together = threading.Barrier(100)

    def search(identity: str) -> str:
        with httpx.Client(base_url=facecheck_server.url, timeout=120) as http:
            racer = FaceCheckClient(http, token)
            together.wait()
            found = racer.search(identity)
        return "found" if found.get("output") else found["code"]

    with ThreadPoolExecutor(100) as threads:
        outcomes = Counter(threads.map(search, searches))
    assert outcomes == {"found": 10, "NOT_ENOUGH_CREDITS": 90}
    assert balance(facecheck_server.home, key) == 0


def test_a_client_that_leaves_finds_its_search_done(
    charged: FaceCheckClient, facecheck_server: OverHttp, london: list[Path]
) -> None:
    search = charged.upload(london[0])["id_search"]
    with pytest.raises(httpx.ReadTimeout):
        charged.call("search", json={"id_search": search}, timeout=httpx.Timeout(30, read=0.002))
    deadline = time.monotonic() + 60
    while not (found := charged.search(search, with_progress=True)).get("output"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert found["output"]["items"]
    assert charged.info()["remaining_credits"] == 7
