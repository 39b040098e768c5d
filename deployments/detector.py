"""The Detector: decodes a picture once, finds its faces and cuts what every later model needs."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

import cv2
import numpy as np
from ray import serve

from prosopon.configs.settings import (
    DeploymentSettings,
    DetectionSettings,
    FaceRole,
    ImageLimits,
    ModelSettings,
)
from prosopon.deployments.age import age_model
from prosopon.deployments.embedder import embedder_model
from prosopon.deployments.gender import gender_model
from prosopon.deployments.landmarks import landmarks_model
from prosopon.deployments.liveness import liveness_model
from prosopon.deployments.mask import mask_model
from prosopon.deployments.serving.batching import Batched, FaceModel, StageMetrics, compute_for
from prosopon.deployments.serving.messages import DetectRequest, FacesFound, ModelCard, Rejected, Timed
from prosopon.models.faces.detections import Detections, RGBImage
from prosopon.models.load import load_detector
from prosopon.models.pictures.crops import CropSpec, crop_matrix, cut
from prosopon.models.pictures.decoding import ImageError, decode
from prosopon.models.runtime.session import Compute

_COLOCATED: dict[FaceRole, Callable[[ModelSettings, Compute], FaceModel[Any]]] = {
    "embedder": embedder_model,
    "landmarks": landmarks_model,
    "age": age_model,
    "gender": gender_model,
    "mask": mask_model,
    "liveness": liveness_model,
}

Item = TypeVar("Item")
Result = TypeVar("Result")


@serve.deployment
class Detector:
    """Answers `DetectRequest` with `FacesFound`, or `Rejected` where the bytes are no picture."""

    def __init__(
        self,
        models: ModelSettings,
        detection: DetectionSettings,
        limits: ImageLimits,
        settings: DeploymentSettings,
        colocated: Sequence[FaceRole],
    ) -> None:
        compute = compute_for(settings)
        self._model = load_detector(models, detection, compute)
        self._colocated: dict[str, FaceModel[Any]] = {
            role: _COLOCATED[role](models, compute) for role in colocated
        }
        self._stages = {role: StageMetrics(model.stage) for role, model in self._colocated.items()}
        self._threshold = detection.score_threshold
        self._limits = limits
        self._beside = ThreadPoolExecutor(max(2, settings.threads), thread_name_prefix="beside")
        self._detect = Batched("detect", self._detect_batch, settings)
        self._model.detect([np.zeros((480, 640, 3), np.uint8)], self._threshold)
        for model in self._colocated.values():
            model.warm_up()

    def describe(self) -> ModelCard:
        colocated = {role: model.card for role, model in self._colocated.items()}
        return ModelCard(self._model.name, self._model.fingerprint, colocated=colocated)

    async def detect(self, request: DetectRequest) -> FacesFound | Rejected:
        return await self._detect(request)

    def _detect_batch(self, requests: list[DetectRequest]) -> list[FacesFound | Rejected]:
        """Decode, detect and cut: one job, since every change of threads costs a picture a millisecond."""
        started = time.perf_counter()
        decoded = self._each(self._decode, requests)
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
        return self._analyzed(requests, [answers[position] for position in range(len(requests))])

    def _crops(self, request: DetectRequest) -> tuple[CropSpec, ...]:
        asked = (model for role, model in self._colocated.items() if role in request.roles)
        return tuple(dict.fromkeys([*request.crops, *(crop for model in asked for crop in model.card.crops)]))

    def _analyzed(
        self, requests: list[DetectRequest], answers: list[FacesFound | Rejected]
    ) -> list[FacesFound | Rejected]:
        """The answers with the results that were asked for, without chips that were cut for these alone."""
        faces = {
            position: answer
            for position, answer in enumerate(answers)
            if isinstance(answer, FacesFound) and len(answer.faces)
        }

        def run(role: str) -> dict[int, Timed[Any]]:
            asked = [position for position in faces if role in requests[position].roles]
            model, started = self._colocated[role], time.perf_counter()
            results = model(
                [[faces[position].chips[crop] for crop in model.card.crops] for position in asked]
            )
            self._stages[role].observe(time.perf_counter() - started, len(asked))
            return dict(zip(asked, results, strict=True))

        roles = list({role for position in faces for role in requests[position].roles})
        results = dict(zip(roles, self._each(run, roles), strict=True))
        for position, found in faces.items():
            request = requests[position]
            answers[position] = replace(
                found,
                chips={crop: found.chips[crop] for crop in request.crops},
                results={role: results[role][position] for role in request.roles},
            )
        return answers

    def _each(self, function: Callable[[Item], Result], items: list[Item]) -> list[Result]:
        """The function of every item, side by side; one alone needs no second thread."""
        return list((map if len(items) == 1 else self._beside.map)(function, items))

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
