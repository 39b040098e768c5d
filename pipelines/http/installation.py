"""What this installation serves, for everybody to read: APIs, models with their licences, limits."""

from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from pydantic import BaseModel

from prosopon.configs.settings import Api, DeploymentSettings, Role, Settings
from prosopon.models.faces.attributes.table import ATTRIBUTES
from prosopon.models.load import INSIGHTFACE, available, regenerates, uses_own
from prosopon.models.weights.registry import UnknownModel, artifact_for

ApiTitle = Literal["CompreFace", "Trueface", "FaceCheck", "CheckFace", "aifaceswap"]

_TITLES: dict[Api, ApiTitle] = {
    "compreface": "CompreFace",
    "trueface": "Trueface",
    "facecheck": "FaceCheck",
    "checkface": "CheckFace",
    "aifaceswap": "aifaceswap",
}
_DEPLOYMENT_OF: dict[Role, str] = {"mapper": "generator", "swapper": "swap_worker"}
_REGENERATE = "faces made anew by the generator; several at once by Prosopon's own warp"
_WARP = "Prosopon's own warp of faces along landmarks, without weights"
_RESEARCH_ONLY = "InsightFace's models are for non-commercial research only."


class ApiDescription(BaseModel):
    """needs_key: whether calls carry an API key."""

    name: Api
    title: ApiTitle
    needs_key: bool
    documentation: str
    openapi: str


class ModelDescription(BaseModel):
    """name: of the artifact or of the operator's own file; commercial: None where the catalogue does not know it.

    loaded: whether the role is served; device: where it runs.
    """

    role: Role
    name: str
    summary: str = ""
    licence: str = ""
    commercial: bool | None = None
    notice: str = ""
    loaded: bool
    device: Literal["CPU", "CUDA"]


class Limits(BaseModel):
    """Of one picture. film_bytes: of a film whose faces are swapped."""

    max_bytes: int
    max_pixels: int
    film_bytes: int


class Installation(BaseModel):
    """det_prob_threshold: the configured one."""

    version: str
    apis: list[ApiDescription]
    models: list[ModelDescription]
    limits: Limits
    det_prob_threshold: float


def describe(settings: Settings) -> Installation:
    """Reads the settings and which weights are on this machine; the same for every replica."""
    prefix = settings.http.prefix
    return Installation(
        version=_version(),
        apis=[
            ApiDescription(
                name=api,
                title=_TITLES[api],
                needs_key=api != "checkface",
                documentation=f"{prefix}/docs/{api}",
                openapi=f"{prefix}/openapi/{api}.json",
            )
            for api in settings.apis
        ],
        models=[_model(settings, role) for role in settings.roles(ATTRIBUTES.roles)],
        limits=Limits(
            max_bytes=settings.images.max_bytes,
            max_pixels=settings.images.max_pixels,
            film_bytes=settings.swap.films.max_bytes,
        ),
        det_prob_threshold=settings.detection.score_threshold,
    )


def _version() -> str:
    try:
        return version("prosopon")
    except PackageNotFoundError:
        return ""


def _model(settings: Settings, role: Role) -> ModelDescription:
    models = settings.models
    beside = role in settings.detection.colocates(ATTRIBUTES.roles)
    deployment = "detector" if beside else _DEPLOYMENT_OF.get(role, role)
    resources = getattr(settings.deployments, deployment, DeploymentSettings())
    loaded = available(models, role)
    device: Literal["CPU", "CUDA"] = "CUDA" if resources.num_gpus else "CPU"
    override = models.overrides.get(role)
    try:
        artifact = artifact_for(models, role)
    except UnknownModel:
        artifact = None
    described = partial(ModelDescription, role=role, loaded=loaded, device=device)
    if artifact:
        return described(
            name=artifact.name,
            summary=artifact.summary,
            licence=artifact.licence,
            commercial=artifact.commercial,
            notice=artifact.notice,
        )
    if override:
        name = override.replace("\\", "/").rsplit("/", 1)[-1]
        return described(name=name, summary="the operator's own file")
    face = ATTRIBUTES.roles.get(role)
    if face and face.own and uses_own(models, face):
        return described(name=role, summary=face.own_summary, licence="that of the project")
    if role == "swapper" and not models.pack.startswith(INSIGHTFACE):
        if settings.swap.method in ("best", "regenerate") and regenerates(models):
            return described(name="regenerate", summary=_REGENERATE, licence="that of the generator")
        return described(name="warp", summary=_WARP, licence="that of the project")
    if models.pack.startswith(INSIGHTFACE):
        return described(
            name=models.pack, licence="InsightFace, research only", commercial=False, notice=_RESEARCH_ONLY
        )
    return described(name="none")
