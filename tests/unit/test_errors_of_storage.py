"""What is the server's fault, or too much, is told in each API's own form."""

import json
import logging

import pytest
from starlette.responses import JSONResponse, Response

from prosopon.deployments.serving.calls import Overloaded, TooManyRequests
from prosopon.deployments.state.errors import (
    BlobMissing,
    IndexUnavailable,
    StorageBusy,
    StorageFault,
    StorageFull,
)
from prosopon.pipelines.apis.aifaceswap.errors import ERRORS as AIFACESWAP
from prosopon.pipelines.apis.checkface.errors import ERRORS as CHECKFACE
from prosopon.pipelines.apis.compreface.errors import ERRORS as COMPREFACE
from prosopon.pipelines.apis.facecheck.errors import errors as facecheck
from prosopon.pipelines.apis.trueface.errors import ERRORS as TRUEFACE
from prosopon.pipelines.http.errors import ErrorTable

HASH = "0123456789abcdef" * 4
TABLES = {
    "compreface": COMPREFACE,
    "trueface": TRUEFACE,
    "facecheck": facecheck(JSONResponse),
    "checkface": CHECKFACE,
    "aifaceswap": AIFACESWAP,
}


def answer_of(table: ErrorTable, error: Exception) -> Response:
    kind = next(kind for kind in type(error).__mro__ if kind in table)
    return table[kind](error)


@pytest.mark.parametrize("api", TABLES)
@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (StorageBusy("x"), 503, "busy"),
        (IndexUnavailable("x"), 503, "busy"),
        (StorageFull("x"), 507, "no space"),
        (BlobMissing(HASH), 500, "cannot be read"),
    ],
)
def test_a_fault_of_the_storage(
    api: str, error: StorageFault, status: int, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "ray.serve"):
        answer = answer_of(TABLES[api], error)
    assert answer.status_code == status
    assert words in json.dumps(json.loads(answer.body)) and HASH not in bytes(answer.body).decode()
    assert ("retry-after" in answer.headers) == (status != 500)
    assert str(error) in caplog.text


FORMS = {
    "compreface": {"message", "code"},
    "trueface": {"success", "message", "data"},
    "facecheck": {"error", "code"},
    "checkface": {"error"},
    "aifaceswap": {"code", "message", "data"},
}


@pytest.mark.parametrize("api", TABLES)
@pytest.mark.parametrize(("kind", "status"), [(TooManyRequests, 429), (Overloaded, 503)])
def test_who_asks_too_much_is_told_when_to_come_back(api: str, kind: type[Overloaded], status: int) -> None:
    error = kind("more than 5 requests a second")
    error.retry_after = 7
    answer = answer_of(TABLES[api], error)
    # Trueface documents no other status for a server that has no room.
    assert answer.status_code == (429 if api == "trueface" else status)
    assert answer.headers["retry-after"] == "7"
    assert set(json.loads(answer.body)) >= FORMS[api]
