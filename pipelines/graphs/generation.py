"""latent -> generate -> encode: pictures and films of faces that nobody has."""

import asyncio
import hashlib
import json
from contextlib import aclosing
from dataclasses import dataclass
from uuid import UUID, uuid5

from ray.serve.handle import DeploymentHandle

from prosopon.configs.settings import Deployments, Settings
from prosopon.deployments.services import GeneratorService, InverterService, VideoEncoderService
from prosopon.deployments.serving.calls import ModelFailed
from prosopon.deployments.serving.fair_queue import FairQueue
from prosopon.deployments.serving.messages import (
    FaceMissing,
    FilmRequest,
    GeneratorCard,
    InversionRequest,
    PictureRequest,
)
from prosopon.deployments.serving.remote import remote
from prosopon.deployments.state.blobs import Blob, BlobStore
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.latents import LatentStore
from prosopon.deployments.state.results import ResultCache, Standing
from prosopon.models.faces.detections import Float32, PictureFormat, RGBImage
from prosopon.models.generation.latents import (
    Latent,
    LatentError,
    Mixture,
    Part,
    between,
    from_bytes,
    to_bytes,
)
from prosopon.models.inversion import target as inversion_types
from prosopon.models.inversion.target import NoFace
from prosopon.models.pictures import encoding as pictures
from prosopon.models.pictures import link_preview, video
from prosopon.models.pictures.encoding import encode_picture
from prosopon.models.pictures.link_preview import LinkPreview
from prosopon.pipelines.graphs.results import Make, Results, Tell

_INVERSIONS = UUID("5f0c9a52-7d0b-4b0e-9a55-0d6f7f1b8a3e")
"""The namespace of ids that follow from a photograph (RFC 9562, section 5.5)."""


@dataclass(frozen=True, slots=True)
class GeneratorHandles:
    """Handles of the deployments of this graph."""

    generator: DeploymentHandle
    video_encoder: DeploymentHandle
    inverter: DeploymentHandle | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """What can be made. key: hex SHA-256 of everything that decides the bytes: latents, sizes, models, encoders."""

    key: str
    media_type: str
    make: Make
    queue: FairQueue
    """Where it waits for its turn."""


@dataclass(frozen=True, slots=True)
class Inversion:
    """A photograph's latent. aligned: whether the photograph was turned and cut to that end."""

    latent: UUID
    aligned: bool


class NoInversion(Exception):
    """No inverter is deployed."""


class Generation:
    """One per process. `face`, `film` and `link_preview` say what is wanted, `get` brings it, made or found."""

    def __init__(
        self,
        generator: GeneratorService,
        encoder: VideoEncoderService,
        inverter: InverterService | None,
        card: GeneratorCard,
        latents: LatentStore,
        results: Results,
        resources: Deployments,
    ) -> None:
        """resources: whose bounds this process keeps to on its own; Serve's let a few more through."""
        self._generator, self._encoder, self._inverter = generator, encoder, inverter
        self._latents, self._results = latents, results
        self._faces = FairQueue.of(resources.generator, "faces are waited for")
        self._films = FairQueue.of(resources.video_encoder, "films are waited for", 15)
        self._inversions = FairQueue.of(resources.inverter, "latents are waited for", 30)
        self.card = card

    @classmethod
    async def connect(cls, handles: GeneratorHandles, settings: Settings, records: Records) -> "Generation":
        """Waits until the generator is loaded."""
        generator = remote(handles.generator, GeneratorService)
        encoder = remote(handles.video_encoder, VideoEncoderService)
        inverter = remote(handles.inverter, InverterService) if handles.inverter else None
        card = await generator.describe()
        blobs = BlobStore(records, settings.state.blobs)
        results = Results(ResultCache(records, blobs, settings.generation.cache_bytes))
        latents = LatentStore(records, settings.generation.max_latents)
        return cls(generator, encoder, inverter, card, latents, results, settings.deployments)

    # ------------------------------------------------------------------------------------------------- latents

    async def register(self, latent: Latent, kind: str | None) -> UUID:
        """Keep a latent under a new id. Raises `LatentError` where the generator takes no such latent."""
        self._check(latent)
        return await asyncio.to_thread(self._latents.add, latent, self.card.generator, kind)

    async def registered(self, latent: UUID) -> Latent | None:
        """The latent of an id. Raises `LatentError` where it is for another generator than the one in service."""
        found = await asyncio.to_thread(self._latents.find, latent)
        if found is None:
            return None
        if found.fingerprint not in (None, self.card.generator):
            raise LatentError(f"the latent {latent} is for another generator than the one in service")
        return found.latent

    async def forget(self, latent: UUID) -> bool:
        """Let a registered latent go; whether it was there. What was made of it goes with the other results."""
        return await asyncio.to_thread(self._latents.remove, latent)

    async def styles(self, mixture: Mixture) -> Float32:
        """w+ ``(layers, 512)``. Raises what `call` raises."""
        return await self._generator.styles(mixture)

    async def pixels(self, request: PictureRequest) -> RGBImage:
        """``(dim, dim, 3)`` uint8 RGB, made anew. Raises what `call` raises."""
        return await self._generator.pixels(request)

    async def invert(self, image: bytes, align: bool = True) -> Inversion:
        """The latent, in w+, whose face is that of a photograph; the same photograph has the same one.

        image: a file's bytes. align: False where it is cut as the generator's pictures are. Raises `NoInversion`,
        `ImageError` for what is no picture, `NoFace`, and what `call` raises.
        """
        inverter = self._inverter
        if inverter is None:
            raise NoInversion

        async def make(_: Tell) -> bytes:
            answer = await inverter.invert(InversionRequest(image, align))
            if isinstance(answer, FaceMissing):
                raise NoFace(answer.message)
            if answer.latent is None:  # It was given up, which is so only where nobody waits.
                raise ModelFailed("the search for the latent was given up")
            self._check(answer.latent)
            head = json.dumps({"layers": answer.latent.layers, "aligned": answer.aligned})
            return head.encode() + b"\n" + to_bytes(answer.latent.numbers)

        key = self._key(inversion_types.VERSION, "latent", hashlib.sha256(image).hexdigest(), align)
        blob = await self._results.get(key, "application/octet-stream", make, self._inversions)
        line, _, numbers = blob.data.partition(b"\n")
        head = json.loads(line)
        # The latent may have left since; it comes back under the same id.
        identity, latent = uuid5(_INVERSIONS, key), from_bytes(numbers, head["layers"])
        await asyncio.to_thread(self._latents.keep, identity, latent, self.card.generator, "inversion")
        return Inversion(identity, head["aligned"])

    # ------------------------------------------------------------------------------------------------- results

    async def get(self, recipe: Recipe) -> Blob:
        """Raises what `call` raises. Cancelled, the work ends unless somebody else waits for it too."""
        return await self._results.get(recipe.key, recipe.media_type, recipe.make, recipe.queue)

    async def standing(self, recipe: Recipe) -> Standing | None:
        """How far it is, whoever has asked for it; None where it is not there and nobody makes it."""
        return await self._results.standing(recipe.key)

    async def computing(self) -> int:
        """How many results are being computed or waited for."""
        return await self._results.computing()

    def face(self, mixture: Mixture, dim: int, format: PictureFormat) -> Recipe:
        """A face of `dim` pixels."""
        request = PictureRequest(mixture, dim)

        async def make(_: Tell) -> bytes:
            return await self._generator.picture(request, format)

        key = self._key(pictures.VERSION, "face", _named(mixture), dim, format)
        return Recipe(key, pictures.MEDIA_TYPES[format], make, self._faces)

    def film(self, film: FilmRequest) -> Recipe:
        """A morph."""

        async def make(tell: Tell) -> bytes:
            file = b""
            async with aclosing(self._encoder.encode(film)) as told:
                async for made in told:
                    if isinstance(made, bytes):
                        file = made
                    else:
                        await tell(made)
            return file

        ends = [film.start.digest, film.end.digest]
        bits = film.kbitrate if film.format == "mp4" else None
        shape = [film.format, film.dim, film.fps, film.frames, film.linear, bits]
        key = self._key(video.VERSION, "film", ends, shape)
        return Recipe(key, video.MEDIA_TYPES[film.format], make, self._films)

    def link_preview(self, start: Latent, end: Latent, width: int) -> Recipe:
        """start + end = midpoint, as a jpg."""
        layout = LinkPreview(width)

        async def make(_: Tell) -> bytes:
            wanted = (
                PictureRequest((Part(start),), layout.end),
                PictureRequest((Part(end),), layout.end),
                PictureRequest(between(start, end, 0.5), layout.midpoint),
            )
            faces = await asyncio.gather(*(self._generator.pixels(request) for request in wanted))
            return await asyncio.to_thread(lambda: encode_picture(layout.draw(*faces), "jpg"))

        versions = f"{pictures.VERSION} {link_preview.VERSION}"
        key = self._key(versions, "link preview", [start.digest, end.digest], width)
        return Recipe(key, pictures.MEDIA_TYPES["jpg"], make, self._faces)

    def _check(self, latent: Latent) -> None:
        if latent.layers not in (0, self.card.layers):
            raise LatentError(
                f"the latent has {latent.layers} layers and the generator in service {self.card.layers}"
            )

    def _key(self, version: object, *description: object) -> str:
        text = json.dumps([self.card.fingerprint, version, *description])
        return hashlib.sha256(text.encode()).hexdigest()


def _named(mixture: Mixture) -> list[tuple[str, float]]:
    return [(part.latent.digest, part.amount) for part in mixture]
