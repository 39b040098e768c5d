"""The GenderClassifier: aligned chips to genders."""

from ray import serve

from configs.settings import DeploymentSettings, ModelSettings
from deployments.batching import ChipModel, compute_for
from deployments.messages import ModelCard, Timed
from models.load import load_gender
from models.roles import Chips, Gender


@serve.deployment
class GenderClassifier:
    """Answers chips ``(N, S, S, 3)`` with one `Gender` per chip."""

    def __init__(self, models: ModelSettings, settings: DeploymentSettings) -> None:
        self._model = load_gender(models, compute_for(settings))
        self._predict: ChipModel[list[Gender]] = ChipModel(
            "gender", self._model, self._model.crop.size, self._model.classify, settings
        )

    def describe(self) -> ModelCard:
        return self._predict.card((self._model.crop,))

    async def predict(self, chips: Chips) -> Timed[list[Gender]]:
        return await self._predict(chips)
