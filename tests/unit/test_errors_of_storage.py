"""Storage that is at fault is the server's fault, in each API's own form, and tells no hash."""

import json
import logging
from collections.abc import Callable

import pytest
from starlette.responses import Response

from prosopon.deployments.state.errors import (
    BlobMissing,
    IndexUnavailable,
    StorageBusy,
    StorageFault,
    StorageFull,
)
from prosopon.pipelines.apis.aifaceswap import routes as aifaceswap
from prosopon.pipelines.apis.checkface import routes as checkface
from prosopon.pipelines.apis.compreface.errors import ERRORS
from prosopon.pipelines.apis.facecheck import errors as facecheck

HASH = "0123456789abcdef" * 4


def compreface(error: StorageFault) -> Response:
    kind = next(kind for kind in type(error).__mro__ if kind in ERRORS)
    return ERRORS[kind](error)


ANSWERS: dict[str, Callable[[StorageFault], Response]] = {
    "compreface": compreface,
    "facecheck": lambda error: facecheck.translate(error).response(null_output=True),
    "checkface": lambda error: checkface._translate(error).response(),
    "aifaceswap": lambda error: aifaceswap._translate(error).response(),
}


@pytest.mark.parametrize("api", ANSWERS)
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
        answer = ANSWERS[api](error)
    assert answer.status_code == status
    assert words in json.dumps(json.loads(answer.body)) and HASH not in bytes(answer.body).decode()
    assert ("retry-after" in answer.headers) == (status != 500)
    assert str(error) in caplog.text
