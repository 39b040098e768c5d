"""A deployment in another process as an object with its methods, and with no others."""

from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import TypeVar, cast

from ray.serve.handle import DeploymentHandle

from prosopon.deployments.serving.calls import call

Service = TypeVar("Service")


def remote(handle: DeploymentHandle, service: type[Service]) -> Service:
    """What the deployment answers, as the protocol says; every method is `call`.

    Belongs to one event loop. A method is named once: to name it makes a handle of its own, which costs a tenth of a
    millisecond.
    """
    methods = {name: partial(call, getattr(handle, name)) for name in methods_of(service)}
    return cast(Service, SimpleNamespace(**methods))


def methods_of(service: type) -> Iterator[str]:
    """The methods that a protocol names, its bases' too."""
    for name in dir(service):
        if not name.startswith("_") and callable(getattr(service, name)):
            yield name
