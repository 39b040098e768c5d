"""The Detector: decodes a picture once, finds its faces and cuts what every later model needs."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

import cv2
import numpy as np
from ray import serve

from prosopon.configs.settings import DeploymentSettings, DetectionSettings, ImageLimits, ModelSettings
from prosopon.deployments.serving.batching import Batched, compute_for
from prosopon.deployments.serving.face_models import FaceModels
from prosopon.deployments.serving.messages import DetectRequest, FacesFound, Rejected
from prosopon.models.faces.attributes.declaration import FaceRole, ModelCard
from prosopon.models.faces.detections import Detections, RGBImage
from prosopon.models.load import load_detector
from prosopon.models.pictures.crops import CropSpec, crop_matrix, cut
from prosopon.models.pictures.decoding import ImageError, decode, is_costly
from prosopon.models.runtime.occupancy import Occupancy

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
        colocated: Sequence[FaceRole[Any]],
    ) -> None:
        occupancy = Occupancy()
        compute = replace(compute_for(settings), occupancy=occupancy)
        self._model = load_detector(models, detection, compute)
        self._colocated = FaceModels(colocated, models, compute)
        self._threshold = detection.score_threshold
        self._largest_side = detection.largest_side
        self._limits = limits
        self._costly = asyncio.Semaphore(limits.costly_decodes)
        self._beside = ThreadPoolExecutor(max(2, settings.threads), thread_name_prefix="beside")
        self._detect = Batched("detect", self._detect_batch, settings, occupancy=occupancy)
        black = [np.zeros((480, 640, 3), np.uint8)]
        self._model.detect(black, self._threshold)
        with occupancy:  # Alone: by the copy that has all threads, where there is one.
            self._model.detect(black, self._threshold)
        self._colocated.warm_up()

    def describe(self) -> Mapping[str, ModelCard]:
        """Role -> card: its own, and those of the models that it runs besides."""
        return {"detector": ModelCard(self._model.name, self._model.fingerprint), **self._colocated.cards}

    async def detect(self, request: DetectRequest) -> FacesFound | Rejected:
        """What is costly to decode waits for its turn, for which it had to wait at the caller already."""
        assert isinstance(request.image, bytes)
        try:
            costly = is_costly(request.image, self._limits)
        except ImageError as error:
            return Rejected.of(error)
        if not costly:
            return await self._detect(request)
        await self._costly.acquire()
        # A decode is not stopped when its client goes, so it must not stop counting either.
        return await asyncio.shield(self._decode_and_detect(request))

    async def _decode_and_detect(self, request: DetectRequest) -> FacesFound | Rejected:
        """A costly picture is decoded before it takes a thread, so that the others pass it. There is room until its
        pixels, which are many, are forgotten."""
        try:
            pixels = await asyncio.to_thread(self._decode, request)
            return (
                pixels if isinstance(pixels, Rejected) else await self._detect(replace(request, image=pixels))
            )
        finally:
            self._costly.release()

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
            for (position, picture, threshold), faces in self._found(requests, to_detect):
                limit, crops = requests[position].limit, self._crops(requests[position])
                answers[position] = cut_faces(picture, faces, threshold, limit, crops, started)
        return self._analyzed(requests, [answers[position] for position in range(len(requests))])

    def _found(
        self, requests: list[DetectRequest], to_detect: list[tuple[int, RGBImage, float]]
    ) -> Iterator[tuple[tuple[int, RGBImage, float], Detections]]:
        """Pictures with their faces: those that are looked at in one size together."""
        groups: dict[int | None, list[tuple[int, RGBImage, float]]] = defaultdict(list)
        for item in to_detect:
            asked = requests[item[0]].det_size
            groups[None if asked is None else min(asked or self._largest_side, self._largest_side)].append(
                item
            )
        for det_size, items in groups.items():
            least = min(threshold for *_, threshold in items)
            yield from zip(
                items, self._model.detect([picture for _, picture, _ in items], least, det_size), strict=True
            )

    def _crops(self, request: DetectRequest) -> tuple[CropSpec, ...]:
        return tuple(dict.fromkeys([*request.crops, *self._colocated.crops(request.roles)]))

    def _analyzed(
        self, requests: list[DetectRequest], answers: list[FacesFound | Rejected]
    ) -> list[FacesFound | Rejected]:
        """The answers with the results that were asked for, without chips that were cut for these alone."""
        faces = {
            position: answer
            for position, answer in enumerate(answers)
            if isinstance(answer, FacesFound) and len(answer.faces)
        }
        asked = [(requests[position].roles, found.chips) for position, found in faces.items()]
        for (position, found), results in zip(
            faces.items(), self._colocated.run(asked, self._each), strict=True
        ):
            chips = {crop: found.chips[crop] for crop in requests[position].crops}
            answers[position] = replace(found, chips=chips, results=results)
        return answers

    def _each(self, function: Callable[[Item], Result], items: list[Item]) -> list[Result]:
        """The function of every item, side by side; one alone needs no second thread."""
        return list((map if len(items) == 1 else self._beside.map)(function, items))

    def _decode(self, request: DetectRequest) -> RGBImage | Rejected:
        if not isinstance(request.image, bytes):
            return request.image
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
