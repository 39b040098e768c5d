"""The MaskClassifier: aligned chips to masks."""

from ray import serve

from configs.settings import ModelSettings
from deployments.batching import FaceModel, FaceModelReplica
from deployments.messages import ModelCard
from models.load import load_mask
from models.roles import Mask
from models.session import Compute


def mask_model(models: ModelSettings, compute: Compute) -> FaceModel[list[Mask]]:
    model = load_mask(models, compute)
    card = ModelCard(model.name, model.fingerprint, (model.crop,))
    return FaceModel("mask", card, model.classify)


@serve.deployment
class MaskClassifier(FaceModelReplica[list[Mask]]):
    """Answers chips ``(N, S, S, 3)`` with one `Mask` per chip."""

    load = staticmethod(mask_model)
