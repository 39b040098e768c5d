"""The LandmarkPredictor: crops to dense landmarks and, where they are the iBUG 68, head pose."""

from ray import serve

from prosopon.configs.settings import ModelSettings
from prosopon.deployments.serving.batching import FaceModel, FaceModelReplica
from prosopon.deployments.serving.messages import ModelCard
from prosopon.models.faces.detections import Float32
from prosopon.models.load import load_landmarks
from prosopon.models.runtime.session import Compute


def landmarks_model(models: ModelSettings, compute: Compute) -> FaceModel[Float32]:
    model = load_landmarks(models, compute)
    card = ModelCard(model.name, model.fingerprint, (model.crop,), model.count)
    return FaceModel("landmarks", card, model.predict)


@serve.deployment
class LandmarkPredictor(FaceModelReplica[Float32]):
    """Answers chips ``(N, S, S, 3)`` with landmarks ``(N, count, 2)`` float32 in crop pixels."""

    load = staticmethod(landmarks_model)
