"""The LivenessDetector: crops at two zooms to the probability that a face is live."""

import time

import numpy as np
from ray import serve

from configs.settings import DeploymentSettings, ModelSettings
from deployments.batching import Batched, compute_for
from deployments.messages import ModelCard, Timed
from models.load import load_liveness
from models.roles import Chips
from models.types import Float32


@serve.deployment
class LivenessDetector:
    """Answers one batch of chips per crop of the model with a probability ``(N,)`` float32 per face."""

    def __init__(self, models: ModelSettings, settings: DeploymentSettings) -> None:
        self._model = load_liveness(models, compute_for(settings))
        self._score = Batched("liveness", self._run, settings, lambda crops: len(crops[0]))
        self._model.score([np.zeros((1, crop.size, crop.size, 3), np.uint8) for crop in self._model.crops])

    def describe(self) -> ModelCard:
        return ModelCard(self._model.name, self._model.fingerprint, self._model.crops)

    async def score(self, crops: list[Chips]) -> Timed[Float32]:
        return await self._score(crops)

    def _run(self, requests: list[list[Chips]]) -> list[Timed[Float32]]:
        started = time.perf_counter()
        scores = self._model.score([np.concatenate(chips) for chips in zip(*requests, strict=True)])
        milliseconds = (time.perf_counter() - started) * 1000 / max(1, len(scores))
        ends = np.cumsum([len(crops[0]) for crops in requests])
        return [
            Timed(scores[end - len(crops[0]) : end], milliseconds)
            for crops, end in zip(requests, ends, strict=True)
        ]
