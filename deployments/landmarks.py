"""The LandmarkPredictor: crops to dense landmarks and, where they are the iBUG 68, head pose."""

from ray import serve

from configs.settings import DeploymentSettings, ModelSettings
from deployments.batching import ChipModel, compute_for
from deployments.messages import ModelCard, Timed
from models.load import load_landmarks
from models.roles import Chips
from models.types import Float32


@serve.deployment
class LandmarkPredictor:
    """Answers chips ``(N, S, S, 3)`` with landmarks ``(N, count, 2)`` float32 in crop pixels."""

    def __init__(self, models: ModelSettings, settings: DeploymentSettings) -> None:
        self._model = load_landmarks(models, compute_for(settings))
        self._predict: ChipModel[Float32] = ChipModel(
            "landmarks", self._model, self._model.crop.size, self._model.predict, settings
        )

    def describe(self) -> ModelCard:
        return self._predict.card((self._model.crop,), self._model.count)

    async def predict(self, chips: Chips) -> Timed[Float32]:
        return await self._predict(chips)
