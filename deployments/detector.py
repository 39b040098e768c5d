"""The Detector: decodes a picture once, finds its faces and cuts what every later model needs."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
from ray import serve

from configs.settings import DeploymentSettings, DetectionSettings, ImageLimits, ModelSettings
from deployments.batching import Batched, Stacked, StageMetrics, compute_for
from deployments.messages import DetectRequest, FacesFound, ModelCard, Rejected
from models.crops import CropSpec, crop_matrix, cut
from models.images import ImageError, decode
from models.load import load_detector, load_embedder
from models.types import Detections, RGBImage
from models.vectors import normalize


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
        compute = compute_for(settings)
        self._model = load_detector(models, detection, compute)
        self._embedder = load_embedder(models, compute) if detection.embed else None
        self._threshold = detection.score_threshold
        self._limits = limits
        self._decoders = ThreadPoolExecutor(max(2, settings.threads), thread_name_prefix="decode")
        self._detect = Batched("detect", self._detect_batch, settings)
        self._model.detect([np.zeros((480, 640, 3), np.uint8)], self._threshold)
        if embedder := self._embedder:
            self._embed = Stacked(lambda chips: normalize(embedder.embed(chips)), embedder.crop.size)
            self._embedding = StageMetrics("embed")

    def describe(self) -> ModelCard:
        embedder = None
        if model := self._embedder:
            embedder = ModelCard(model.name, model.fingerprint, (model.crop,), model.dim)
        return ModelCard(self._model.name, self._model.fingerprint, embedder=embedder)

    async def detect(self, request: DetectRequest) -> FacesFound | Rejected:
        return await self._detect(request)

    def _detect_batch(self, requests: list[DetectRequest]) -> list[FacesFound | Rejected]:
        """Decode, detect and cut: one job, since every change of threads costs a picture a millisecond."""
        started = time.perf_counter()
        # One picture needs no second thread to be decoded in.
        each = map if len(requests) == 1 else self._decoders.map
        decoded = list(each(self._decode, requests))
        answers: dict[int, FacesFound | Rejected] = {}
        to_detect: list[tuple[int, RGBImage, float]] = []
        for position, (request, picture) in enumerate(zip(requests, decoded, strict=True)):
            if isinstance(picture, Rejected):
                answers[position] = picture
            elif request.whole_picture:
                answers[position] = whole_picture_as_face(picture, self._crops(request), started)
            else:
                asked = request.score_threshold
                to_detect.append((position, picture, self._threshold if asked is None else asked))
        if to_detect:
            least = min(threshold for *_, threshold in to_detect)
            found = self._model.detect([picture for _, picture, _ in to_detect], least)
            for (position, picture, threshold), faces in zip(to_detect, found, strict=True):
                limit, crops = requests[position].limit, self._crops(requests[position])
                answers[position] = cut_faces(picture, faces, threshold, limit, crops, started)
        return self._embedded(requests, [answers[position] for position in range(len(requests))])

    def _crops(self, request: DetectRequest) -> tuple[CropSpec, ...]:
        if not (request.embed and self._embedder) or self._embedder.crop in request.crops:
            return request.crops
        return (*request.crops, self._embedder.crop)

    def _embedded(
        self, requests: list[DetectRequest], answers: list[FacesFound | Rejected]
    ) -> list[FacesFound | Rejected]:
        """The answers with embeddings where they were asked for, without chips that were cut for these alone."""
        asked = {
            position: answer
            for position, (request, answer) in enumerate(zip(requests, answers, strict=True))
            if request.embed and isinstance(answer, FacesFound) and len(answer.faces)
        }
        if self._embedder is None or not asked:
            return answers
        crop = self._embedder.crop
        started = time.perf_counter()
        embeddings = self._embed([found.chips[crop] for found in asked.values()])
        self._embedding.observe(time.perf_counter() - started, len(asked))
        for (position, found), embedded in zip(asked.items(), embeddings, strict=True):
            specs = requests[position].crops
            answers[position] = replace(
                found,
                chips={spec: found.chips[spec] for spec in specs},
                matrices={spec: found.matrices[spec] for spec in specs},
                embeddings=embedded,
            )
        return answers

    def _decode(self, request: DetectRequest) -> RGBImage | Rejected:
        try:
            return decode(request.image, self._limits)
        except ImageError as error:
            return Rejected.of(error)


def cut_faces(
    picture: RGBImage,
    faces: Detections,
    threshold: float,
    limit: int,
    specs: tuple[CropSpec, ...],
    started: float,
) -> FacesFound:
    """The faces that score at least the threshold, biggest first, at most `limit` unless it is 0; with their chips."""
    faces = faces.take(np.flatnonzero(faces.scores >= threshold)).largest_first()
    if limit:
        faces = faces.take(np.arange(min(limit, len(faces))))
    chips: dict[CropSpec, np.ndarray] = {}
    matrices: dict[CropSpec, np.ndarray] = {}
    for spec in specs:
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
