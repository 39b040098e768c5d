"""The Inverter: photographs to latents, slowly, at the expense of nobody else."""

import asyncio
import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ray import serve

from prosopon.configs.settings import (
    DeploymentSettings,
    DetectionSettings,
    GenerationSettings,
    ImageLimits,
    ModelSettings,
)
from prosopon.deployments.serving.batching import Batched
from prosopon.deployments.serving.messages import FaceMissing, InversionRequest, Inverted, Rejected
from prosopon.models.generation.latents import Latent
from prosopon.models.inversion.target import NoFace, Schedule, Target
from prosopon.models.pictures.decoding import ImageError, decode
from prosopon.models.runtime.session import Compute

if TYPE_CHECKING:
    from prosopon.models.inversion.face_inverter import FaceInverter

_NICENESS = 10
"""Where cores are short, pictures and films that take a moment go before what takes half a minute."""


@dataclass(slots=True)
class _Job:
    """stopped: nobody waits for it any more."""

    target: Target
    stopped: threading.Event = field(default_factory=threading.Event)


@serve.deployment
class Inverter:
    """Answers `InversionRequest`. Its models, and torch, are loaded for the first one: until then it is small."""

    def __init__(
        self,
        models: ModelSettings,
        detection: DetectionSettings,
        limits: ImageLimits,
        generation: GenerationSettings,
        settings: DeploymentSettings,
    ) -> None:
        self._compute = Compute(
            "cuda" if settings.num_gpus else "cpu", max(settings.threads, generation.inversion_threads)
        )
        self._compute.limit_libraries()
        self._models, self._detection, self._limits = models, detection, limits
        self._schedule = Schedule(generation.inversion_seconds, generation.inversion_steps)
        self._loading = threading.Lock()
        self._loaded: FaceInverter | None = None
        self._preparers = ThreadPoolExecutor(1, thread_name_prefix="align")
        self._refine = Batched("invert", self._refine_batch, settings)
        self._niceness = min(19, os.getpriority(os.PRIO_PROCESS, os.getpid()) + _NICENESS)

    async def invert(self, request: InversionRequest) -> Inverted | FaceMissing | Rejected:
        """Cancelled, it stops with the step that it is at."""
        try:
            target = await asyncio.get_running_loop().run_in_executor(self._preparers, self._target, request)
        except ImageError as error:
            return Rejected.of(error)
        except NoFace as error:
            return FaceMissing(str(error))
        job = _Job(target)
        try:
            return await self._refine(job)
        finally:
            job.stopped.set()

    def _target(self, request: InversionRequest) -> Target:
        picture = decode(request.image, self._limits)
        return self._inverter().target(picture, request.align)

    def _refine_batch(self, jobs: list[_Job]) -> list[Inverted]:
        with contextlib.suppress(OSError):  # Of this thread, and of those that it begins.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), self._niceness)
        wanted = [job for job in jobs if not job.stopped.is_set()]
        if not wanted:  # Nobody is there to see what is returned.
            return [Inverted(None, job.target.aligned) for job in jobs]
        found = self._inverter().invert(
            [job.target for job in wanted],
            self._schedule,
            lambda: all(job.stopped.is_set() for job in wanted),
        )
        latents = {id(job): Latent(w.astype("float64")) for job, w in zip(wanted, found, strict=True)}
        return [Inverted(latents.get(id(job)), job.target.aligned) for job in jobs]

    def _inverter(self) -> "FaceInverter":
        with self._loading:
            if self._loaded is None:
                from prosopon.models.inversion.face_inverter import FaceInverter

                self._loaded = FaceInverter(self._models, self._detection, self._compute)
            return self._loaded
