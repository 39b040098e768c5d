"""The application builder: settings in, bound application out. It reads like the architecture's diagram."""

from collections.abc import Callable
from typing import Any

from ray.serve import Application, Deployment
from ray.serve.schema import LoggingConfig

from prosopon.configs.settings import DeploymentSettings, Settings
from prosopon.deployments.courier import Courier
from prosopon.deployments.detector import Detector
from prosopon.deployments.face_index import FaceIndex
from prosopon.deployments.face_model import FaceModelReplica
from prosopon.deployments.generator import Generator
from prosopon.deployments.identifier import Identifier
from prosopon.deployments.inverter import Inverter
from prosopon.deployments.serving.scaling import by_backlog
from prosopon.deployments.swap_worker import SwapWorker
from prosopon.deployments.video_encoder import VideoEncoder
from prosopon.deployments.web.addresses import AddressPolicy
from prosopon.models.faces.attributes import embedding
from prosopon.models.faces.attributes.table import ATTRIBUTES, Attributes
from prosopon.models.load import check_names, face_model_available, inverts, sharing
from prosopon.models.weights.pins import settle
from prosopon.pipelines.apis.aifaceswap.wire import notification
from prosopon.pipelines.graphs.face_analysis import ModelHandles
from prosopon.pipelines.graphs.generation import GeneratorHandles
from prosopon.pipelines.graphs.recognition import RecognitionHandles
from prosopon.pipelines.graphs.swaps import SwapHandles
from prosopon.pipelines.ingress import Ingress

_METRICS_SECONDS = 2.0
"""How often replicas and callers report their load."""


def options(
    deployment: Deployment, settings: DeploymentSettings, policy: Callable[..., Any] | None = None
) -> Deployment:
    """The deployment with the resources that the settings give it. policy: what it scales by, where that is not the
    requests that it is at or that wait for it."""
    scaling: dict[str, Any] = {"num_replicas": settings.min_replicas}
    if settings.max_replicas > settings.min_replicas:
        scaling = {
            "autoscaling_config": {
                "min_replicas": settings.min_replicas,
                "max_replicas": settings.max_replicas,
                "target_ongoing_requests": settings.target_ongoing_requests,
                "upscale_delay_s": settings.upscale_seconds,
                "downscale_delay_s": settings.downscale_seconds,
                "metrics_interval_s": _METRICS_SECONDS,
                # What is averaged must not reach further back than what is waited for.
                "look_back_period_s": min(30.0, max(2 * _METRICS_SECONDS, settings.upscale_seconds)),
            }
        }
        if policy:
            scaling["autoscaling_config"]["policy"] = {"policy_function": policy}
    return deployment.options(
        ray_actor_options={"num_cpus": settings.num_cpus, "num_gpus": settings.num_gpus},
        max_ongoing_requests=settings.max_ongoing_requests,
        max_queued_requests=settings.max_queued_requests,
        health_check_period_s=2,
        # For what was sent to a replica before its callers knew that it leaves; it refuses what comes later, which then
        # goes elsewhere. Serve's two seconds are spent by one deployment after the other when the server ends.
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=10,
        # The ingress logs each request once, with its path; Serve's own line has only the route prefix.
        logging_config=LoggingConfig(encoding="JSON", enable_access_log=settings.log_calls),
        **scaling,
    )


def recognition(settings: Settings, attributes: Attributes = ATTRIBUTES) -> RecognitionHandles:
    """detect -> embed -> match, with the models of the attributes that are here."""
    models, resources = settings.models, settings.deployments
    # Who recognises faces cannot do without an embedder: where it is missing, its own error says what to do.
    here = [
        role
        for role in attributes.roles.values()
        if role is embedding.ROLE or face_model_available(models, role)
    ]
    beside = set(settings.detection.colocates(attributes.roles))
    colocated = [role for role in here if role.name in beside]
    detector = options(Detector, resources.detector).bind(
        models, settings.detection, settings.images, resources.detector, colocated
    )
    apart: dict[tuple[str, ...], Any] = {}
    for roles in sharing(models, [role for role in here if role.name not in beside]):
        own = roles[0].resources_in(resources)
        deployment = options(FaceModelReplica, own).options(name=roles[0].name).bind(roles, models, own)
        apart[tuple(role.name for role in roles)] = deployment
    embeds = next((found for roles, found in apart.items() if embedding.ROLE.name in roles), detector)
    index = options(FaceIndex, resources.face_index).bind(
        settings.state, settings.galleries, resources.face_index, embeds
    )
    identifier = None
    if settings.serves("trueface"):
        identifier = options(Identifier, resources.identifier).bind(
            models, settings.detection, settings.state, resources.identifier, embeds
        )
    handles = ModelHandles(detector, apart, attributes, resources.detector, settings.images)
    return RecognitionHandles(handles, index, identifier)


def generation(settings: Settings) -> GeneratorHandles:
    """latent -> generate -> encode-video, and back: photograph -> latent."""
    resources = settings.deployments
    generator = options(Generator, resources.generator).bind(
        settings.models, settings.generation, resources.generator
    )
    encoder = options(VideoEncoder, resources.video_encoder).bind(resources.video_encoder, generator)
    inverter = None
    if inverts(settings.models):
        inverter = options(Inverter, resources.inverter).bind(
            settings.models, settings.detection, settings.photographs, settings.generation, resources.inverter
        )
    return GeneratorHandles(generator, encoder, inverter)


def swapping(settings: Settings) -> SwapHandles:
    """detect -> swap, in one process, and the webhooks that tell of it in the words of the one API that has tasks."""
    resources = settings.deployments
    AddressPolicy(settings.fetch.allow)  # An entry that is none is an error before anything starts.
    courier = options(Courier, resources.courier, by_backlog).bind(
        settings.fetch, settings.webhooks, settings.swap, settings.state
    )
    worker = options(SwapWorker, resources.swap_worker, by_backlog).bind(
        settings.models,
        settings.detection,
        settings.images,
        settings.fetch,
        settings.swap,
        settings.state,
        resources.swap_worker,
        courier,
        notification,
    )
    return SwapHandles(worker, courier)


_LONGEST_REQUEST_SECONDS = 60
"""An ingress replica that leaves waits so long for those that it serves: a film may take a minute."""


def build(args: dict[str, Any] | Settings) -> Application:
    """The whole application. args: what `Settings` validates; anything wrong is an error before anything starts."""
    settings = settle(args if isinstance(args, Settings) else Settings.model_validate(args))
    return application(settings, ATTRIBUTES)


def application(settings: Settings, attributes: Attributes) -> Application:
    """The whole application, in which these attributes of faces can be asked for. Raises ValueError for settings of
    others."""
    check_names(settings, attributes)
    ingress = options(Ingress, settings.deployments.ingress)
    return ingress.options(graceful_shutdown_timeout_s=_LONGEST_REQUEST_SECONDS).bind(
        settings,
        recognition(settings, attributes) if settings.serves("compreface", "trueface", "facecheck") else None,
        generation(settings) if settings.serves("checkface") else None,
        swapping(settings) if settings.serves("aifaceswap") else None,
    )
