"""Calling deployments: what may be tried again is, and what cannot be had is said in one of two ways."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import grpc
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError

from prosopon.deployments.serving.messages import Rejected
from prosopon.deployments.state.errors import StateError

# A killed replica is back within a few seconds (process start, imports, model load).
_PAUSES = (0.05, 0.2, 0.5, 1.0, 2.0, 2.0, 4.0)
_REPLICA_GONE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
_OF_RAY = (
    BackPressureError,
    RayActorError,
    DeploymentUnavailableError,
    ReplicaUnavailableError,
    grpc.RpcError,
    RayTaskError,
)


class Overloaded(Exception):
    """More requests wait than the operator allows: try again in `retry_after` seconds. status: of HTTP."""

    status = 503
    retry_after = 1


class TooManyRequests(Overloaded):
    """Of one caller, whatever others do."""

    status = 429


class Unavailable(Exception):
    """A model or a store did not come back in time."""

    status = 503
    retry_after = 5


class ModelFailed(Exception):
    """A model raised: the details are in the log, not in the answer."""


Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def refusals_are_answers(
    method: Callable[Parameters, Awaitable[Result]],
) -> Callable[Parameters, Awaitable[Result | StateError]]:
    """A deployment's method that answers with its `StateError`, which `call` raises. Raised in a replica, an ordinary
    "there is no such subject" would be in its log as a failure, with a traceback that names the subject."""

    @wraps(method)
    async def answering(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result | StateError:
        try:
            return await method(*args, **kwargs)
        except StateError as error:
            return error

    return answering


async def call(method: Any, *args: Any) -> Any:
    """Await a deployment's method, again where its replica died meanwhile.

    Every call is safe to repeat: reads are, and writes carry the identity of what they write.
    Raises `Overloaded`, `Unavailable`, `ModelFailed`, the `StateError` that the deployment raised, or `ImageError` for
    its `Rejected`. Cancelled, it cancels the deployment's work too.
    """
    for pause in (*_PAUSES, None):
        response = method.remote(*args)
        try:
            return _answered(await response)
        except asyncio.CancelledError:
            # Whoever asked is gone: what was asked for need not be made.
            response.cancel()
            raise
        except _OF_RAY as error:
            await _before_another(error, pause)
    raise AssertionError("unreachable")


async def stream(method: Any, *args: Any) -> AsyncGenerator[Any, None]:
    """What a deployment's method yields, of a handle that streams: as `call`, which says what is raised. Where its
    replica died meanwhile everything is yielded anew, from the beginning."""
    for pause in (*_PAUSES, None):
        response = method.remote(*args)
        try:
            async for answer in response:
                yield _answered(answer)
            return
        except (asyncio.CancelledError, GeneratorExit):
            response.cancel()
            raise
        except _OF_RAY as error:
            await _before_another(error, pause)


def _answered(answer: Any) -> Any:
    if isinstance(answer, Rejected):
        raise answer.error()
    if isinstance(answer, StateError):
        raise answer
    return answer


async def _before_another(error: Exception, pause: float | None) -> None:
    """Wait before another attempt; None where there is none. Raises what callers get where that would not help."""
    if isinstance(error, BackPressureError):
        raise Overloaded(str(error)) from error
    if isinstance(error, RayTaskError):
        cause = error.cause
        if isinstance(cause, (StateError, Overloaded, Unavailable)):
            raise cause from None
        raise ModelFailed(str(cause)) from error
    if isinstance(error, grpc.RpcError) and error.code() not in _REPLICA_GONE:
        raise ModelFailed(str(error)) from error
    if pause is None:
        raise Unavailable(str(error)) from error
    await asyncio.sleep(pause)
