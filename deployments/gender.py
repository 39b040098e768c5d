"""The GenderClassifier: aligned chips to genders."""

from ray import serve

from prosopon.configs.settings import ModelSettings
from prosopon.deployments.serving.batching import FaceModel, FaceModelReplica
from prosopon.deployments.serving.messages import ModelCard
from prosopon.models.load import load_gender
from prosopon.models.roles import Gender
from prosopon.models.runtime.session import Compute


def gender_model(models: ModelSettings, compute: Compute) -> FaceModel[list[Gender]]:
    model = load_gender(models, compute)
    card = ModelCard(model.name, model.fingerprint, (model.crop,))
    return FaceModel("gender", card, model.classify)


@serve.deployment
class GenderClassifier(FaceModelReplica[list[Gender]]):
    """Answers chips ``(N, S, S, 3)`` with one `Gender` per chip."""

    load = staticmethod(gender_model)
