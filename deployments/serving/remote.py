"""A deployment in another process as an object with its methods, and with no others."""

from collections.abc import Iterator
from functools import partial
from inspect import iscoroutinefunction
from types import SimpleNamespace
from typing import Any, TypeVar, cast

from ray.serve.handle import DeploymentHandle

from prosopon.deployments.serving.calls import call, stream

Service = TypeVar("Service")


def remote(handle: DeploymentHandle, service: type[Service]) -> Service:
    """What the deployment answers, as the protocol says; a method is `call`, and `stream` where it is no coroutine.

    Belongs to one event loop. A method is named once: to name it makes a handle of its own, which costs a tenth of a
    millisecond.
    """

    def method(name: str) -> partial[Any]:
        if iscoroutinefunction(getattr(service, name)):
            return partial(call, getattr(handle, name))
        return partial(stream, getattr(handle.options(stream=True), name))

    return cast(Service, SimpleNamespace(**{name: method(name) for name in methods_of(service)}))


def methods_of(service: type) -> Iterator[str]:
    """The methods that a protocol names, its bases' too."""
    for name in dir(service):
        if not name.startswith("_") and callable(getattr(service, name)):
            yield name
