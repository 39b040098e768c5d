"""The VideoEncoder: a morph's frames, encoded as the generator makes them."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ray import serve
from ray.serve.handle import DeploymentHandle

from prosopon.configs.settings import DeploymentSettings
from prosopon.deployments.services import GeneratorService
from prosopon.deployments.serving.batching import compute_for
from prosopon.deployments.serving.calls import Overloaded
from prosopon.deployments.serving.messages import FilmRequest, PictureRequest
from prosopon.deployments.serving.remote import remote
from prosopon.models.faces.detections import RGBImage
from prosopon.models.generation.latents import Morph, between
from prosopon.models.pictures.video import FilmWriter

Result = TypeVar("Result")

_AHEAD = 3
"""Pictures of one film that the generator has to do: enough to keep two of its threads busy, and few enough that a
request for a single face waits for a few pictures and not for a film."""


@serve.deployment
class VideoEncoder:
    """Makes as many films side by side as `max_ongoing_requests` allows. Cancelled, a film leaves nothing behind."""

    def __init__(self, settings: DeploymentSettings, generator: DeploymentHandle) -> None:
        compute_for(settings)
        self._generator = remote(generator, GeneratorService)
        self._executor = ThreadPoolExecutor(settings.concurrent_batches, thread_name_prefix="encode")

    async def encode(self, film: FilmRequest) -> AsyncGenerator[int | bytes, None]:
        """How many pictures are made, after each, and at last the film's file. Its latents must fit the generator.
        Raises what `call` raises."""
        morph = Morph.of(film.frames, film.linear)
        with FilmWriter(film.format, film.dim, film.fps, morph.order, film.kbitrate) as writer:
            waiting = iter(morph.amounts)
            ahead: deque[asyncio.Task[RGBImage]] = deque()
            made = 0
            try:
                while True:
                    for amount in waiting:
                        ahead.append(asyncio.create_task(self._picture(film, amount)))
                        if len(ahead) >= _AHEAD:
                            break
                    if not ahead:
                        break
                    picture = await ahead[0]
                    ahead.popleft()
                    await self._run(lambda picture=picture: writer.add(picture))  # type: ignore[misc]
                    made += 1
                    yield made
                yield await self._run(writer.finish)
            finally:
                for task in ahead:
                    task.cancel()

    async def _picture(self, film: FilmRequest, amount: float) -> RGBImage:
        request = PictureRequest(between(film.start, film.end, amount), film.dim)
        while True:
            try:
                return await self._generator.pixels(request)
            except Overloaded:  # Others are served first; the film was admitted and goes on.
                await asyncio.sleep(0.2)

    async def _run(self, function: Callable[[], Result]) -> Result:
        """In a thread, to its end even when cancelled: the writer is not closed under FFmpeg's feet."""
        future = asyncio.get_running_loop().run_in_executor(self._executor, function)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            raise
