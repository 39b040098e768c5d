"""The Detector: decodes a picture once, finds its faces and cuts what every later model needs."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from ray import serve

from configs.settings import DeploymentSettings, DetectionSettings, ImageLimits, ModelSettings
from deployments.batching import Batched, compute_for
from deployments.messages import DetectRequest, FacesFound, ModelCard, Rejected
from models.crops import CropSpec, crop_matrix, cut
from models.images import ImageError, decode
from models.load import load_detector
from models.types import Detections, RGBImage


@dataclass(frozen=True, slots=True)
class _Decoded:
    picture: RGBImage
    request: DetectRequest
    started: float


@serve.deployment
class Detector:
    """Answers `DetectRequest` with `FacesFound`, or `Rejected` where the bytes are no picture."""

    def __init__(
        self,
        models: ModelSettings,
        detection: DetectionSettings,
        limits: ImageLimits,
        settings: DeploymentSettings,
    ) -> None:
        self._model = load_detector(models, detection, compute_for(settings))
        self._threshold = detection.score_threshold
        self._limits = limits
        self._decoders = ThreadPoolExecutor(max(2, settings.threads), thread_name_prefix="decode")
        self._detect = Batched("detect", self._detect_batch, settings)
        self._model.detect([np.zeros((480, 640, 3), np.uint8)], self._threshold)

    def describe(self) -> ModelCard:
        return ModelCard(self._model.name, self._model.fingerprint)

    async def detect(self, request: DetectRequest) -> FacesFound | Rejected:
        started = time.perf_counter()
        try:
            picture = await asyncio.get_running_loop().run_in_executor(
                self._decoders, decode, request.image, self._limits
            )
        except ImageError as error:
            return Rejected(error.reason, str(error))
        if request.whole_picture:
            return whole_picture_as_face(picture, request.crops, started)
        return await self._detect(_Decoded(picture, request, started))

    def _detect_batch(self, batch: list[_Decoded]) -> list[FacesFound]:
        thresholds = [
            self._threshold if item.request.score_threshold is None else item.request.score_threshold
            for item in batch
        ]
        found = self._model.detect([item.picture for item in batch], min(thresholds))
        return [
            cut_faces(item.picture, faces, threshold, item.request, item.started)
            for item, faces, threshold in zip(batch, found, thresholds, strict=True)
        ]


def cut_faces(
    picture: RGBImage, faces: Detections, threshold: float, request: DetectRequest, started: float
) -> FacesFound:
    """The faces that the request asks for, biggest first, with their chips."""
    faces = faces.take(np.flatnonzero(faces.scores >= threshold)).largest_first()
    if request.limit:
        faces = faces.take(np.arange(min(request.limit, len(faces))))
    chips: dict[CropSpec, np.ndarray] = {}
    matrices: dict[CropSpec, np.ndarray] = {}
    for spec in request.crops:
        crops = [
            cut(picture, box, landmarks, spec)
            for box, landmarks in zip(faces.boxes, faces.landmarks, strict=True)
        ]
        shape = (len(crops), spec.size, spec.size, 3)
        chips[spec] = np.array([crop.pixels for crop in crops], np.uint8).reshape(shape)
        matrices[spec] = np.array([crop.matrix for crop in crops], np.float32).reshape(-1, 2, 3)
    height, width = picture.shape[:2]
    return FacesFound(width, height, faces, chips, matrices, (time.perf_counter() - started) * 1000)


def whole_picture_as_face(picture: RGBImage, crops: tuple[CropSpec, ...], started: float) -> FacesFound:
    """The picture taken as a face that somebody cut already: its landmarks are where an aligned chip has them."""
    height, width = picture.shape[:2]
    box = np.array([[0, 0, width, height]], np.float32)
    template = next((spec for spec in crops if spec.template is not None), None)
    if template is not None and template.template is not None:
        landmarks = np.array([template.template], np.float32) * (
            width / template.size,
            height / template.size,
        )
    else:
        landmarks = np.full((1, 5, 2), (width / 2, height / 2), np.float32)
    landmarks = landmarks.astype(np.float32)
    chips, matrices = {}, {}
    for spec in crops:
        shrink = spec.size < min(width, height)
        pixels = cv2.resize(
            picture, (spec.size, spec.size), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
        )
        chips[spec] = pixels[None]
        whole = CropSpec(spec.size, square=False)
        matrices[spec] = crop_matrix(box[0], landmarks[0], whole)[None]
    faces = Detections(box, np.ones(1, np.float32), landmarks)
    return FacesFound(width, height, faces, chips, matrices, (time.perf_counter() - started) * 1000)
