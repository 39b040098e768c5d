"""The AgeEstimator: aligned chips to ages."""

from ray import serve

from configs.settings import DeploymentSettings, ModelSettings
from deployments.batching import ChipModel, compute_for
from deployments.messages import ModelCard, Timed
from models.load import load_age
from models.roles import Age, Chips


@serve.deployment
class AgeEstimator:
    """Answers chips ``(N, S, S, 3)`` with one `Age` per chip."""

    def __init__(self, models: ModelSettings, settings: DeploymentSettings) -> None:
        self._model = load_age(models, compute_for(settings))
        self._predict: ChipModel[list[Age]] = ChipModel(
            "age", self._model, self._model.crop.size, self._model.estimate, settings
        )

    def describe(self) -> ModelCard:
        return self._predict.card((self._model.crop,))

    async def predict(self, chips: Chips) -> Timed[list[Age]]:
        return await self._predict(chips)
