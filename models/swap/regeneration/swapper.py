"""The swapper `regenerate`: a face made anew by the generator, in the target's pose and light, put into its place."""

import threading
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from prosopon.configs.settings import ModelSettings
from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.faces.mesh import FaceMesh
from prosopon.models.generation.differentiable import load_differentiable
from prosopon.models.inversion.encoder import GROUPS, load_encoder
from prosopon.models.inversion.encoder import SIDE as ENCODER_SIDE
from prosopon.models.inversion.ffhq_alignment import mapped
from prosopon.models.inversion.identity import load_identities
from prosopon.models.inversion.latent_prior import LatentPrior
from prosopon.models.inversion.loss import from_pixels, shrunk
from prosopon.models.roles import LatentMapper
from prosopon.models.runtime.fingerprint import combined
from prosopon.models.runtime.session import Compute
from prosopon.models.swap.regeneration import views
from prosopon.models.swap.regeneration.composite import put_back
from prosopon.models.swap.regeneration.loss import RegenerationLoss, Weights
from prosopon.models.swap.regeneration.networks import load_mesh, seen
from prosopon.models.swap.regeneration.scene import SIDE, aligned, scene
from prosopon.models.swap.regeneration.search import Plan, search
from prosopon.models.swap.types import Replacement, check_frame
from prosopon.models.weights.catalogue import CATALOGUE
from prosopon.models.weights.registry import Registry, resolve

_VIEWS = 6
"""Of a source, over which its embedding is averaged."""
_SOURCES_SHARE = 0.65
"""Of the middle layers' styles that a search starts from; the rest is the target's."""


class RegenerateSwapper:
    """One search at a time; a second caller waits. The result depends on the seed and on how far the time reaches."""

    name = "regenerate"

    def __init__(
        self,
        models: ModelSettings,
        mapper: LatentMapper,
        compute: Compute,
        plan: Plan | None = None,
        seed: int = 0,
    ) -> None:
        """plan: of each search. Raises `models.weights.registry.ModelUnavailable`, or `DeviceError` where CUDA was
        asked for and is not to be had."""
        self._device = compute.torch_device()
        self._threads = compute.threads
        self._plan, self._seed, self._weights = plan or Plan(), seed, Weights()
        self._generator = load_differentiable(resolve(models, "generator"), self._device)
        self._prior = LatentPrior.of(mapper)
        self._identities = load_identities(models, self._device)
        self._torch_mesh = load_mesh(models, self._device)
        self._mesh = FaceMesh(Registry.of(models).weights(CATALOGUE["mediapipe-face-mesh"]).path, compute)
        encoder, trained_for = load_encoder()
        self._encoder = encoder.to(self._device) if trained_for == self._generator.fingerprint else None
        self.fingerprint = combined("regenerate-1", self._generator.fingerprint)
        self._searching = threading.Lock()

    def swap(self, frame: RGBImage, replacements: Sequence[Replacement]) -> RGBImage:
        """As `FaceSwapper.swap`."""
        check_frame(frame)
        result = frame.copy()
        for replacement in replacements:
            face, matrix = self.make(result, replacement)
            put_back(result, replacement.target, face, matrix)
        return result

    def make(self, frame: RGBImage, replacement: Replacement) -> tuple[RGBImage, Float32]:
        """The new face ``(S, S, 3)`` uint8 RGB, and the ``(2, 3)`` transform from the frame to it."""
        torch.set_num_threads(self._threads)  # Of this thread, which may be another than loaded the models.
        random = np.random.default_rng(self._seed)
        target, source = replacement.target, replacement.source
        shown = scene(frame, target, self._mesh, self._device)
        chip, matrix = aligned(source.picture, source.geometry)
        picture = from_pixels(chip[None], self._device)
        with self._searching:
            wanted = self._embeddings(picture, mapped(source.geometry.landmarks, matrix), random)
            loss = RegenerationLoss(shown, wanted, self._identities, self._torch_mesh, self._weights, random)
            start = self._start(shown.chip, picture)
            styles = search(self._generator, self._prior, loss, self._weights, start, self._plan)
            with torch.no_grad():
                made = self._generator.picture(styles, self._generator.sides[-1])
        pixels = (made[0].permute(1, 2, 0) * 127.5 + 127.5).round().clamp(0, 255).byte().cpu().numpy()
        transform = aligned(frame, target)[1]
        scale = len(pixels) / SIDE
        transform = transform * np.float32(scale)
        transform[:, 2] += np.float32((scale - 1) / 2)
        return pixels, transform

    @torch.no_grad()
    def _embeddings(self, picture: Tensor, landmarks: Float32, random: np.random.Generator) -> list[Tensor]:
        """Of the source, for each network: the mean over several views."""
        found = []
        for identity in self._identities:
            matrix, size = identity.matrix(landmarks), identity.crop.size
            matrices = [matrix, *(views.jittered(matrix, size, random) for _ in range(_VIEWS - 1))]
            found.append(seen(identity, picture, matrices, SIDE).mean(dim=0, keepdim=True))
        return found

    @torch.no_grad()
    def _start(self, target: Tensor, source: Tensor) -> Tensor:
        """The target's styles with the source's in the middle layers, in the space of the prior."""
        if self._encoder is None:
            return torch.zeros(1, self._generator.layers, 512, device=self._device)
        own: Tensor = self._encoder(shrunk(target, ENCODER_SIDE))
        other = self._encoder(shrunk(source, ENCODER_SIDE))
        first, end = GROUPS[1][0], GROUPS[2][1]
        own[:, first:end] += _SOURCES_SHARE * (other[:, first:end] - own[:, first:end])
        return own
