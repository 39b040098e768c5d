"""The Generator: latents to pictures of faces."""

from dataclasses import dataclass

from ray import serve

from prosopon.configs.settings import DeploymentSettings, GenerationSettings, ModelSettings
from prosopon.deployments.serving.batching import Batched, compute_for
from prosopon.deployments.serving.messages import GeneratorCard, PictureRequest
from prosopon.models.faces.detections import Float32, PictureFormat, RGBImage
from prosopon.models.generation.face_generator import Faces
from prosopon.models.generation.latents import Mixture, Part, latent_of_seed
from prosopon.models.load import load_generator, load_mapper
from prosopon.models.pictures.encoding import encode_picture


@serve.deployment
class Generator:
    """Maps, mixes, truncates, synthesises, shrinks and encodes, in batches formed across requests."""

    def __init__(
        self, models: ModelSettings, generation: GenerationSettings, settings: DeploymentSettings
    ) -> None:
        compute = compute_for(settings)
        self._faces = Faces(
            load_mapper(models, compute),
            load_generator(models, compute),
            generation.truncation_psi,
            generation.truncated_pixels,
            batch=settings.max_batch_size if compute.device == "cuda" else 1,
        )
        self._pictures = Batched("generate", self._make, settings)
        for dim in (10, 1024):  # The first run of each network allocates.
            self._make([(PictureRequest((Part(latent_of_seed(0)),), dim), None)])

    def describe(self) -> GeneratorCard:
        faces = self._faces
        return GeneratorCard(faces.name, faces.fingerprint, faces.generator_fingerprint, faces.layers)

    async def picture(self, request: PictureRequest, format: PictureFormat) -> bytes:
        """A picture's file. Its latents must fit the generator."""
        return (await self._pictures((request, format))).file

    async def pixels(self, request: PictureRequest) -> RGBImage:
        """``(dim, dim, 3)`` uint8 RGB. Its latents must fit the generator."""
        return (await self._pictures((request, None))).pixels

    def styles(self, mixture: Mixture) -> Float32:
        """w+ ``(layers, 512)``: what the synthesis network is given."""
        return self._faces.styles(mixture)

    def _make(self, orders: list[tuple[PictureRequest, PictureFormat | None]]) -> list["_Made"]:
        pictures = self._faces.pictures([(request.mixture, request.dim) for request, _ in orders])
        return [
            _Made(pixels, encode_picture(pixels, format) if format else b"")
            for (_, format), pixels in zip(orders, pictures, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class _Made:
    """file: empty where no format was named."""

    pixels: RGBImage
    file: bytes
