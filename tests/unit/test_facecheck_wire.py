"""FaceCheck's answers, byte for byte."""

import json
from uuid import UUID

import pytest
from starlette.responses import JSONResponse

from prosopon.deployments.state.jobs.searches import GIVEN_UP
from prosopon.pipelines.apis.facecheck.errors import Code
from prosopon.pipelines.apis.facecheck.wire import (
    BrowserJsonResponse,
    Search_Results,
    WithoutNullOutput,
    data_uri,
    message_of,
    results_of,
)
from prosopon.pipelines.graphs.face_search import Found, SearchHit
from prosopon.pipelines.graphs.searches import FAILED


def test_without_an_output_the_field_is_left_out_or_null_as_configured() -> None:
    document = BrowserJsonResponse(message="The search is not started.").model_dump()
    assert "output" not in json.loads(WithoutNullOutput(document).body)
    assert json.loads(JSONResponse(document).body)["output"] is None


@pytest.mark.parametrize("answers", [JSONResponse, WithoutNullOutput])
def test_an_output_is_passed_on_as_it_was_stored(answers: type[JSONResponse]) -> None:
    found = Found((SearchHit(UUID(int=1), 90, "https://example.org/a", 0, b"abc", 7),), 1, 0.1, 0.1, 0.0)
    stored = results_of(found, False, 1, 0.0, True).model_dump_json()
    output = Search_Results.model_validate_json(stored)
    document = json.loads(answers(BrowserJsonResponse(progress=100, output=output).model_dump()).body)
    assert document["output"] == json.loads(stored) and document["output"]["items"][0]["indexDB"] == 7
    assert document["progress"] == 100 and document["error"] is None


def test_a_thumbnail_is_a_data_uri_or_null() -> None:
    assert data_uri(b"abc") == "data:image/webp;base64,YWJj" and data_uri(None) is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("file:///home/ann/London%20pictures/n%C2%B0%201%23.jpg", "n° 1#.jpg"),
        ("https://example.org/files/a%20b.jpg", "https://example.org/files/a%20b.jpg"),
        ("a page of the album", "a page of the album"),
        (None, None),
    ],
)
def test_results_tell_nothing_of_the_machines_folders_but_where_they_shall(
    url: str | None, shown: str | None
) -> None:
    found = Found((SearchHit(UUID(int=1), 90, url, 0, None, 1),), 1, 0.1, 0.1, 0.0)

    def told(show_files: bool) -> list[str | None]:
        return [item.url for item in results_of(found, False, 1, 0.0, show_files).items or ()]

    assert told(show_files=False) == [shown] and told(show_files=True) == [url]


def test_a_search_that_finds_nobody_says_why() -> None:
    hit = SearchHit(UUID(int=1), 90, None, 0, None, 1)

    def message(searched: int, *hits: SearchHit) -> str:
        return message_of(Found(hits, searched, 0.1, 0.1, 0.0))

    assert message(0) == "The search is done: nothing was found, for the index is empty."
    assert message(1) == "The search is done: no similar face was found among 1 face."
    assert message(1200) == "The search is done: no similar face was found among 1,200 faces."
    assert message(1200, hit) == "The search is done."


def test_the_codes_of_searches_that_fail_are_the_apis() -> None:
    assert {GIVEN_UP, FAILED} <= set(Code)


def test_a_probe_that_is_not_one_person_says_so() -> None:
    found = Found(10, (SearchHit(UUID(int=1), 90, "https://a.example", 1, None, 1),), 0.1, 0.1, 0.1)
    assert message_of(found, 3) == "The search is done."
    assert "different people" in message_of(found, 2, (1, 2))
    assert "Picture 2 is unlike the others" in message_of(found, 3, (2,))
