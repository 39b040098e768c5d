"""The Embedder: aligned chips to embeddings."""

from ray import serve

from prosopon.configs.settings import ModelSettings
from prosopon.deployments.serving.batching import FaceModel, FaceModelReplica
from prosopon.deployments.serving.messages import ModelCard
from prosopon.models.faces.detections import Float32
from prosopon.models.load import load_embedder
from prosopon.models.matching.vectors import normalize
from prosopon.models.runtime.session import Compute


def embedder_model(models: ModelSettings, compute: Compute) -> FaceModel[Float32]:
    model = load_embedder(models, compute)
    card = ModelCard(model.name, model.fingerprint, (model.crop,), model.dim)
    return FaceModel("embed", card, lambda chips: normalize(model.embed(chips)))


@serve.deployment
class Embedder(FaceModelReplica[Float32]):
    """Answers chips ``(N, S, S, 3)`` with unit embeddings ``(N, dim)`` float32."""

    load = staticmethod(embedder_model)
