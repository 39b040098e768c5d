"""The LivenessDetector: crops at two zooms to the probability that a face is live."""

from ray import serve

from prosopon.configs.settings import ModelSettings
from prosopon.deployments.serving.batching import FaceModel, FaceModelReplica
from prosopon.deployments.serving.messages import ModelCard
from prosopon.models.faces.detections import Float32
from prosopon.models.load import load_liveness
from prosopon.models.runtime.session import Compute


def liveness_model(models: ModelSettings, compute: Compute) -> FaceModel[Float32]:
    model = load_liveness(models, compute)
    card = ModelCard(model.name, model.fingerprint, model.crops)
    return FaceModel("liveness", card, lambda *chips: model.score(chips))


@serve.deployment
class LivenessDetector(FaceModelReplica[Float32]):
    """Answers one batch of chips per crop of the model with a probability ``(N,)`` float32 per face."""

    load = staticmethod(liveness_model)
