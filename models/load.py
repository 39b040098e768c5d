"""From settings to models: which class opens which weights. Modules are imported when they are needed."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from prosopon.configs.settings import DetectionSettings, ModelSettings, Role
from prosopon.models.matching.calibration import load_similarity
from prosopon.models.roles import (
    AgeEstimator,
    FaceDetector,
    FaceEmbedder,
    FaceGenerator,
    FaceSwapper,
    GenderClassifier,
    LandmarkPredictor,
    LatentMapper,
    LivenessDetector,
    MaskClassifier,
)
from prosopon.models.runtime.session import Compute
from prosopon.models.weights.registry import ModelUnavailable, Registry, UnknownModel, Weights, resolve

__all__ = [
    "ModelUnavailable",
    "UnknownModel",
    "available",
    "inverts",
    "load_age",
    "load_detector",
    "load_embedder",
    "load_gender",
    "load_generator",
    "load_landmarks",
    "load_liveness",
    "load_mapper",
    "load_mask",
    "load_similarity",
    "load_swapper",
    "prepare_artifact",
]

INSIGHTFACE = "insightface/"
WARP = "warp"
"""The override of the role swapper that names the project's own, which has no file."""


def load_detector(models: ModelSettings, detection: DetectionSettings, compute: Compute) -> FaceDetector:
    """Raises, as all of these, `ModelUnavailable`, `UnknownModel` or `models.weights.checksums.ChecksumError`."""
    if pack := _insightface(models, "detector"):
        from prosopon.models.faces.insightface_pack import load_detector as load

        return load(pack, detection, compute)
    return _open(resolve(models, "detector"), _DETECTORS, detection, compute)


def load_embedder(models: ModelSettings, compute: Compute) -> FaceEmbedder:
    if pack := _insightface(models, "embedder"):
        from prosopon.models.faces.insightface_pack import load_embedder as load

        return load(pack, compute)
    return _open(resolve(models, "embedder"), _EMBEDDERS, compute)


def load_landmarks(models: ModelSettings, compute: Compute) -> LandmarkPredictor:
    if pack := _insightface(models, "landmarks"):
        from prosopon.models.faces.insightface_pack import load_landmarks as load

        return load(pack, compute)
    return _open(resolve(models, "landmarks"), _LANDMARKS, compute)


def load_age(models: ModelSettings, compute: Compute) -> AgeEstimator:
    if pack := _insightface(models, "age"):
        from prosopon.models.faces.insightface_pack import load_age as load

        return load(pack, compute)
    return _open(resolve(models, "age"), _AGES, compute)


def load_gender(models: ModelSettings, compute: Compute) -> GenderClassifier:
    if pack := _insightface(models, "gender"):
        from prosopon.models.faces.insightface_pack import load_gender as load

        return load(pack, compute)
    return _open(resolve(models, "gender"), _GENDERS, compute)


def load_mask(models: ModelSettings, compute: Compute) -> MaskClassifier:
    """The project's own network, whose weights are part of it, unless overridden."""
    if "mask" in models.overrides:
        return _open(resolve(models, "mask"), _MASKS, compute)
    from prosopon.models.faces.mask import WEIGHTS, MaskClassifierNet

    return MaskClassifierNet(WEIGHTS, compute)


def load_liveness(models: ModelSettings, compute: Compute) -> LivenessDetector:
    """No pack names a liveness model: the one of the catalogue is used once it has been pulled."""
    return _open(resolve(models, "liveness"), _LIVENESS, compute)


def load_mapper(models: ModelSettings, compute: Compute) -> LatentMapper:
    """StyleGAN2's own files hold both networks: where one is the generator, it is the mapper too."""
    own = models.overrides.get("generator", "")
    if own.endswith(".pkl") and "mapper" not in models.overrides:
        return _open(resolve(models, "generator"), _MAPPERS, compute)
    return _open(resolve(models, "mapper"), _MAPPERS, compute)


def load_generator(models: ModelSettings, compute: Compute) -> FaceGenerator:
    return _open(resolve(models, "generator"), _GENERATORS, compute)


def load_swapper(models: ModelSettings, compute: Compute) -> FaceSwapper:
    """The project's own warp, which has no weights, unless overridden or in a pack of InsightFace's.

    `inswapper_128` takes the embeddings of InsightFace's `buffalo_l`: the pack's, those of the override of the
    embedder where that is an ONNX file, or else those of `buffalo_l` where it is on this machine.
    """
    if pack := _insightface(models, "swapper"):
        from prosopon.models.faces.insightface_pack import find

        return _inswapper(find(pack, "swapper"), models, compute)
    if _warps(models):
        from prosopon.models.swap.warp import WarpSwapper

        return WarpSwapper()
    weights = resolve(models, "swapper")
    if weights.path.suffix != ".onnx":
        raise UnknownModel(
            f"'{weights.name}' cannot serve the role 'swapper': it takes warp or an .onnx file"
        )
    return _inswapper(weights.path, models, compute)


def _warps(models: ModelSettings) -> bool:
    return models.overrides.get("swapper", WARP) == WARP


def _inswapper(path: Path, models: ModelSettings, compute: Compute) -> FaceSwapper:
    from prosopon.models.faces import insightface_pack
    from prosopon.models.swap.inswapper import INSwapper128

    if models.overrides.get("embedder", "").endswith(".onnx"):
        embedder = load_embedder(models, compute)
    else:
        pack = _insightface(models, "embedder") or "buffalo_l"
        embedder = insightface_pack.load_embedder(pack, compute)
    return INSwapper128(path, embedder, compute)


def available(models: ModelSettings, role: Role) -> bool:
    """Whether a model can serve the role on this machine under these settings."""
    if role == "mask" and role not in models.overrides:
        from prosopon.models.faces.mask import WEIGHTS

        return WEIGHTS.exists()
    if role == "swapper" and _warps(models) and not _insightface(models, role):
        return True
    if pack := _insightface(models, role):
        from prosopon.models.faces.insightface_pack import serves

        return serves(pack, role)
    try:
        resolve(models, role)
    except ModelUnavailable:
        return False
    return True


def inverts(models: ModelSettings) -> bool:
    """Whether photographs can be turned into latents: their faces are compared by dlib's network, in any pack."""
    from prosopon.models.weights.catalogue import CATALOGUE

    try:
        Registry.of(models).weights(CATALOGUE["dlib-resnet29"])
    except ModelUnavailable:
        return False
    return all(available(models, role) for role in ("detector", "mapper", "generator"))


def prepare_artifact(weights: Weights) -> None:
    """Make the converted form of an artifact, so that the first start does not have to.

    The catalogue also has weights that only another command or a test reads: these have no converted form.
    """
    compute = Compute()
    match weights.role:
        case "detector":
            _open(weights, _DETECTORS, DetectionSettings(), compute)
        case "embedder" | "landmarks" | "age" | "gender" | "liveness" | "mapper" | "generator":
            openers = _BY_ROLE[weights.role]
            if weights.name in openers:
                _open(weights, openers, compute)


def _insightface(models: ModelSettings, role: Role) -> str | None:
    """The insightface pack that serves a role, or None where the catalogue or an override does."""
    if not models.pack.startswith(INSIGHTFACE) or role in models.overrides:
        return None
    return models.pack.removeprefix(INSIGHTFACE)


AnyModel = TypeVar("AnyModel")


def _open(weights: Weights, openers: Mapping[str, Callable[..., AnyModel]], *options: object) -> AnyModel:
    """Open weights with the class for their name, or for the suffix of an operator's own file."""
    name = weights.artifact.name if weights.artifact else weights.path.suffix
    opener = openers.get(name)
    if opener is None:
        known = ", ".join(sorted(openers))
        raise UnknownModel(f"'{weights.name}' cannot serve the role '{weights.role}': it takes {known}")
    return opener(weights, *options)


def _centerface(weights: Weights, detection: DetectionSettings, compute: Compute) -> FaceDetector:
    from prosopon.models.faces.centerface import CenterFace

    return CenterFace(weights.path, compute, detection)


def _yunet(weights: Weights, detection: DetectionSettings, compute: Compute) -> FaceDetector:
    from prosopon.models.faces.yunet import YuNet

    return YuNet(weights.path, compute, detection)


def _scrfd(weights: Weights, detection: DetectionSettings, compute: Compute) -> FaceDetector:
    from prosopon.models.faces.insightface_pack import InsightFaceDetector

    return InsightFaceDetector(weights.path, compute, detection)


def _dlib_resnet(weights: Weights, compute: Compute) -> FaceEmbedder:
    from prosopon.models.faces.dlib_resnet import DlibResNet29

    return DlibResNet29(weights.path, compute)


def _reid(weights: Weights, compute: Compute) -> FaceEmbedder:
    from prosopon.models.faces.retail_reidentification import RetailReidentification

    graph, tensors = weights.paths
    return RetailReidentification(graph, tensors, compute)


def _mobilefacenet(weights: Weights, compute: Compute) -> FaceEmbedder:
    from prosopon.models.faces.insightface_pack import mobilefacenet

    graph, tensors = weights.paths
    return mobilefacenet(graph, tensors, compute)


def _arcface(weights: Weights, compute: Compute) -> FaceEmbedder:
    from prosopon.models.faces.insightface_pack import InsightFaceEmbedder

    return InsightFaceEmbedder(weights.path, compute)


def _landmarks68(weights: Weights, compute: Compute) -> LandmarkPredictor:
    from prosopon.models.faces.landmarks import DlibLandmarks68

    return DlibLandmarks68(weights.path)


def _dlib_age(weights: Weights, compute: Compute) -> AgeEstimator:
    from prosopon.models.faces.age import DlibAge

    return DlibAge(weights.path, compute)


def _dlib_gender(weights: Weights, compute: Compute) -> GenderClassifier:
    from prosopon.models.faces.gender import DlibGender

    return DlibGender(weights.path, compute)


def _mask(weights: Weights, compute: Compute) -> MaskClassifier:
    from prosopon.models.faces.mask import MaskClassifierNet

    return MaskClassifierNet(weights.path, compute)


def _minifasnet(weights: Weights, compute: Compute) -> Any:
    from prosopon.models.faces.minifasnet import MiniFASNetEnsemble

    v2, v1se = weights.paths
    return MiniFASNetEnsemble(v2, v1se, compute)


def _mobile_stylegan_mapper(weights: Weights, compute: Compute) -> LatentMapper:
    from prosopon.models.generation.mobile_stylegan import MobileStyleGanMapper

    graph, tensors = weights.paths
    return MobileStyleGanMapper(graph, tensors, compute)


def _mobile_stylegan(weights: Weights, compute: Compute) -> FaceGenerator:
    from prosopon.models.generation.mobile_stylegan import MobileStyleGanPyramid

    graph, tensors = weights.paths
    return MobileStyleGanPyramid(graph, tensors, compute)


def _stylegan2_mapper(weights: Weights, compute: Compute) -> LatentMapper:
    from prosopon.models.generation.stylegan2 import StyleGan2Mapper

    return StyleGan2Mapper(weights.path, compute)


def _stylegan2(weights: Weights, compute: Compute) -> FaceGenerator:
    from prosopon.models.generation.stylegan2 import StyleGan2

    return StyleGan2(weights.path, compute)


# Artifact name, or suffix of a file that the catalogue does not know -> what opens it.
_DETECTORS: dict[str, Callable[..., FaceDetector]] = {
    "centerface": _centerface,
    "yunet": _yunet,
    "scrfd-500m": _scrfd,
    ".onnx": _scrfd,
}
_EMBEDDERS: dict[str, Callable[..., FaceEmbedder]] = {
    "dlib-resnet29": _dlib_resnet,
    "face-reidentification-retail-0095": _reid,
    "mobilefacenet-y1": _mobilefacenet,
    ".dat": _dlib_resnet,
    ".onnx": _arcface,
}
_LANDMARKS: dict[str, Callable[..., LandmarkPredictor]] = {
    "dlib-landmarks68": _landmarks68,
    ".dat": _landmarks68,
}
_AGES: dict[str, Callable[..., AgeEstimator]] = {"dlib-age": _dlib_age}
_GENDERS: dict[str, Callable[..., GenderClassifier]] = {"dlib-gender": _dlib_gender}
_MASKS: dict[str, Callable[..., MaskClassifier]] = {".onnx": _mask}
_LIVENESS: dict[str, Callable[..., LivenessDetector]] = {"minifasnet": _minifasnet}
_MAPPERS: dict[str, Callable[..., LatentMapper]] = {
    "mobilestylegan-mapper": _mobile_stylegan_mapper,
    ".xml": _mobile_stylegan_mapper,
    ".pkl": _stylegan2_mapper,
}
_GENERATORS: dict[str, Callable[..., FaceGenerator]] = {
    "mobilestylegan-generator": _mobile_stylegan,
    ".xml": _mobile_stylegan,
    ".pkl": _stylegan2,
}
_BY_ROLE: dict[str, Mapping[str, Callable[..., Any]]] = {
    "embedder": _EMBEDDERS,
    "landmarks": _LANDMARKS,
    "age": _AGES,
    "gender": _GENDERS,
    "liveness": _LIVENESS,
    "mapper": _MAPPERS,
    "generator": _GENERATORS,
}
