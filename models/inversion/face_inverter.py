"""Photographs to latents: finds the face, aligns it, guesses styles and refines them."""

import logging
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch

from prosopon.configs.settings import DetectionSettings, ModelSettings
from prosopon.models.faces.detections import Detections, Float32, RGBImage
from prosopon.models.faces.landmarks import five_points, has_ibug, ibug
from prosopon.models.generation.differentiable import load_differentiable, quicker_precision
from prosopon.models.inversion.encoder import SIDE as ENCODER_SIDE
from prosopon.models.inversion.encoder import WEIGHTS, load_encoder
from prosopon.models.inversion.ffhq_alignment import FIVE_POINTS, ffhq_chip, ffhq_matrix, mapped
from prosopon.models.inversion.identity import load_identity
from prosopon.models.inversion.latent_prior import LatentPrior
from prosopon.models.inversion.loss import from_pixels, shrunk
from prosopon.models.inversion.refinement import Refinement
from prosopon.models.inversion.target import SIDE, NoFace, Schedule, Target
from prosopon.models.load import available, load_detector, load_landmarks, load_mapper
from prosopon.models.pictures.crops import cut
from prosopon.models.roles import LandmarkPredictor
from prosopon.models.runtime.session import Compute
from prosopon.models.runtime.sharing import free_threads
from prosopon.models.weights.catalogue import LED_BY
from prosopon.models.weights.registry import resolve

logger = logging.getLogger(__name__)


class FaceInverter:
    """Everything that it takes to invert a picture, loaded at once."""

    def __init__(
        self,
        models: ModelSettings,
        detection: DetectionSettings,
        compute: Compute,
        identities: Sequence[str] = LED_BY,
    ) -> None:
        """identities: networks that a search may look through, the first that is here.

        Raises `ModelUnavailable`, or `DeviceError` where CUDA was asked for and is not to be had.
        """
        self._device, self._threads = compute.torch_device(), compute.threads
        torch.set_num_threads(self._threads)
        self._detector = load_detector(models, detection, compute)
        self._threshold = detection.score_threshold
        landmarks = load_landmarks(models, compute) if available(models, "landmarks") else None
        self._landmarks = landmarks if landmarks and has_ibug(landmarks.count) else None
        precision = quicker_precision(self._device)
        self._generator = load_differentiable(resolve(models, "generator"), self._device, precision)
        self.prior = LatentPrior.of(load_mapper(models, compute))
        identity = load_identity(models, self._device, identities)
        self.refine = Refinement(self._generator, self.prior, identity, self._device)
        encoder, trained_for = load_encoder(WEIGHTS)
        known = self._generator.fingerprint == trained_for
        self._encoder = encoder.to(self._device) if known else None
        if not known:
            logger.info(f"the encoder knows {trained_for} only: inversions start from the mean face")

    def target(self, picture: RGBImage, align: bool = True) -> Target:
        """The biggest face of a picture ``(H, W, 3)``, aligned. Raises `NoFace`.

        align: False takes the whole picture for a face that is aligned already; its landmarks are looked for in it
        and, where there are none, assumed.
        """
        found = self._detector.detect([picture], self._threshold)[0].largest_first()
        if not align:
            return _as_it_is(picture, found)
        if not len(found):
            raise NoFace("no face was found in the picture")
        five = found.landmarks[0]
        points = five
        if self._landmarks is not None:
            points = ibug_points(picture, found.boxes[0], five, self._landmarks)
        try:
            matrix = ffhq_matrix(points, SIDE)
        except ValueError as error:
            raise NoFace(str(error)) from None
        return Target(ffhq_chip(picture, points, SIDE), mapped(five, matrix))

    def invert(
        self, targets: Sequence[Target], schedule: Schedule, stop: Callable[[], bool] = lambda: False
    ) -> Float32:
        """w+ ``(N, layers, 512)`` float32. stop: asked before each step; what comes after is of no use."""
        torch.set_num_threads(free_threads(self._threads))
        return self.refine(targets, self.guess(targets), schedule, stop)

    @torch.no_grad()
    def guess(self, targets: Sequence[Target]) -> torch.Tensor:
        """``(N, layers, 512)`` float32 in the space of the prior: the encoder's, or the mean face."""
        if self._encoder is None:
            return torch.zeros(len(targets), self._generator.layers, 512)
        chips = from_pixels(np.stack([target.chip for target in targets]), self._device)
        found: torch.Tensor = self._encoder(shrunk(chips, ENCODER_SIDE))
        return found


def ibug_points(picture: RGBImage, box: Float32, five: Float32, predictor: LandmarkPredictor) -> Float32:
    """``(68, 2)`` of the face in a box, looked for twice: the second crop lies by the first one's points, and no longer
    by the detector's five, which are rougher and not the same on every machine."""
    for _ in range(2):
        crop = cut(picture, box, five, predictor.crop)
        points = ibug(crop.to_picture(predictor.predict(crop.pixels[None])[0]))
        five = five_points(points)
    return points


def _as_it_is(picture: RGBImage, found: Detections) -> Target:
    """The picture's middle square."""
    height, width = picture.shape[:2]
    side = min(height, width)
    corner = np.array([(width - side) // 2, (height - side) // 2])
    square = picture[corner[1] : corner[1] + side, corner[0] : corner[0] + side]
    chip = cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_AREA if side > SIDE else cv2.INTER_CUBIC)
    if not len(found):
        return Target(chip, np.asarray(FIVE_POINTS, np.float32) * SIDE, aligned=False)
    landmarks = (found.landmarks[0] - corner + 0.5) * (SIDE / side) - 0.5
    return Target(chip, landmarks.astype(np.float32), aligned=False)
