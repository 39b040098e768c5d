"""The Embedder: aligned chips to embeddings."""

from ray import serve

from configs.settings import ModelSettings
from deployments.batching import FaceModel, FaceModelReplica
from deployments.messages import ModelCard
from models.load import load_embedder
from models.session import Compute
from models.types import Float32
from models.vectors import normalize


def embedder_model(models: ModelSettings, compute: Compute) -> FaceModel[Float32]:
    model = load_embedder(models, compute)
    card = ModelCard(model.name, model.fingerprint, (model.crop,), model.dim)
    return FaceModel("embed", card, lambda chips: normalize(model.embed(chips)))


@serve.deployment
class Embedder(FaceModelReplica[Float32]):
    """Answers chips ``(N, S, S, 3)`` with unit embeddings ``(N, dim)`` float32."""

    load = staticmethod(embedder_model)
