"""aifaceswap and input that is wrong, hostile or too much: a clear error in its own form, and no points lost."""

import io
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.conformance.aifaceswap_client import BASE, Swapper, new_swapper
from tests.conformance.client import new_key
from tests.loopback import Loopback, picture_bomb
from tests.support.in_process import OverHttp

POINTS = 100


@pytest.fixture(scope="module")
def web(web: Loopback) -> Loopback:
    web.add("/nobody", noise())
    return web


@pytest.fixture(scope="module")
def server(makers_in_process: OverHttp) -> OverHttp:
    return makers_in_process


@pytest.fixture
def client(server: OverHttp) -> Swapper:
    return new_swapper(server, POINTS)


@pytest.fixture
def face(london: list[Path]) -> bytes:
    return london[0].read_bytes()


def noise() -> bytes:
    """A picture of nobody."""
    pixels = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def refused(client: Swapper, answer: httpx.Response, status: int, *words: str) -> str:
    """An error in the API's form, which changed nothing."""
    document = answer.json()
    assert (answer.status_code, document["code"], document["data"]) == (status, status, {}), answer.text
    message: str = document["message"]
    assert all(word in message for word in words), message
    assert client.points() == POINTS
    return message


# ---------------------------------------------------------------------------------------------------------- keys


@pytest.mark.parametrize("header", ["", "Bearer", "Basic abc", "Bearer 0", "bearer-of-news"])
def test_without_a_key_nothing_is_done(server: OverHttp, header: str) -> None:
    for route in ("faceswap", "multi_faceswap", "extract_face"):
        answer = httpx.post(f"{server.url}{BASE}/{route}", headers={"Authorization": header}, json={})
        assert (answer.status_code, answer.json()["code"]) == (401, 401)
        assert answer.headers["www-authenticate"] == "Bearer"
    assert httpx.get(f"{server.url}{BASE}/task/{'0' * 32}").status_code == 401


def test_a_key_for_something_else_is_refused(server: OverHttp) -> None:
    headers = {"Authorization": f"Bearer {new_key(server, 'detection')}"}
    answer = httpx.post(f"{server.url}{BASE}/extract_face", headers=headers, json={})
    assert (answer.status_code, answer.json()["code"]) == (403, 403)


def test_other_paths_and_methods_are_refused_in_the_same_form(client: Swapper) -> None:
    refused(client, client.http.get(f"{BASE}/faceswap"), 405)
    refused(client, client.post("nothing"), 404)


# --------------------------------------------------------------------------------------------------------- fields


@pytest.mark.parametrize(
    ("route", "missing"),
    [("faceswap", "source_image"), ("multi_faceswap", "source_image"), ("extract_face", "img")],
)
def test_a_missing_field_is_named(client: Swapper, route: str, missing: str) -> None:
    refused(client, client.post(route, json={}), 400, missing)
    refused(client, client.post(route, files={"other": b"x"}), 400, missing)
    refused(client, client.post(route, json={missing: None}), 400, missing)
    refused(client, client.post(route, json={missing: 5}), 400, missing)
    refused(client, client.post(route, content=b""), 400)
    refused(client, client.post(route, content=b"[]"), 400)


def test_the_face_and_the_index_are_named(client: Swapper, face: bytes, web: Loopback) -> None:
    refused(client, client.post("faceswap", files={"source_image": face}), 400, "face_image")
    files = {"source_image": face, "face_image": face}
    refused(client, client.post("multi_faceswap", files=files), 400, "index")
    two = {"source_image": web.url + "/face0", "face_image": [web.url + "/face1"] * 2}
    refused(client, client.post("faceswap", json=two), 400, "face_image")


@pytest.mark.parametrize(
    ("index", "word"),
    [
        ([9], "out of range"), ([6], "out of range"), ([-1], "out of range"), ([0, 1], "one is needed for each"),
        ([], "missing"), (["a"], "whole numbers"), ([10**9], "whole numbers"), ("1.5", "whole numbers"),
    ],
)  # fmt: skip
def test_an_index_that_fits_no_face_is_refused(
    client: Swapper, face: bytes, group_picture: Path, index: Any, word: str
) -> None:
    files = {"source_image": group_picture.read_bytes(), "face_image": face}
    refused(client, client.post("multi_faceswap", data={"index": index}, files=files), 400, "index", word)


def test_a_repeated_index_is_refused(client: Swapper, face: bytes, web: Loopback) -> None:
    urls = {"source_image": web.url + "/group", "face_image": [web.url + "/face0"] * 2, "index": [1, 1]}
    refused(client, client.post("multi_faceswap", json=urls), 400, "index", "repeats 1")


def test_too_many_faces_are_refused(client: Swapper, web: Loopback) -> None:
    urls = {
        "source_image": web.url + "/group",
        "face_image": [web.url + "/face0"] * 17,
        "index": list(range(17)),
    }
    refused(client, client.post("multi_faceswap", json=urls), 400, "face_image", "16")


@pytest.mark.parametrize(
    "webhook",
    [
        "nonsense",
        "www.example.com/hook",
        "http://.",
        "http://a b/",
        "ftp://a/b",
        "http://10.0.0.1/",
        "http://[::1]/",
        5,
        "http://u:p@a.b/",
    ],
)
def test_a_webhook_that_cannot_be_called_is_refused(client: Swapper, web: Loopback, webhook: Any) -> None:
    body = {"source_image": web.url + "/face0", "face_image": web.url + "/face1", "webhook": webhook}
    refused(client, client.post("faceswap", json=body), 400, "webhook")


# ------------------------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize(
    ("kind", "status"), [("empty", 400), ("text", 400), ("bomb", 400), ("large", 413), ("truncated", 400)]
)
def test_a_file_that_is_no_picture_is_refused(client: Swapper, face: bytes, kind: str, status: int) -> None:
    bad = {
        "empty": b"",
        "text": b"this is no picture",
        "bomb": picture_bomb(),
        "large": face + bytes(6_000_000),
        "truncated": face[: len(face) // 2],
    }[kind]
    refused(client, client.post("extract_face", files={"img": bad}), status)
    if kind == "truncated":  # Its header promises a picture: the task finds out.
        task = client.wait(client.accepted("faceswap", files={"source_image": face, "face_image": bad}))
        assert (task["success"], task["result_image"]) == (0, None)
        assert "face_image" in task["message"]
        assert client.points() == POINTS
    else:
        swap = {"source_image": face, "face_image": bad}
        refused(client, client.post("faceswap", files=swap), status, "face_image")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.2/", "http://10.1.2.3/a.png", "http://169.254.169.254/latest/meta-data/", "http://[::1]/",
        "http://2130706434/", "file:///etc/passwd", "picture.png", "", "data:image/png;base64,AAAA",
        "/api/aifaceswap/v1/result/guessed.png",
    ],
)  # fmt: skip
def test_a_url_that_leads_inside_or_nowhere_is_refused(client: Swapper, web: Loopback, url: str) -> None:
    refused(client, client.post("extract_face", json={"img": url}), 400, "img")
    if url == "http://2130706434/":  # An address that only resolving shows.
        body = {"source_image": web.url + "/face0", "face_image": url}
        assert client.wait(client.accepted("faceswap", json=body))["success"] == 0
        assert client.points() == POINTS
    else:
        body = {"source_image": url, "face_image": web.url + "/face0"}
        refused(client, client.post("faceswap", json=body), 400, "source_image")


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/to-private", "public internet"), ("/to-loopback", "public internet"), ("/to-file", "http"),
        ("/circle", "redirects"), ("/gigabyte", "more than"), ("/html", "not an image"),
        ("/text-as-png", "not an image"), ("/bomb", "pixels"), ("/missing", "404"),
    ],
)  # fmt: skip
def test_a_url_that_brings_no_picture_is_told_and_costs_nothing(
    client: Swapper, web: Loopback, path: str, word: str
) -> None:
    refused(client, client.post("extract_face", json={"img": web.url + path}), 400, word)
    hook = f"/hook{path}"
    body = {"source_image": web.url + "/face0", "face_image": web.url + path, "webhook": web.url + hook}
    task_id = client.accepted("faceswap", json=body)
    (call,) = web.wait_for(hook)
    assert call.is_signed_with(client.secret)
    assert (call.document["success"], call.document["task_id"]) == (0, task_id)
    assert word in call.document["message"]
    assert "face_image" in call.document["message"]
    assert client.points() == POINTS


def test_a_url_that_never_ends_is_given_up_and_delays_nobody(client: Swapper, web: Loopback) -> None:
    body = {"source_image": web.url + "/endless", "face_image": web.url + "/face0"}
    endless = [client.accepted("faceswap", json=body) for _ in range(8)]
    started = time.monotonic()
    good = {"source_image": web.url + "/face0", "face_image": web.url + "/face1"}
    assert client.wait(client.accepted("faceswap", json=good))["success"] == 1
    assert all(client.task(task_id)["success"] is None for task_id in endless)
    print(f"a good task beside 8 endless ones took {time.monotonic() - started:.2f} s")
    assert all(client.wait(task_id)["success"] == 0 for task_id in endless)
    assert client.points() == POINTS - 2
    answer = client.post("extract_face", json={"img": web.url + "/endless"})
    assert (answer.status_code, "within 3 s" in answer.json()["message"]) == (400, True)


@pytest.mark.parametrize("form", ["files", "urls"])
@pytest.mark.parametrize("nobody", ["source_image", "face_image"])
def test_a_picture_of_nobody_ends_the_task_and_gives_the_points_back(
    client: Swapper, web: Loopback, form: str, nobody: str
) -> None:
    paths = {"source_image": "/face0", "face_image": "/face1", nobody: "/nobody"}
    if form == "files":
        task_id = client.accepted(
            "faceswap", files={name: web.pictures[path] for name, path in paths.items()}
        )
    else:
        task_id = client.accepted("faceswap", json={name: web.url + path for name, path in paths.items()})
    task = client.wait(task_id)
    assert (task["status"], task["success"], task["result_image"]) == ("failed", 0, None)
    assert task["message"] == f"no face is found in {nobody}"
    assert client.points() == POINTS


def test_an_index_out_of_range_is_told_in_the_same_words_of_a_file_and_of_a_picture_of_the_web(
    client: Swapper, web: Loopback, face: bytes, group_picture: Path
) -> None:
    urls = {"source_image": web.url + "/group", "face_image": [web.url + "/face0"], "index": [6]}
    task = client.wait(client.accepted("multi_faceswap", json=urls))
    assert task["success"] == 0
    assert task["message"] == "index 6 is out of range: source_image has 6 faces, counted from 0"
    files = {"source_image": group_picture.read_bytes(), "face_image": face}
    answer = client.post("multi_faceswap", data={"index": 6}, files=files)
    assert (answer.status_code, answer.json()["message"]) == (400, task["message"])
    assert client.points() == POINTS


def test_a_picture_of_nobody_has_no_faces_to_extract_and_costs_nothing(
    client: Swapper, web: Loopback
) -> None:
    answer = client.post("extract_face", files={"img": web.pictures["/nobody"]})
    assert answer.json()["data"] == {"faces": [], "points": 0}
    files = {"source_image": web.pictures["/nobody"], "face_image": web.pictures["/face0"]}
    answer = client.post("multi_faceswap", data={"index": 0}, files=files)
    assert (answer.status_code, answer.json()["message"]) == (400, "no face is found in source_image")
    assert client.points() == POINTS


# --------------------------------------------------------------------------------------------------------- points


def test_requests_that_race_for_the_last_points(server: OverHttp, face: bytes) -> None:
    client = new_swapper(server, 3)

    def swap(_: int) -> int:
        return client.post("faceswap", files={"source_image": face, "face_image": face}).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(swap, range(8)))
    assert sorted(statuses) == [200] + [402] * 7
    assert client.points() == 1
    answer = client.post("extract_face", files={"img": face})
    assert (answer.status_code, answer.json()["code"], answer.json()["data"]) == (402, 402, {})


# ------------------------------------------------------------------------------------------------------- webhooks


def test_a_webhook_that_hangs_or_fails_delays_no_other(client: Swapper, web: Loopback) -> None:
    web.replies["/hanging"] = [0]
    web.replies["/failing"] = [500, 503, 200]
    urls = {"source_image": web.url + "/nobody", "face_image": web.url + "/face0"}
    for hook in ("/hanging", "/failing"):
        for _ in range(6):
            client.accepted("faceswap", json={**urls, "webhook": web.url + hook})
    other = client.accepted(
        "faceswap", json={**urls, "webhook": web.url.replace("127.0.0.1", "localhost") + "/good"}
    )
    client.wait(other)
    ended = time.monotonic()
    (call,) = web.wait_for("/good", seconds=30)
    print(f"delivered {call.at - ended:.2f} s after the end of its task")
    assert call.at - ended < 5
    repeated = web.wait_for("/failing", 7, seconds=60)
    assert len({call.headers["webhook-id"] for call in repeated}) < len(repeated), "tried again"
    bodies: dict[str, set[bytes]] = {}
    for call in repeated:
        assert call.is_signed_with(client.secret)
        bodies.setdefault(call.headers["webhook-id"], set()).add(call.body)
    assert all(len(same) == 1 for same in bodies.values()), "the same bytes in every attempt"
