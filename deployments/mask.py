"""The MaskClassifier: aligned chips to masks."""

from ray import serve

from configs.settings import DeploymentSettings, ModelSettings
from deployments.batching import ChipModel, compute_for
from deployments.messages import ModelCard, Timed
from models.load import load_mask
from models.roles import Chips, Mask


@serve.deployment
class MaskClassifier:
    """Answers chips ``(N, S, S, 3)`` with one `Mask` per chip."""

    def __init__(self, models: ModelSettings, settings: DeploymentSettings) -> None:
        self._model = load_mask(models, compute_for(settings))
        self._predict: ChipModel[list[Mask]] = ChipModel(
            "mask", self._model, self._model.crop.size, self._model.classify, settings
        )

    def describe(self) -> ModelCard:
        return self._predict.card((self._model.crop,))

    async def predict(self, chips: Chips) -> Timed[list[Mask]]:
        return await self._predict(chips)
