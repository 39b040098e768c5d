"""What callers get of what a deployment answers."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from ray.serve.exceptions import BackPressureError, ReplicaUnavailableError

from prosopon.deployments.serving.calls import Overloaded, call, refusals_are_answers, stream
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


class Yielding:
    """A deployment's method that yields, of which each attempt ends as it is told to."""

    def __init__(self, *attempts: list[object]) -> None:
        self._attempts, self.cancelled = list(attempts), 0

    def remote(self, *args: Any) -> Any:
        method, items = self, self._attempts.pop(0)

        class Response:
            async def __aiter__(self) -> Any:
                for item in items:
                    if isinstance(item, Exception):
                        raise item
                    yield item

            def cancel(self) -> None:
                method.cancelled += 1

        return Response()


async def _all(method: Yielding) -> list[object]:
    return [item async for item in stream(method)]


def test_what_a_deployment_yields_is_yielded_anew_where_its_replica_died() -> None:
    method = Yielding([1, 2, ReplicaUnavailableError("gone")], [1, 2, 3])
    assert asyncio.run(_all(method)) == [1, 2, 1, 2, 3]
    assert method.cancelled == 0
    full = Yielding([BackPressureError(2, 1)])
    with pytest.raises(Overloaded):
        asyncio.run(_all(full))


def test_who_listens_no_more_has_the_deployments_work_cancelled() -> None:
    async def leave(method: Yielding) -> object:
        async with aclosing(stream(method)) as told:
            return await anext(told)

    method = Yielding([1, 2])
    assert (asyncio.run(leave(method)), method.cancelled) == (1, 1)


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
