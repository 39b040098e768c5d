"""Faces of nobody, from Python."""

import uuid

import numpy as np

from prosopon.deployments.serving.messages import FilmRequest, PictureRequest
from prosopon.models.faces.detections import FilmFormat, Float32, PictureFormat, RGBImage
from prosopon.models.generation.latents import Latent, LatentError, Mixture, Part, latent_of_seed, seed_of
from prosopon.pipelines.graphs.generation import Generation, Inversion
from prosopon.pipelines.python.answers import FaceSource, Image, read
from prosopon.pipelines.python.calls import Calls, served
from prosopon.pipelines.python.connection import Answer


class GenerationCalls(Calls):
    """Faces that a generator makes, films from one to another, and the latents that they are made of."""

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

    @property
    def _generation(self) -> Generation:
        return served(self._graphs.generation, "generates faces: add checkface")
