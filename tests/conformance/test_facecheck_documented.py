"""FaceCheck's documented calls against a running application: every field of every answer."""

import time
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from prosopon.models.matching.scores import CERTAIN
from prosopon.models.pictures.thumbnails import THUMBNAIL
from tests.conformance.conftest import PAGE, PEOPLE
from tests.conformance.facecheck_client import UNLIMITED, FaceCheckClient, answer, new_token, webp
from tests.paths import smiling
from tests.support.in_process import OverHttp

ANSWER = {"id_search", "message", "progress", "error", "code", "input"}
INPUT = {"id_pic", "base64", "url_source", "svg_anim"}
OUTPUT = {
    "demo", "items", "max_score", "searchedFaces", "tookSeconds", "tookSecondsQueue", "tookSecondsDownload", "freeRam",
    "face_per_sec", "performance", "images_in_bundle",
}  # fmt: skip
ITEM = {"guid", "score", "group", "base64", "url", "index", "indexDB"}
FACES = PEOPLE + 1


def fine(document: dict[str, Any]) -> None:
    assert document["error"] is None and document["code"] is None


def searched(client: FaceCheckClient, *pictures: Path | bytes, **options: Any) -> dict[str, Any]:
    """The output of a search by these pictures."""
    found = client.search(client.upload(*pictures)["id_search"], **options)
    fine(found)
    output: dict[str, Any] = found["output"]
    return output


def test_an_upload_answers_the_search_and_a_preview_of_each_face(
    client: FaceCheckClient, london: list[Path]
) -> None:
    uploaded = client.upload(*london[:2])
    fine(uploaded)
    assert set(uploaded) == ANSWER and UUID(uploaded["id_search"])
    assert uploaded["message"] == "The search has 2 pictures."
    assert len({picture["id_pic"] for picture in uploaded["input"]}) == 2
    for picture in uploaded["input"]:
        assert set(picture) == INPUT and UUID(picture["id_pic"])
        assert webp(picture["base64"]).size == (THUMBNAIL.size, THUMBNAIL.size)


def test_pictures_are_added_to_a_search(client: FaceCheckClient, london: list[Path]) -> None:
    first = client.upload(london[0])
    second = client.upload(*london[1:3], search=first["id_search"])
    assert second["id_search"] == first["id_search"]
    assert second["input"][0] == first["input"][0] and len(second["input"]) == 3


def test_a_search_finds_the_person_first(client: FaceCheckClient, london: list[Path]) -> None:
    for neutral in london[3:9]:
        output = searched(client, smiling(neutral))
        assert set(output) == OUTPUT
        best = output["items"][0]
        assert best["url"] == f"https://example.org/{neutral.stem}"
        assert best["score"] == output["max_score"] and best["score"] <= 100
        for index, item in enumerate(output["items"]):
            assert set(item) == ITEM and item["index"] == index
            assert webp(item["base64"]).size == (THUMBNAIL.size, THUMBNAIL.size)
        scores = [item["score"] for item in output["items"]]
        assert scores == sorted(scores, reverse=True) and scores[-1] >= 50
        for field in ("guid", "indexDB"):
            assert len({item[field] for item in output["items"]}) == len(scores)


def test_the_picture_of_the_index_itself_scores_as_certain(
    client: FaceCheckClient, london: list[Path]
) -> None:
    assert searched(client, london[5])["max_score"] >= CERTAIN


def test_figures_of_a_search(client: FaceCheckClient, london: list[Path]) -> None:
    output = searched(client, smiling(london[3]), smiling(london[3]))
    assert output["images_in_bundle"] == 2 and output["demo"] is False
    assert output["searchedFaces"] == FACES and f"{FACES} faces in" in output["performance"]
    assert 0 < output["tookSecondsDownload"] + output["tookSecondsQueue"] <= output["tookSeconds"] < 60
    assert output["face_per_sec"] > 0


def test_faces_of_one_group_or_page_have_the_same_number(client: FaceCheckClient, london: list[Path]) -> None:
    items = searched(client, london[0], smiling(london[0]))["items"]
    numbers = {item["url"]: item["group"] for item in items}
    assert numbers["https://example.org/a"] == numbers["https://example.org/b"] == 0
    others = [
        item["group"]
        for item in items
        if item["url"] not in ("https://example.org/a", "https://example.org/b")
    ]
    assert 0 not in others
    of_page = [
        item["group"] for item in searched(client, london[1], london[2])["items"] if item["url"] == PAGE
    ]
    assert len(of_page) == 2 and len(set(of_page)) == 1


def test_progress_until_the_output_is_there(client: FaceCheckClient, london: list[Path]) -> None:
    search = client.upload(smiling(london[4]))["id_search"]
    seen, deadline = [], time.monotonic() + 30
    while time.monotonic() < deadline:
        found = client.search(search, with_progress=True)
        fine(found)
        assert found["id_search"] == search and found["message"]
        seen.append(found["progress"])
        if found.get("output"):
            break
    assert set(found) == ANSWER | {"output"}
    assert seen == sorted(seen) and seen[-1] == 100 and 0 <= seen[0] < 100
    assert found["output"]["items"][0]["url"] == f"https://example.org/{london[4].stem}"
    assert (
        client.search(search)["output"]
        == client.search(search, status_only=True)["output"]
        == found["output"]
    )


def test_status_only_starts_nothing(charged: FaceCheckClient, london: list[Path]) -> None:
    search = charged.upload(london[4])["id_search"]
    for _ in range(3):
        found = charged.search(search, status_only=True)
        fine(found)
        assert found["progress"] == 0 and "output" not in found
        assert "1 picture" in found["message"] and "not started" in found["message"]
    assert charged.info()["remaining_credits"] == 10


def test_a_demo_says_so(client: FaceCheckClient, london: list[Path]) -> None:
    output = searched(client, london[4], demo=True)
    assert output["demo"] is True and output["searchedFaces"] == FACES and output["items"]


def test_a_picture_is_removed_and_what_remains_is_answered(
    client: FaceCheckClient, london: list[Path]
) -> None:
    uploaded = client.upload(*london[:3])
    first, *rest = uploaded["input"]
    left = client.delete(uploaded["id_search"], first["id_pic"])
    fine(left)
    assert left["input"] == rest and left["message"] == "The search has 2 pictures."
    for picture in rest:
        left = client.delete(uploaded["id_search"], picture["id_pic"])
    assert left["input"] == []


def test_a_search_can_be_made_again_with_other_pictures(charged: FaceCheckClient, london: list[Path]) -> None:
    uploaded = charged.upload(london[4])
    search = uploaded["id_search"]
    assert charged.search(search)["output"]["items"][0]["url"].endswith(london[4].stem)
    charged.upload(london[6], search=search)
    charged.delete(search, uploaded["input"][0]["id_pic"])
    assert "output" not in charged.search(search, status_only=True)
    assert charged.search(search)["output"]["items"][0]["url"].endswith(london[6].stem)
    assert charged.info()["remaining_credits"] == 10 - 3 - 3


def test_info(client: FaceCheckClient, charged: FaceCheckClient, facecheck_server: OverHttp) -> None:
    assert client.info() == {
        "faces": FACES,
        "is_online": True,
        "remaining_credits": UNLIMITED,
        "has_credits_to_search": True,
    }
    assert charged.info()["remaining_credits"] == 10
    poor = FaceCheckClient(charged.http, new_token(facecheck_server.home, credits=2)[1])
    assert poor.info()["has_credits_to_search"] is False and poor.info()["remaining_credits"] == 2


def test_a_completed_search_costs_three_credits_however_often_it_is_asked_for(
    charged: FaceCheckClient, london: list[Path]
) -> None:
    search = charged.upload(london[4])["id_search"]
    for _ in range(3):
        assert charged.search(search)["output"]
    assert charged.info()["remaining_credits"] == 7


@pytest.mark.parametrize("form", ["{}", "Bearer {}", "bearer {}", "BEARER   {}"])
def test_the_token_is_taken_bare_or_as_a_bearer(client: FaceCheckClient, form: str) -> None:
    answer(client.http.post("/api/info", headers={"Authorization": form.format(client.token)}))


def test_other_content_types_of_json(client: FaceCheckClient, london: list[Path]) -> None:
    search = client.upload(london[4])["id_search"]
    for kind in ("text/json", "application/problem+json", "application/json; charset=utf-8"):
        body = f'{{"id_search": "{search}", "status_only": true, "id_captcha": null}}'.encode()
        fine(answer(client.call("search", content=body, headers={"Content-Type": kind})))
