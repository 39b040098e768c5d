"""What callers get of what a deployment answers."""

import asyncio
from typing import Any

import pytest

from prosopon.deployments.serving.calls import call, refusals_are_answers
from prosopon.deployments.serving.messages import Rejected
from prosopon.deployments.state.errors import SubjectNotFound
from prosopon.models.pictures.decoding import ImageError, RejectionReason


class Answering:
    """A deployment's method, in this process."""

    def __init__(self, answer: object) -> None:
        self._answer = answer

    async def remote(self, *args: Any) -> Any:
        return self._answer


def test_what_a_deployment_answers_is_what_its_caller_gets() -> None:
    assert asyncio.run(call(Answering("an answer"))) == "an answer"


def test_a_picture_that_a_deployment_rejects_is_an_error_of_its_caller() -> None:
    damaged = ImageError(RejectionReason.CORRUPT, "the file ends too early")
    with pytest.raises(ImageError, match=r"^the file ends too early$") as raised:
        asyncio.run(call(Answering(Rejected.of(damaged))))
    assert raised.value.reason is RejectionReason.CORRUPT


def test_an_ordinary_refusal_is_an_answer_that_call_raises() -> None:
    """A replica that raised it would log a traceback with the subject's name."""

    class Replica:
        @refusals_are_answers
        async def rename(self, subject: str) -> str:
            raise SubjectNotFound(f"there is no subject '{subject}'")

    answer = asyncio.run(Replica().rename("Zoë"))
    assert isinstance(answer, SubjectNotFound)
    with pytest.raises(SubjectNotFound, match="Zoë"):
        asyncio.run(call(Answering(answer)))
