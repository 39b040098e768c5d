"""The Embedder: aligned chips to embeddings."""

from ray import serve

from configs.settings import DeploymentSettings, ModelSettings
from deployments.batching import ChipModel, compute_for
from deployments.messages import ModelCard, Timed
from models.load import load_embedder
from models.roles import Chips
from models.types import Float32
from models.vectors import normalize


@serve.deployment
class Embedder:
    """Answers chips ``(N, S, S, 3)`` with unit embeddings ``(N, dim)`` float32.

    Not deployed where the Detector embeds.
    """

    def __init__(self, models: ModelSettings, settings: DeploymentSettings) -> None:
        self._model = load_embedder(models, compute_for(settings))
        self._embed: ChipModel[Float32] = ChipModel(
            "embed",
            self._model,
            self._model.crop.size,
            lambda chips: normalize(self._model.embed(chips)),
            settings,
        )

    def describe(self) -> ModelCard:
        return self._embed.card((self._model.crop,), self._model.dim)

    async def embed(self, chips: Chips) -> Timed[Float32]:
        return await self._embed(chips)
