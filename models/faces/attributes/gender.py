"""Gender of a face: dlib's ResNet-10 `dnn_gender_classifier_v1`."""

from prosopon.models.faces import age_gender, dlib_chips
from prosopon.models.faces.attributes.declaration import FaceAttribute, FaceModel, FaceRole
from prosopon.models.faces.detections import Float32
from prosopon.models.pictures.crops import CropSpec
from prosopon.models.roles import Chips, Gender, GenderClassifier
from prosopon.models.runtime.session import Compute
from prosopon.models.weights.registry import Weights


class DlibGender(dlib_chips.ChipClassifier):
    """Probabilities of female, male."""

    name = "dlib-gender"
    crop = CropSpec(32, dlib_chips.template(32, padding=0.2))
    classes = 2

    def genders(self, outputs: Float32) -> list[Gender]:
        """One `Gender` for each row of `probabilities`."""
        return [
            Gender("male", float(male)) if male > female else Gender("female", float(female))
            for female, male in outputs
        ]

    def classify(self, chips: Chips) -> list[Gender]:
        """chips ``(N, 32, 32, 3)`` uint8 RGB, cut as `crop` says."""
        return self.genders(self.probabilities(chips))


def _dlib(weights: Weights, compute: Compute) -> GenderClassifier:
    return DlibGender(weights.path, compute)


def _serve(network: GenderClassifier) -> FaceModel:
    return FaceModel.of(network, (network.crop,), network.outputs, network.genders)


GENDER = FaceAttribute(
    "gender",
    Gender,
    FaceRole(
        "gender",
        {".onnx": age_gender.own, "dlib-gender": _dlib},
        _serve,
        own=age_gender.WEIGHTS,
        own_summary=age_gender.SUMMARY,
    ),
    called={"compreface": "gender"},
)
