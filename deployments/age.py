"""The AgeEstimator: aligned chips to ages."""

from ray import serve

from configs.settings import ModelSettings
from deployments.batching import FaceModel, FaceModelReplica
from deployments.messages import ModelCard
from models.load import load_age
from models.roles import Age
from models.session import Compute


def age_model(models: ModelSettings, compute: Compute) -> FaceModel[list[Age]]:
    model = load_age(models, compute)
    card = ModelCard(model.name, model.fingerprint, (model.crop,))
    return FaceModel("age", card, model.estimate)


@serve.deployment
class AgeEstimator(FaceModelReplica[list[Age]]):
    """Answers chips ``(N, S, S, 3)`` with one `Age` per chip."""

    load = staticmethod(age_model)
