"""The AgeEstimator: aligned chips to ages."""

from ray import serve

from prosopon.configs.settings import ModelSettings
from prosopon.deployments.serving.batching import FaceModel, FaceModelReplica
from prosopon.deployments.serving.messages import ModelCard
from prosopon.models.load import load_age
from prosopon.models.roles import Age
from prosopon.models.runtime.session import Compute


def age_model(models: ModelSettings, compute: Compute) -> FaceModel[list[Age]]:
    model = load_age(models, compute)
    card = ModelCard(model.name, model.fingerprint, (model.crop,))
    return FaceModel("age", card, model.estimate)


@serve.deployment
class AgeEstimator(FaceModelReplica[list[Age]]):
    """Answers chips ``(N, S, S, 3)`` with one `Age` per chip."""

    load = staticmethod(age_model)
