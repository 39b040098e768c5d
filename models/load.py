"""From settings to models: which class opens which weights. Modules are imported when they are needed."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from prosopon.configs.settings import DetectionSettings, ModelSettings, Role, Settings
from prosopon.models.faces.attributes import embedding, landmarks
from prosopon.models.faces.attributes.declaration import FaceRole
from prosopon.models.faces.attributes.table import ATTRIBUTES, Attributes
from prosopon.models.roles import (
    FaceDetector,
    FaceEmbedder,
    FaceGenerator,
    LandmarkPredictor,
    LatentMapper,
    Model,
)
from prosopon.models.runtime.session import Compute
from prosopon.models.swap.types import FaceSwapper
from prosopon.models.weights.catalogue import CATALOGUE, JUDGED_BY
from prosopon.models.weights.registry import ModelUnavailable, Registry, UnknownModel, Weights, resolve

__all__ = [
    "ModelUnavailable",
    "Source",
    "UnknownModel",
    "available",
    "check_names",
    "face_model_available",
    "find",
    "inverts",
    "load_detector",
    "load_embedder",
    "load_face_network",
    "load_generator",
    "load_landmarks",
    "load_mapper",
    "load_regenerator",
    "load_swap_judge",
    "load_swapper",
    "prepare_artifact",
    "regenerates",
    "sharing",
    "uses_own",
]

AnyModel = TypeVar("AnyModel")
Network = TypeVar("Network", bound=Model)

INSIGHTFACE = "insightface/"
WARP = "warp"
"""The override of the role swapper that names the project's own, which has no file."""


_OTHER_ROLES = ("detector", "mapper", "generator", "swapper")


def check_names(settings: Settings, attributes: Attributes = ATTRIBUTES) -> Settings:
    """The settings, where every role that they name is one. Raises ValueError."""
    roles = attributes.roles
    named = {
        "models.overrides": set(settings.models.overrides) - {*_OTHER_ROLES, *roles},
        "detection.colocated": set(settings.detection.colocates(roles)) - set(roles),
        "deployments": set(settings.deployments.of_roles) - set(roles),
    }
    for place, unknown in named.items():
        if unknown:
            raise ValueError(f"{place}: unknown: {', '.join(sorted(unknown))}; of faces: {', '.join(roles)}")
    return settings


def load_detector(models: ModelSettings, detection: DetectionSettings, compute: Compute) -> FaceDetector:
    """Raises, as all of these, `ModelUnavailable`, `UnknownModel` or `models.weights.checksums.ChecksumError`."""
    compute = replace(compute, plan=models.plans.get("detector"))
    if pack := _insightface(models, "detector"):
        from prosopon.models.faces.insightface_pack import load_detector as load

        return _again(load(pack, detection, compute), detection)
    return _again(_open(resolve(models, "detector"), _DETECTORS, detection, compute), detection)


def _again(detector: FaceDetector, detection: DetectionSettings) -> FaceDetector:
    from prosopon.models.faces.looking import LookingAgain

    return LookingAgain(detector, detection.max_side, detection.nms_threshold)


@dataclass(frozen=True, slots=True)
class Source(Generic[Network]):
    """Where the model of a role of faces comes from. Two roles of which both are equal share one network."""

    paths: tuple[Path, ...]
    opener: Callable[..., Network]
    weights: Weights | None = field(default=None, compare=False)

    def open(self, compute: Compute) -> Network:
        return self.opener(self.weights or self.paths[0], compute)


def find(models: ModelSettings, role: FaceRole[Network]) -> Source[Network]:
    """What serves a role of faces under these settings. Raises what `load_detector` raises."""
    if role.own and uses_own(models, role):
        return _source(Weights(role.name, role.name, (role.own,), None), role)
    if pack := _insightface(models, role.name):
        from prosopon.models.faces import insightface_pack

        path = insightface_pack.find(pack, role.name)
        return Source((path,), insightface_pack.open_network(role.name))
    return _source(resolve(models, role.name), role)


def uses_own(models: ModelSettings, role: FaceRole[Any]) -> bool:
    """Whether neither an override nor a pack of InsightFace's has another model for a role with weights of ours."""
    if pack := _insightface(models, role.name):
        from prosopon.models.faces.insightface_pack import serves

        return not serves(pack, role.name)
    return role.name not in models.overrides


def _source(weights: Weights, role: FaceRole[Network]) -> Source[Network]:
    return Source(weights.paths, _opener(weights, role.networks, role.name), weights)


def load_face_network(models: ModelSettings, role: FaceRole[Network], compute: Compute) -> Network:
    """The network that serves a role of faces."""
    return find(models, role).open(compute)


def load_embedder(models: ModelSettings, compute: Compute) -> FaceEmbedder:
    return load_face_network(models, embedding.ROLE, compute)


def load_landmarks(models: ModelSettings, compute: Compute) -> LandmarkPredictor:
    return load_face_network(models, landmarks.ROLE, compute)


def sharing(models: ModelSettings, roles: Iterable[FaceRole[Any]]) -> list[list[FaceRole[Any]]]:
    """The roles, those together that one network serves."""
    together: dict[Source[Any], list[FaceRole[Any]]] = {}
    for role in roles:
        together.setdefault(find(models, role), []).append(role)
    return list(together.values())


def load_mapper(models: ModelSettings, compute: Compute) -> LatentMapper:
    """StyleGAN2's own files hold both networks: where one is the generator, it is the mapper too."""
    own = models.overrides.get("generator", "")
    role: Role = "generator" if own.endswith(".pkl") and "mapper" not in models.overrides else "mapper"
    stylegan2 = partial(_stylegan2_mapper, label=models.generator_class)
    return _open(resolve(models, role), _MAPPERS | {".pkl": stylegan2}, compute)


def load_generator(models: ModelSettings, compute: Compute) -> FaceGenerator:
    compute = replace(compute, plan=models.plans.get("generator"))
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


def load_regenerator(models: ModelSettings, compute: Compute, seconds: float) -> FaceSwapper:
    """The swapper that makes faces anew. seconds: for one. Raises `ModelUnavailable` or `DeviceError`."""
    from prosopon.models.swap.regeneration.search import Plan
    from prosopon.models.swap.regeneration.swapper import RegenerateSwapper

    return RegenerateSwapper(models, load_mapper(models, compute), compute, Plan(seconds))


def regenerates(models: ModelSettings) -> bool:
    """Whether faces can be made anew."""
    return all(available(models, role) for role in ("mapper", "generator"))


def load_swap_judge(models: ModelSettings, compute: Compute) -> FaceEmbedder:
    """What swaps are judged by, if none is named: of `JUDGED_BY` the first that is here."""
    own = models.overrides.get("embedder", "")
    if _insightface(models, "embedder") or Path(own).suffix:
        return load_embedder(models, compute)
    name = next(name for name in JUDGED_BY if _is_here(models, name))
    return _open(Registry.of(models).weights(CATALOGUE[name]), embedding.ROLE.networks, compute)


def _is_here(models: ModelSettings, name: str) -> bool:
    try:
        Registry.of(models).weights(CATALOGUE[name])
    except ModelUnavailable:
        return False
    return True


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
    if role in ATTRIBUTES.roles:
        return face_model_available(models, ATTRIBUTES.roles[role])
    if role == "swapper" and _warps(models) and not _insightface(models, role):
        return True
    return _has_weights(models, role)


def face_model_available(models: ModelSettings, role: FaceRole[Any]) -> bool:
    """As `available`, for a role of any table."""
    if role.own and uses_own(models, role):
        return role.own.exists()
    return _has_weights(models, role.name)


def _has_weights(models: ModelSettings, role: Role) -> bool:
    if pack := _insightface(models, role):
        from prosopon.models.faces.insightface_pack import serves

        return serves(pack, role)
    try:
        resolve(models, role)
    except ModelUnavailable:
        return False
    return True


def inverts(models: ModelSettings) -> bool:
    """Whether photographs can be turned into latents. A network to compare their faces by is always here."""
    return all(available(models, role) for role in ("detector", "mapper", "generator"))


def prepare_artifact(weights: Weights) -> None:
    """Make the converted form of an artifact, so that the first start does not have to.

    The catalogue also has weights that only another command or a test reads: these have no converted form.
    """
    compute = Compute()
    if weights.role == "detector":
        _open(weights, _DETECTORS, DetectionSettings(), compute)
    face = ATTRIBUTES.roles.get(weights.role)
    openers: Mapping[str, Callable[..., Any]] = face.networks if face else _OTHERS.get(weights.role, {})
    if weights.name in openers:
        _open(weights, openers, compute)


def _insightface(models: ModelSettings, role: Role) -> str | None:
    """The insightface pack that serves a role, or None where the catalogue or an override does."""
    if not models.pack.startswith(INSIGHTFACE) or role in models.overrides:
        return None
    return models.pack.removeprefix(INSIGHTFACE)


def _open(weights: Weights, openers: Mapping[str, Callable[..., AnyModel]], *options: object) -> AnyModel:
    """Open weights with the class for their name, or for the suffix of an operator's own file."""
    return _opener(weights, openers, weights.role)(weights, *options)


def _opener(
    weights: Weights, openers: Mapping[str, Callable[..., AnyModel]], role: Role
) -> Callable[..., AnyModel]:
    name = weights.artifact.name if weights.artifact else weights.path.suffix
    if name not in openers:
        known = ", ".join(sorted(openers))
        raise UnknownModel(f"'{weights.name}' cannot serve the role '{role}': it takes {known}")
    return openers[name]


def _centerface(weights: Weights, detection: DetectionSettings, compute: Compute) -> FaceDetector:
    from prosopon.models.faces.centerface import CenterFace

    return CenterFace(weights.path, compute, detection)


def _yunet(weights: Weights, detection: DetectionSettings, compute: Compute) -> FaceDetector:
    from prosopon.models.faces.yunet import YuNet

    return YuNet(weights.path, compute, detection)


def _scrfd(weights: Weights, detection: DetectionSettings, compute: Compute) -> FaceDetector:
    from prosopon.models.faces.insightface_pack import InsightFaceDetector

    return InsightFaceDetector(weights.path, compute, detection)


def _mobile_stylegan_mapper(weights: Weights, compute: Compute) -> LatentMapper:
    from prosopon.models.generation.mobile_stylegan import MobileStyleGanMapper

    graph, tensors = weights.paths
    return MobileStyleGanMapper(graph, tensors, compute)


def _mobile_stylegan(weights: Weights, compute: Compute) -> FaceGenerator:
    from prosopon.models.generation.mobile_stylegan import MobileStyleGanPyramid

    graph, tensors = weights.paths
    return MobileStyleGanPyramid(graph, tensors, compute)


def _stylegan2_mapper(weights: Weights, compute: Compute, label: int | None) -> LatentMapper:
    from prosopon.models.generation.stylegan2 import StyleGan2Mapper

    return StyleGan2Mapper(weights.path, compute, label)


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
_MAPPERS: dict[str, Callable[..., LatentMapper]] = {
    "mobilestylegan-mapper": _mobile_stylegan_mapper,
    ".xml": _mobile_stylegan_mapper,
}
_GENERATORS: dict[str, Callable[..., FaceGenerator]] = {
    "mobilestylegan-generator": _mobile_stylegan,
    ".xml": _mobile_stylegan,
    ".pkl": _stylegan2,
}
_OTHERS: dict[str, Mapping[str, Callable[..., Any]]] = {"mapper": _MAPPERS, "generator": _GENERATORS}
