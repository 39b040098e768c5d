"""The MaskClassifier: aligned chips to masks."""

from ray import serve

from prosopon.configs.settings import ModelSettings
from prosopon.deployments.serving.batching import FaceModel, FaceModelReplica
from prosopon.deployments.serving.messages import ModelCard
from prosopon.models.load import load_mask
from prosopon.models.roles import Mask
from prosopon.models.runtime.session import Compute


def mask_model(models: ModelSettings, compute: Compute) -> FaceModel[list[Mask]]:
    model = load_mask(models, compute)
    card = ModelCard(model.name, model.fingerprint, (model.crop,))
    return FaceModel("mask", card, model.classify)


@serve.deployment
class MaskClassifier(FaceModelReplica[list[Mask]]):
    """Answers chips ``(N, S, S, 3)`` with one `Mask` per chip."""

    load = staticmethod(mask_model)
