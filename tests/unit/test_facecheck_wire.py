"""FaceCheck's answers, byte for byte."""

import json

import pytest

from deployments.state.search_runs import GIVEN_UP
from pipelines.facecheck_errors import Code
from pipelines.facecheck_wire import BrowserJsonResponse, data_uri
from pipelines.searches import FAILED


def test_without_an_output_the_field_is_left_out_or_null_as_configured() -> None:
    assert "output" not in json.loads(BrowserJsonResponse().response().body)
    assert json.loads(BrowserJsonResponse().response(null_output=True).body)["output"] is None


@pytest.mark.parametrize("null_output", [False, True])
def test_an_output_is_passed_on_as_it_is(null_output: bool) -> None:
    response = BrowserJsonResponse(progress=100).response(b'{"items":[]}', null_output=null_output)
    document = json.loads(response.body)
    assert document["output"] == {"items": []} and document["progress"] == 100 and document["error"] is None


def test_a_thumbnail_is_a_data_uri_or_null() -> None:
    assert data_uri(b"abc") == "data:image/webp;base64,YWJj" and data_uri(None) is None


def test_the_codes_of_searches_that_fail_are_the_apis() -> None:
    assert {GIVEN_UP, FAILED} <= set(Code)
