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
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from prosopon.configs.settings import Settings
from prosopon.deployments.serving.calls import ModelFailed, Overloaded, Unavailable
from prosopon.deployments.serving.messages import FilmRequest, PictureRequest
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.errors import StateError
from prosopon.deployments.state.keys import KeyStore
from prosopon.models.faces.attributes.embedding import EMBEDDING
from prosopon.models.faces.detections import FilmFormat, Float32, PictureFormat, RGBImage
from prosopon.models.generation.latents import Latent, LatentError, Mixture, Part, latent_of_seed, seed_of
from prosopon.models.pictures.decoding import ImageError
from prosopon.models.swap.types import NoSwap
from prosopon.pipelines.graphs.application import Graphs
from prosopon.pipelines.graphs.face_analysis import Face, Picture
from prosopon.pipelines.graphs.face_search import SearchHit
from prosopon.pipelines.graphs.generation import Generation, Inversion
from prosopon.pipelines.graphs.recognition import Candidate, LowQuality, NoFace, Recognition, SeveralFaces
from prosopon.pipelines.graphs.swaps import Swaps
from prosopon.pipelines.python.answers import (
    Asked,
    FaceSource,
    Image,
    NotServed,
    RecognisedFace,
    Verification,
    VerifiedFace,
    analyzed,
    known,
    read,
)
from prosopon.pipelines.python.connection import Answer, Closed, Loop
from prosopon.pipelines.python.gallery import Gallery
from prosopon.pipelines.python.public_index import PublicIndex
from prosopon.pipelines.running import NotRunning, join

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

__all__ = [
    "Answer", "Candidate", "Closed", "Face", "Gallery", "Image", "ImageError", "Inversion", "LatentError",
    "LowQuality", "ModelFailed", "NoFace", "NoSwap", "NotRunning", "NotServed", "Overloaded", "Picture", "Prosopon",
    "RecognisedFace", "SearchHit", "SeveralFaces", "StateError", "Unavailable", "Verification", "VerifiedFace",
]  # fmt: skip

Item = TypeVar("Item")
Graph = TypeVar("Graph")
Result = TypeVar("Result")


class Prosopon:
    """A running application. Safe to use from any thread and any event loop. A context manager."""

    def __init__(self, app: "DeploymentHandle", max_in_flight: int = 16, patience: float = 30) -> None:
        """app: of `serve.get_app_handle`; the rest as for `connect`."""
        self._loop = Loop(max_in_flight, patience)
        try:
            self._graphs = self._loop.submit(lambda: _Opened.of(app)).result()
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

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.startswith("_")]

    def __enter__(self) -> "Prosopon":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---------------------------------------------------------------------------------------------- many at once

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

    # --------------------------------------------------------------------------------------------------- pictures

    def detect(
        self,
        image: Image,
        attributes: Collection[Asked] = (),
        *,
        limit: int = 0,
        score_threshold: float | None = None,
    ) -> Answer[Picture]:
        """Every face of a picture, the biggest first, with what is asked for: ``face["age"]``, or ``face[AGE]``, typed.

        limit: at most so many; 0 is all. score_threshold: None is the configured one.
        """
        return self._submit(
            lambda: analyzed(
                self._recognition, image, attributes, limit=limit, score_threshold=score_threshold
            )
        )

    def embeddings(self, image: Image, *, limit: int = 0) -> Answer[Float32]:
        """``(N, D)`` float32, unit norm: of every face of a picture, the biggest first."""

        async def embed() -> Float32:
            picture = await analyzed(self._recognition, image, {EMBEDDING}, limit=limit)
            dim = self._recognition.faces.card(EMBEDDING).dim or 0
            return np.array([face.embedding for face in picture.faces], np.float32).reshape(-1, dim)

        return self._submit(embed)

    def similarities(self, embedding: Float32, others: Float32) -> Float32:
        """Of an embedding ``(D,)`` to others ``(N, D)``, all of unit norm: ``(N,)``, 0..1. Computed here, at once."""
        return self._recognition.similarities(embedding, others)

    def verify(
        self, source: Image, target: Image, attributes: Collection[Asked] = ()
    ) -> Answer[Verification]:
        """How similar the source's only face is to every face of the target. Raises `NoFace`, `SeveralFaces`."""
        wanted = {*attributes, EMBEDDING}

        async def verified() -> Verification:
            one, many = await asyncio.gather(
                self._recognition.one_face(await read(source), known(self._recognition, wanted)),
                analyzed(self._recognition, target, wanted),
            )
            probe = one.faces[0]
            others = np.array([face.embedding for face in many.faces], np.float32)
            scores = self._recognition.similarities(probe.embedding, others) if len(others) else others
            return Verification(
                probe,
                tuple(
                    VerifiedFace(face, float(score)) for face, score in zip(many.faces, scores, strict=True)
                ),
            )

        return self._submit(verified)

    def search(self, *images: Image) -> Answer[tuple[SearchHit, ...]]:
        """Faces of the public index, best first, like the person whose pictures these are. Raises `NoFace`."""
        index = _served(self._graphs.index, "searches the public index: add facecheck")
        return self._submit(lambda: index.search(images))

    # -------------------------------------------------------------------------------------------------- galleries

    def gallery(
        self, name: str | None = None, *, key: str | None = None, tenant: str = "default"
    ) -> "Gallery":
        """A gallery by its name, made with the first use where it is not there, or the one of an API key.

        The name is what `prosopon keys create --gallery` takes: keys and handles can share a gallery.
        """
        if (name is None) == (key is None):
            raise ValueError("a gallery has a name or an API key")
        title = f"of the key {key[:8]}..." if key is not None else repr(name)
        return Gallery(self._recognition, self._submit, lambda: self._gallery_id(name, key, tenant), title)

    def _gallery_id(self, name: str | None, key: str | None, tenant: str) -> int:
        records = self._graphs.records
        if name is not None:
            with records.write() as db:
                return records.ensure_gallery(db, records.ensure_tenant(db, tenant), "compreface", name)
        found = KeyStore(records).find(key or "")
        if found is None:
            raise StateError("the API key is unknown or revoked")
        return found.gallery

    # ------------------------------------------------------------------------------------------- faces of nobody

    def generate(self, face: FaceSource, *, dim: int = 300, format: PictureFormat = "jpg") -> Answer[bytes]:
        """A face as a picture's file of `dim` pixels. What was made before is found. Raises `LatentError`."""

        async def made() -> bytes:
            recipe = self._generation.face(await self._mixture(face), dim, format)
            return (await self._generation.get(recipe)).data

        return self._submit(made)

    def pixels(self, face: FaceSource, *, dim: int = 300) -> Answer[RGBImage]:
        """A face as ``(dim, dim, 3)`` uint8 RGB. Raises `LatentError`."""

        async def made() -> RGBImage:
            return await self._generation.pixels(PictureRequest(await self._mixture(face), dim))

        return self._submit(made)

    def morph(
        self,
        start: FaceSource,
        end: FaceSource,
        *,
        format: FilmFormat = "mp4",
        dim: int = 300,
        fps: int = 16,
        frames: int = 50,
        kbitrate: int = 2400,
        linear: bool = False,
    ) -> Answer[bytes]:
        """A film from one face to another and, unless it is linear, back. Raises `LatentError`.

        kbitrate: of an mp4, in 1000 bits a second.
        """

        async def made() -> bytes:
            ends = [await self._latent(start), await self._latent(end)]
            film = FilmRequest(ends[0], ends[1], format, dim, fps, frames, kbitrate, linear)
            return (await self._generation.get(self._generation.film(film))).data

        return self._submit(made)

    def styles(self, face: FaceSource) -> Answer[Float32]:
        """w+ ``(layers, 512)`` float32: one style for each layer, coarse to fine. `Latent` makes a face of it again."""

        async def mapped() -> Float32:
            return await self._generation.styles(await self._mixture(face))

        return self._submit(mapped)

    def register(self, latent: Latent, kind: str | None = None) -> Answer[uuid.UUID]:
        """Keep a latent under a new id, which the CheckFace API knows as its guid. Raises `LatentError`."""
        return self._submit(lambda: self._generation.register(latent, kind))

    def forget(self, latent: uuid.UUID) -> Answer[bool]:
        """Let a registered latent go; False where none has the id."""
        return self._submit(lambda: self._generation.forget(latent))

    def invert(self, image: Image, *, align: bool = True) -> Answer[Inversion]:
        """The registered latent whose face comes closest to the biggest face of a picture. Takes half a minute or more.

        align: the face is to be turned and cut out first. Raises what `Generation.invert` raises.
        """

        async def inverted() -> Inversion:
            return await self._generation.invert(await read(image), align)

        return self._submit(inverted)

    async def _mixture(self, face: FaceSource) -> Mixture:
        return face if isinstance(face, tuple) else (Part(await self._latent(face)),)

    async def _latent(self, face: FaceSource) -> Latent:
        match face:
            case Latent():
                return face
            case uuid.UUID():
                latent = await self._generation.registered(face)
                if latent is None:
                    raise LatentError(f"no latent is registered under {face}")
                return latent
            case int():
                return latent_of_seed(face)
            case str():
                return latent_of_seed(seed_of(face))
        return Latent((await self._generation.styles(face)).astype(np.float64))

    # ------------------------------------------------------------------------------------------------------- swaps

    def swap(
        self, picture: Image, faces: Sequence[Image], indices: Sequence[int] | None = None
    ) -> Answer[bytes]:
        """A picture's file with faces put in: each of `faces` (the biggest in its picture) in place of the face that
        its index counts from the left; without indices, one in place of the biggest. Raises `NoSwap`.
        """
        swaps = _served(self._graphs.swaps, "swaps faces: add aifaceswap")

        async def made() -> bytes:
            target, *sources = await asyncio.gather(read(picture), *map(read, faces))
            return (await swaps.swap(target, sources, indices)).data

        return self._submit(made)

    # ------------------------------------------------------------------------------------------------------ inside

    @property
    def _recognition(self) -> Recognition:
        return _served(self._graphs.recognition, "recognises faces")

    @property
    def _generation(self) -> Generation:
        return _served(self._graphs.generation, "generates faces: add checkface")

    def _submit(self, make: Callable[[], Awaitable[Result]]) -> Answer[Result]:
        """Run what is awaited in the application's loop, in its turn; again where the application is overloaded."""

        async def run() -> Result:
            return await make()

        return self._loop.submit(run)


@dataclass(frozen=True, slots=True)
class _Opened:
    """What the handles talk to. None: no API of the settings needs it."""

    settings: Settings
    records: Records
    recognition: Recognition | None
    index: PublicIndex | None
    generation: Generation | None
    swaps: Swaps | None

    @classmethod
    async def of(cls, app: "DeploymentHandle") -> "_Opened":
        graphs: Graphs = await app.graphs.remote()
        settings = graphs.settings
        records = await asyncio.to_thread(Records, settings.state.database)
        recognition = index = generation = swaps = None
        if graphs.recognition is not None:
            recognition = await Recognition.connect(graphs.recognition, settings, records)
            if settings.serves("facecheck"):
                index = await asyncio.to_thread(PublicIndex, recognition, settings, records)
        if graphs.generation is not None:
            generation = await Generation.connect(graphs.generation, settings, records)
        if graphs.swaps is not None:
            swaps = await Swaps.connect(graphs.swaps, settings, records)
        return cls(settings, records, recognition, index, generation, swaps)


def _served(graph: Graph | None, what: str) -> Graph:
    """Raises `NotServed` where there is none."""
    if graph is None:
        raise NotServed(f"no API of the application's settings {what}")
    return graph
