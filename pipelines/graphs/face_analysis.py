"""detect -> embed and the attributes: what is known about the faces of one picture."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

from ray.serve.handle import DeploymentHandle

from prosopon.configs.settings import DeploymentSettings, ImageLimits
from prosopon.deployments.services import DescribesModels, DetectorService, FaceModelService
from prosopon.deployments.serving.contexts import looked_at
from prosopon.deployments.serving.fair_queue import FairQueue
from prosopon.deployments.serving.messages import DetectRequest, FacesFound, Results
from prosopon.deployments.serving.remote import remote
from prosopon.models.faces.attributes.declaration import FaceAttribute, FaceInPicture, ModelCard
from prosopon.models.faces.attributes.embedding import EMBEDDING
from prosopon.models.faces.attributes.table import Attributes
from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.pictures.crops import CropSpec
from prosopon.models.pictures.decoding import is_costly

Value = TypeVar("Value")
Attribute = FaceAttribute[Any]
_DETECTOR = "detector"
_COSTLY_WAITING = 16
"""Each may take `images.decode_seconds`."""
_COSTLY_SECONDS = 5


class NotAsked(KeyError):
    """A face does not know an attribute that was not asked for."""


@dataclass(frozen=True, slots=True)
class Face:
    """One face. box: x1 y1 x2 y2; landmarks ``(5, 2)``; all in pixels of the upright picture.

    results: attribute that was asked for, by name, -> its value; ``face[AGE]`` gives it with its type. crops: what was
    asked for besides, ``(S, S, 3)`` uint8 RGB. milliseconds: role -> cost.
    """

    box: Float32
    score: float
    landmarks: Float32
    results: Mapping[str, Any] = field(default_factory=dict)
    crops: Mapping[CropSpec, RGBImage] = field(default_factory=dict)
    milliseconds: Mapping[str, float] = field(default_factory=dict)

    @overload
    def __getitem__(self, attribute: FaceAttribute[Value]) -> Value: ...
    @overload
    def __getitem__(self, attribute: str) -> Any: ...
    def __getitem__(self, attribute: FaceAttribute[Any] | str) -> Any:
        """The value of an attribute, or of the one of that name. Raises `NotAsked`."""
        name = attribute if isinstance(attribute, str) else attribute.name
        try:
            return self.results[name]
        except KeyError:
            raise NotAsked(name) from None

    def __contains__(self, attribute: FaceAttribute[Any] | str) -> bool:
        """Whether it was asked for."""
        return (attribute if isinstance(attribute, str) else attribute.name) in self.results

    def get(self, attribute: FaceAttribute[Value]) -> Value | None:
        """The value of an attribute; None where it was not asked for."""
        value: Value | None = self.results.get(attribute.name)
        return value

    @property
    def embedding(self) -> Float32:
        """``(D,)`` unit norm. Raises `NotAsked`."""
        return self[EMBEDDING]


@dataclass(frozen=True, slots=True)
class Picture:
    """width, height: of the upright picture, in pixels. faces: the biggest first."""

    width: int
    height: int
    faces: tuple[Face, ...]


@dataclass(frozen=True, slots=True)
class ModelHandles:
    """Handles of the deployments of this graph. apart: of the roles that the detector does not run, those together
    that one network serves. attributes: what can be asked for where a model is here. resources, images: of the
    detector."""

    detector: DeploymentHandle
    apart: Mapping[tuple[str, ...], DeploymentHandle]
    attributes: Attributes
    resources: DeploymentSettings
    images: ImageLimits


class FaceAnalyzer:
    """Runs the detector and, side by side, the models that know what was asked for. One per process; holds no state.

    attributes: the table. cards: role -> card of its model, of those that are served. queue: before the detector;
    costly: another, for pictures that take a process of their own to decode (`ImageLimits`).
    """

    def __init__(
        self,
        detector: DetectorService,
        apart: Mapping[tuple[str, ...], FaceModelService],
        attributes: Attributes,
        cards: Mapping[str, ModelCard],
        images: ImageLimits,
        queue: FairQueue,
        costly: FairQueue,
    ) -> None:
        self._detector, self._apart, self._images = detector, apart, images
        self._queue, self._costly = queue, costly
        self.attributes, self.cards = attributes, cards

    @classmethod
    async def connect(cls, handles: ModelHandles) -> "FaceAnalyzer":
        """Waits until every model is loaded and knows how its input is cut."""
        detector = remote(handles.detector, DetectorService)
        apart = {roles: remote(handle, FaceModelService) for roles, handle in handles.apart.items()}
        deployed: list[DescribesModels] = [detector, *apart.values()]
        described = await asyncio.gather(*(deployment.describe() for deployment in deployed))
        cards = {role: card for cards in described for role, card in cards.items()}
        queue = FairQueue.of(handles.resources, "pictures wait")
        at_work = handles.images.costly_decodes * handles.resources.max_replicas
        costly = FairQueue(
            at_work, _COSTLY_WAITING, "pictures that are costly to decode wait", _COSTLY_SECONDS
        )
        return cls(detector, apart, handles.attributes, cards, handles.images, queue, costly)

    def available(self, attribute: Attribute) -> bool:
        """Whether a model is served that can tell."""
        role = attribute.role
        return role is None or (role.name in self.cards and attribute.needs(self.cards[role.name]))

    def card(self, attribute: Attribute) -> ModelCard:
        """The model behind an attribute that is available."""
        return self.cards[attribute.role.name if attribute.role else _DETECTOR]

    async def analyze(
        self,
        image: bytes,
        attributes: frozenset[Attribute] = frozenset(),
        *,
        limit: int = 0,
        score_threshold: float | None = None,
        whole_picture: bool = False,
        crops: tuple[CropSpec, ...] = (),
        det_size: int | None = None,
    ) -> Picture:
        """Faces of a picture given as a file's bytes.

        attributes: to be known of every face, all available. limit: at most so many, the biggest; 0 is all.
        score_threshold: None is the configured one. whole_picture: the picture is a face already cut out, do not look
        for one. crops: to be cut of every face. det_size: longer side, in pixels, in which faces are looked for; 0 is
        as large as is allowed, None the configured one. Raises `ImageError`, and what `call` raises.
        """
        looked_at.get()()
        wanted = frozenset(attribute.role.name for attribute in attributes if attribute.role)
        apart = {roles: asked for roles in self._apart if (asked := wanted.intersection(roles))}
        here = wanted.difference(*apart.values())
        needed = [spec for asked in apart.values() for spec in self._crops(asked)]
        specs = tuple(dict.fromkeys([*needed, *crops]))
        request = DetectRequest(image, score_threshold, limit, specs, whole_picture, here, det_size)
        queue = self._costly if is_costly(image, self._images) else self._queue
        async with queue.turn():
            found = await self._detector.detect(request)
        results = dict(found.results)
        if len(found.faces):
            asking = (self._ask(self._apart[roles], asked, found) for roles, asked in apart.items())
            for answer in await asyncio.gather(*asking):
                results.update(answer)
        return Picture(found.width, found.height, tuple(self._faces(found, attributes, results, crops)))

    def _crops(self, roles: frozenset[str]) -> list[CropSpec]:
        return [spec for role in sorted(roles) for spec in self.cards[role].crops]

    async def _ask(self, model: FaceModelService, roles: frozenset[str], found: FacesFound) -> Results:
        return await model.predict(roles, {spec: found.chips[spec] for spec in self._crops(roles)})

    def _faces(
        self,
        found: FacesFound,
        attributes: frozenset[Attribute],
        results: Results,
        crops: tuple[CropSpec, ...],
    ) -> list[Face]:
        times = {role: result.milliseconds for role, result in results.items()}
        times[_DETECTOR] = found.milliseconds
        return [
            Face(
                box=found.faces.boxes[index],
                score=float(found.faces.scores[index]),
                landmarks=found.faces.landmarks[index],
                results={
                    attribute.name: self._value(attribute, found, results, index) for attribute in attributes
                },
                crops={spec: found.chips[spec][index] for spec in crops},
                milliseconds=times,
            )
            for index in range(len(found.faces))
        ]

    def _value(self, attribute: Attribute, found: FacesFound, results: Results, index: int) -> Any:
        role = attribute.role.name if attribute.role else None
        place = FaceInPicture(
            found.faces.boxes[index],
            found.faces.landmarks[index],
            found.width,
            found.height,
            tuple(found.matrices[spec][index] for spec in self.cards[role].crops) if role else (),
        )
        return attribute.read(results[role].value[index] if role else None, place)


def inside(face: Face, picture: Picture) -> tuple[int, int, int, int]:
    """The face's box as integers x1 y1 x2 y2 inside the picture."""
    limits = (picture.width, picture.height, picture.width, picture.height)
    x1, y1, x2, y2 = (
        min(max(round(v), 0), limit) for v, limit in zip(face.box.tolist(), limits, strict=True)
    )
    return x1, y1, x2, y2
