"""The Generator: latents to pictures of faces."""

from ray import serve

from prosopon.configs.settings import DeploymentSettings, GenerationSettings, ModelSettings
from prosopon.deployments.serving.batching import Batched, compute_for
from prosopon.deployments.serving.messages import GeneratorCard, PictureRequest
from prosopon.models.faces.detections import Float32, RGBImage
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
            self._make([PictureRequest((Part(latent_of_seed(0)),), dim)])

    def describe(self) -> GeneratorCard:
        faces = self._faces
        return GeneratorCard(faces.name, faces.fingerprint, faces.generator_fingerprint, faces.layers)

    async def picture(self, request: PictureRequest) -> RGBImage | bytes:
        """Pixels, or a file where the request names a format. Its latents must fit the generator."""
        return await self._pictures(request)

    def styles(self, mixture: Mixture) -> Float32:
        """w+ ``(layers, 512)``: what the synthesis network is given."""
        return self._faces.styles(mixture)

    def _make(self, requests: list[PictureRequest]) -> list[RGBImage | bytes]:
        pictures = self._faces.pictures([(request.mixture, request.dim) for request in requests])
        return [
            encode_picture(picture, request.format) if request.format else picture
            for request, picture in zip(requests, pictures, strict=True)
        ]
