"""Galleries from where the routes are: the methods of `GalleryStore`, awaited across processes."""

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from ray.serve.handle import DeploymentHandle

from prosopon.deployments.serving.calls import call
from prosopon.deployments.state.galleries.faces import FaceRecord, Match, NewFace, Query
from prosopon.deployments.state.galleries.store import GalleryStore

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Galleries:
    """Every method raises what `call` and `GalleryStore` raise. Safe to repeat: a face carries its id."""

    def __init__(self, index: DeploymentHandle) -> None:
        # A method is named once: to name it makes a handle of its own, which costs a tenth of a millisecond.
        self._add, self._search, self._run = index.add, index.search, index.run

    async def add(self, face: NewFace) -> FaceRecord:
        return cast(FaceRecord, await call(self._add, face))

    async def search(self, query: Query) -> list[Match]:
        return cast(list[Match], await call(self._search, query))

    async def run(
        self,
        method: Callable[Concatenate[GalleryStore, Parameters], Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Another method of the store: ``await galleries.run(GalleryStore.delete_subject, gallery, name)``."""
        arguments: tuple[Any, ...] = args
        assert not kwargs, "positional arguments only"
        return cast(Result, await call(self._run, method.__name__, *arguments))
