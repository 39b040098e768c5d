"""Prosopon from Python: the pipelines of a running application, typed, without HTTP.

::

    from prosopon.pipelines.python.handles import Prosopon

    with Prosopon.connect() as prosopon:                     # joins the application that `prosopon serve` started
        picture = prosopon.detect(Path("party.jpg"), {"age"}).result()
        people = prosopon.gallery("friends")
        people.enrol("Ann", Path("ann.jpg")).result()
        for person in people.recognise(Path("party.jpg")).result():
            print(person.face.box, person.candidates)
        film = await prosopon.morph("example", "yeet")       # the same call in a coroutine
        for picture in prosopon.each(prosopon.embeddings, Path("album").glob("*.jpg")):
            ...                                               # bounded: a few pictures are under way, the rest wait

A picture is a file (its path, its bytes, or open), an array ``(H, W, 3)`` uint8 RGB, or a picture of Pillow's.

Every method returns an `Answer` at once: ask it for `result()`, or await it. All of them raise, when asked,
`Overloaded` and `Unavailable` (try again), `ModelFailed`, and `ImageError` where bytes are no picture; after `close`,
at once, `Closed`.
Who can join the Ray instance can do everything: there are no keys here.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from prosopon.deployments.serving.calls import ModelFailed, Overloaded, Unavailable
from prosopon.deployments.state.errors import StateError
from prosopon.models.generation.latents import LatentError
from prosopon.models.pictures.decoding import ImageError
from prosopon.models.swap.types import NoSwap
from prosopon.pipelines.graphs.face_analysis import Face, Picture
from prosopon.pipelines.graphs.face_search import SearchHit
from prosopon.pipelines.graphs.generation import Inversion
from prosopon.pipelines.graphs.recognition import Candidate, LowQuality, NoFace, SeveralFaces
from prosopon.pipelines.python.answers import (
    Image,
    NotServed,
    RecognisedFace,
    Verification,
    VerifiedFace,
    read,
)
from prosopon.pipelines.python.calls import Opened, served
from prosopon.pipelines.python.connection import Answer, Closed, Loop
from prosopon.pipelines.python.gallery import Gallery
from prosopon.pipelines.python.generation import GenerationCalls
from prosopon.pipelines.python.people import PeopleCalls
from prosopon.pipelines.running import NotRunning, join

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

__all__ = [
    "Answer", "Candidate", "Closed", "Face", "Gallery", "Image", "ImageError", "Inversion", "LatentError",
    "LowQuality", "ModelFailed", "NoFace", "NoSwap", "NotRunning", "NotServed", "Overloaded", "Picture", "Prosopon",
    "RecognisedFace", "SearchHit", "SeveralFaces", "StateError", "Unavailable", "Verification", "VerifiedFace",
]  # fmt: skip

Item = TypeVar("Item")
Result = TypeVar("Result")


class Prosopon(PeopleCalls, GenerationCalls):
    """A running application. Safe to use from any thread and any event loop. A context manager.

    `people` has what it says of pictures, `generation` what it makes of latents.
    """

    def __init__(self, app: "DeploymentHandle", max_in_flight: int = 16, patience: float = 30) -> None:
        """app: of `serve.get_app_handle`; the rest as for `connect`."""
        self._loop = Loop(max_in_flight, patience)
        try:
            self._graphs = self._loop.submit(lambda: Opened.of(app)).result()
        except BaseException:
            self._loop.close()
            raise
        self.settings = self._graphs.settings

    @classmethod
    def connect(
        cls,
        address: str | None = None,
        *,
        home: Path | None = None,
        application: str = "prosopon",
        max_in_flight: int = 16,
        patience: float = 30,
    ) -> "Prosopon":
        """Join the running application.

        address: of Ray's GCS, ``host:port``; None finds it by `RAY_ADDRESS`, or in `home`, the state's home of a
        server on this machine. application: its name in the Serve config. max_in_flight: calls at once, the others
        wait their turn. patience: seconds that a call tries again for while the application is overloaded.
        Raises `NotRunning`.
        """
        join(address, home)
        from ray import serve
        from ray.serve.exceptions import RayServeException

        try:
            # A process keeps one handle of an application, and a handle belongs to the loop that it was first used in
            # (ray 2.60): every connection has a copy, or a second one would wait in the loop of the first.
            return cls(copy(serve.get_app_handle(application)), max_in_flight, patience)
        except RayServeException as error:
            raise NotRunning(str(error)) from error

    def close(self) -> None:
        """End what is under way; every later call raises `Closed`. The application goes on, and this process stays in
        its Ray instance."""
        self._loop.close()
        self._graphs.records.close()

    def __repr__(self) -> str:
        state = "closed" if self._loop.closed else "open"
        return f"<Prosopon, {state}: {', '.join(self.settings.apis)}>"

    def __enter__(self) -> "Prosopon":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def each(
        self, method: Callable[[Item], Answer[Result]], items: Iterable[Item], ahead: int | None = None
    ) -> Iterator[Result]:
        """`method` of every item, in order: ``prosopon.each(prosopon.detect, paths)``.

        The items are taken as they are needed: `ahead` of them (None: `max_in_flight`) are under way, however many
        there are. Raises what the first failing call raises.
        """
        waiting: deque[Answer[Result]] = deque()
        try:
            for item in items:
                waiting.append(method(item))
                if len(waiting) >= (ahead or self._loop.max_in_flight):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for answer in waiting:
                answer.cancel()

    def swap(
        self, picture: Image, faces: Sequence[Image], indices: Sequence[int] | None = None
    ) -> Answer[bytes]:
        """A picture's file with faces put in: each of `faces` (the biggest in its picture) in place of the face that
        its index counts from the left; without indices, one in place of the biggest. Raises `NoSwap`.
        """
        swaps = served(self._graphs.swaps, "swaps faces: add aifaceswap")

        async def made() -> bytes:
            target, *sources = await asyncio.gather(read(picture), *map(read, faces))
            return (await swaps.swap(target, sources, indices)).data

        return self._submit(made)
