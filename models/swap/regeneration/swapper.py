"""The swapper `regenerate`: a face made anew by the generator, in the target's pose and light, put into its place."""

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from prosopon.configs.settings import ModelSettings
from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.faces.face_embedding import FaceEmbedding
from prosopon.models.generation.differentiable import load_differentiable, quicker_precision
from prosopon.models.inversion.encoder import GROUPS, load_encoder
from prosopon.models.inversion.encoder import SIDE as ENCODER_SIDE
from prosopon.models.inversion.ffhq_alignment import mapped
from prosopon.models.inversion.identity import load_identities
from prosopon.models.inversion.latent_prior import LatentPrior
from prosopon.models.inversion.loss import from_pixels, shrunk
from prosopon.models.roles import LatentMapper
from prosopon.models.runtime.fingerprint import combined
from prosopon.models.runtime.session import Compute
from prosopon.models.runtime.sharing import free_threads
from prosopon.models.swap.regeneration import views
from prosopon.models.swap.regeneration.composite import put_back
from prosopon.models.swap.regeneration.expression import with_mouth_in_place
from prosopon.models.swap.regeneration.likeness import moved, with_likeness
from prosopon.models.swap.regeneration.loss import RegenerationLoss, Weights
from prosopon.models.swap.regeneration.networks import load_mesh, seen
from prosopon.models.swap.regeneration.scene import SIDE, aligned, scene
from prosopon.models.swap.regeneration.search import Plan, search
from prosopon.models.swap.types import Replacement, check_frame
from prosopon.models.swap.verdict import embedding
from prosopon.models.swap.warp import WarpSwapper
from prosopon.models.weights.catalogue import CATALOGUE
from prosopon.models.weights.registry import Registry, resolve

_VIEWS = 6
"""Of a source, over which its embedding is averaged."""
_STARTS = (0.0, 0.6)
"""How much of the source's styles the middle layers begin with, in one search after the other; the rest is the rough
picture's."""
_LIKE = 0.3
"""By the cosine of the network that is held out, from which no further search is made."""
_BETTER = 0.03
"""By how much it must like another picture more than the one that keeps to what the made face and the source's agree
in, which looks most like a photograph."""
_BETTER_IF_LED, _FLATTERED = 0.1, 0.25
"""Where it has led the search itself: the same, and by how much more than others it likes the face as it was made."""
_HELD_OUT = FaceEmbedding.name
"""It leads the search where nothing else is here."""


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """picture: the frame with the new face; similarity, replaced: cosines to the source and to the target, by a network
    that the search does not look through."""

    picture: RGBImage
    similarity: float
    replaced: float

    @property
    def passes(self) -> bool:
        return self.similarity >= _LIKE and self.similarity > self.replaced


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
        """plan: of one face; a second search has what the first has left of its seconds. Raises
        `models.weights.registry.ModelUnavailable`, or `DeviceError` where CUDA was asked for and is not to be had."""
        self._device = compute.torch_device()
        self._threads = compute.threads
        self.plan, self._seed, self._weights = plan or Plan(), seed, Weights()
        generator = resolve(models, "generator")
        self._generator = load_differentiable(generator, self._device)
        self._searched = load_differentiable(generator, self._device, quicker_precision(self._device))
        self._prior = LatentPrior.of(mapper)
        self._identities = load_identities(models, self._device)
        self._torch_mesh = load_mesh(models, self._device)
        self._held_out = FaceEmbedding(Registry.of(models).weights(CATALOGUE[_HELD_OUT]).path, compute)
        encoder, trained_for = load_encoder()
        self._encoder = encoder.to(self._device) if trained_for == self._generator.fingerprint else None
        self.fingerprint = combined("regenerate-5", self._generator.fingerprint)
        self._searching = threading.Lock()

    def swap(self, frame: RGBImage, replacements: Sequence[Replacement]) -> RGBImage:
        """As `FaceSwapper.swap`."""
        check_frame(frame)
        result = frame.copy()
        for replacement in replacements:
            result = self.make(result, replacement)
        return result

    def make(self, frame: RGBImage, replacement: Replacement) -> RGBImage:
        """The frame with one new face."""
        # Of this thread, which may be another than loaded the models.
        torch.set_num_threads(free_threads(self._threads))
        target, source = replacement.target, replacement.source
        rough = WarpSwapper().swap(frame, [replacement])
        shown = scene(frame, rough, target, self._device)
        chip, matrix = aligned(source.picture, source.geometry)
        picture = from_pixels(chip[None], self._device)
        side = self._generator.sides[-1]
        scale = side / SIDE
        transform = aligned(frame, target)[1] * np.float32(scale)
        transform[:, 2] += np.float32((scale - 1) / 2)
        looks = [
            embedding(self._held_out, *pair) for pair in ((source.picture, source.geometry), (frame, target))
        ]
        began, spent, found = time.monotonic(), 0.0, list[Made]()
        with self._searching:
            for seed, mixed in enumerate(_STARTS, self._seed):
                random = np.random.default_rng(seed)
                wanted = self._embeddings(picture, mapped(source.geometry.landmarks, matrix), random)
                loss = RegenerationLoss(
                    shown, wanted, self._identities, self._torch_mesh, self._weights, random
                )
                start = self._start(shown.rough, picture, mixed)
                # What is found already is not given up for want of time.
                patience = math.inf if found else self.plan.patience
                plan = replace(self.plan, seconds=self.plan.seconds - spent, patience=patience)
                styles = search(self._searched, self._prior, loss, self._weights, start, plan)
                with torch.no_grad():
                    made = self._generator.picture(styles, side)
                found.append(self._finished(made, frame, replacement, transform, looks))
                spent = time.monotonic() - began
                if found[-1].passes or spent > self.plan.seconds / 2:
                    break
        return max(found, key=lambda made: (made.passes, made.similarity)).picture

    def _finished(
        self,
        picture: Tensor,
        frame: RGBImage,
        replacement: Replacement,
        transform: Float32,
        looks: Sequence[Float32],
    ) -> Made:
        """The best of the made face as it is and with the source's own over it: by the network that is held out, which
        sees each alone and put back into the frame, where its hair is another and some of it is covered.

        picture: ``(1, 3, S, S)`` -1..1; transform: ``(2, 3)`` from the frame to it; looks: embeddings of source and
        target.
        """
        target, face = replacement.target, moved(replacement.target, transform)
        made = (picture[0].permute(1, 2, 0) * 127.5 + 127.5).round().clamp(0, 255).byte().cpu().numpy()
        made = with_mouth_in_place(made, face, self._torch_mesh, np.random.default_rng(self._seed))
        results, seen_as = list[RGBImage](), list[Float32]()
        for one in (*with_likeness(made, face, replacement.source), made):
            result = frame.copy()
            put_back(result, target, one, transform)
            alone, within = embedding(self._held_out, one, face), embedding(self._held_out, result, target)
            results.append(result)
            seen_as.append(np.asarray((alone + within) / 2, np.float32))
        scores = [float(one @ looks[0]) for one in seen_as]
        led = self._identities[0].name == _HELD_OUT
        handicaps = (-_BETTER_IF_LED, 0.0, _FLATTERED) if led else (-_BETTER, 0.0, 0.0)
        best = int(np.argmax(np.subtract(scores, handicaps)))
        return Made(results[best], scores[best], float(seen_as[best] @ looks[1]))

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
    def _start(self, rough: Tensor, source: Tensor, mixed: float) -> Tensor:
        """The styles of the rough picture, in the space of the prior. mixed: how much of the source's, as `_STARTS`."""
        if self._encoder is None:
            return torch.zeros(1, self._generator.layers, 512, device=self._device)
        own: Tensor = self._encoder(shrunk(rough, ENCODER_SIDE))
        other = self._encoder(shrunk(source, ENCODER_SIDE))
        first, end = GROUPS[1][0], GROUPS[2][1]
        own[:, first:end] += mixed * (other[:, first:end] - own[:, first:end])
        return own
