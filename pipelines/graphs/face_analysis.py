"""detect -> embed and the plugins: what is known about the faces of one picture."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from ray.serve.handle import DeploymentHandle

from prosopon.deployments.serving.calls import call
from prosopon.deployments.serving.messages import DetectRequest, FacesFound, ModelCard, Timed
from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.faces.head_pose import head_pose
from prosopon.models.pictures.crops import CropSpec, to_picture
from prosopon.models.roles import Age, Gender, HeadPose, Mask


class Plugin(StrEnum):
    """What can be asked for about a face."""

    AGE = "age"
    GENDER = "gender"
    MASK = "mask"
    LIVENESS = "liveness"
    POSE = "pose"
    LANDMARKS = "landmarks"
    DENSE_LANDMARKS = "dense_landmarks"
    EMBEDDING = "embedding"


@dataclass(frozen=True, slots=True)
class Liveness:
    """probability: that the face belongs to a live person in front of the camera, 0..1."""

    probability: float


@dataclass(frozen=True, slots=True)
class Face:
    """One face. box: x1 y1 x2 y2; landmarks ``(5, 2)``; all in pixels of the upright picture.

    A field is None unless its plugin was asked for. dense_landmarks: ``(68, 2)``, ``(98, 2)`` or ``(106, 2)``.
    embedding: ``(D,)`` unit norm. crops: what was asked for besides, ``(S, S, 3)`` uint8 RGB. milliseconds: cost of
    each stage.
    """

    box: Float32
    score: float
    landmarks: Float32
    embedding: Float32 | None = None
    age: Age | None = None
    gender: Gender | None = None
    mask: Mask | None = None
    liveness: Liveness | None = None
    pose: HeadPose | None = None
    dense_landmarks: Float32 | None = None
    crops: dict[CropSpec, RGBImage] = field(default_factory=dict)
    milliseconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Picture:
    """width, height: of the upright picture, in pixels. faces: the biggest first."""

    width: int
    height: int
    faces: tuple[Face, ...]


@dataclass(frozen=True, slots=True)
class ModelHandles:
    """Handles of the deployments of this graph; None where the role is not deployed by itself: no model is here, or the
    detector runs it."""

    detector: DeploymentHandle
    embedder: DeploymentHandle | None = None
    landmarks: DeploymentHandle | None = None
    age: DeploymentHandle | None = None
    gender: DeploymentHandle | None = None
    mask: DeploymentHandle | None = None
    liveness: DeploymentHandle | None = None

    def deployed(self) -> dict[str, DeploymentHandle]:
        """Role -> handle of every role that is deployed."""
        handles = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: handle for name, handle in handles.items() if handle is not None}


_ROLE_OF = {
    Plugin.AGE: "age",
    Plugin.GENDER: "gender",
    Plugin.MASK: "mask",
    Plugin.LIVENESS: "liveness",
    Plugin.POSE: "landmarks",
    Plugin.DENSE_LANDMARKS: "landmarks",
    Plugin.EMBEDDING: "embedder",
    Plugin.LANDMARKS: "detector",
}


class FaceAnalyzer:
    """Runs the detector and, side by side, the plugins that were asked for. One per process; holds no state."""

    def __init__(self, handles: ModelHandles, cards: dict[str, ModelCard]) -> None:
        self._handles = handles.deployed()
        self._detect = handles.detector.detect  # named once: to name a method makes a handle of its own
        self.cards = cards

    @classmethod
    async def connect(cls, handles: ModelHandles) -> "FaceAnalyzer":
        """Waits until every model is loaded and knows how its input is cut."""
        deployed = handles.deployed()
        described = await asyncio.gather(*(handle.describe.remote() for handle in deployed.values()))
        cards: dict[str, ModelCard] = dict(zip(deployed, described, strict=True))
        return cls(handles, {**cards, **cards["detector"].colocated})

    def available(self, plugin: Plugin) -> bool:
        return _ROLE_OF[plugin] in self.cards

    def card(self, plugin: Plugin) -> ModelCard:
        """The model behind a plugin."""
        return self.cards[_ROLE_OF[plugin]]

    async def analyze(
        self,
        image: bytes,
        plugins: frozenset[Plugin] = frozenset(),
        *,
        limit: int = 0,
        score_threshold: float | None = None,
        whole_picture: bool = False,
        crops: tuple[CropSpec, ...] = (),
    ) -> Picture:
        """Faces of a picture given as a file's bytes.

        limit: at most so many, the biggest; 0 is all. score_threshold: None is the configured one.
        whole_picture: the picture is a face already cut out, do not look for one. crops: to be cut of every face.
        Raises `ImageError`, and what `call` raises.
        """
        wanted = {_ROLE_OF[plugin] for plugin in plugins}
        here = frozenset(role for role in self.cards["detector"].colocated if role in wanted)
        apart = list(wanted - here - {"detector"})
        needed = [spec for role in apart for spec in self.cards[role].crops]
        specs = tuple(dict.fromkeys([*needed, *crops]))
        request = DetectRequest(image, score_threshold, limit, specs, whole_picture, here)
        found: FacesFound = await call(self._detect, request)
        answers: dict[str, Timed[Any]] = {**found.results}
        if apart and len(found.faces):
            results = await asyncio.gather(*(self._ask(role, found) for role in apart))
            answers.update(zip(apart, results, strict=True))
        return Picture(found.width, found.height, tuple(self._faces(found, plugins, answers, crops)))

    def _ask(self, role: str, found: FacesFound) -> Awaitable[Timed[Any]]:
        chips = [found.chips[spec] for spec in self.cards[role].crops]
        return call(self._handles[role].predict, *chips)

    def _faces(
        self,
        found: FacesFound,
        plugins: frozenset[Plugin],
        answers: dict[str, Timed[Any]],
        crops: tuple[CropSpec, ...],
    ) -> list[Face]:
        faces = []
        times = {role: answer.milliseconds for role, answer in answers.items()}
        times["detector"] = found.milliseconds
        for index in range(len(found.faces)):
            values = {role: answer.value[index] for role, answer in answers.items()}
            dense = None
            if "landmarks" in values:
                spec: CropSpec = self.cards["landmarks"].crops[0]
                dense = to_picture(values["landmarks"], found.matrices[spec][index])
            pose = None
            if Plugin.POSE in plugins and dense is not None:
                pose = head_pose(dense, (found.width, found.height))
            faces.append(
                Face(
                    box=found.faces.boxes[index],
                    score=float(found.faces.scores[index]),
                    landmarks=found.faces.landmarks[index],
                    embedding=values.get("embedder"),
                    age=values.get("age"),
                    gender=values.get("gender"),
                    mask=values.get("mask"),
                    liveness=Liveness(float(values["liveness"])) if "liveness" in values else None,
                    pose=pose,
                    dense_landmarks=dense if Plugin.DENSE_LANDMARKS in plugins else None,
                    crops={spec: found.chips[spec][index] for spec in crops},
                    milliseconds=times,
                )
            )
        return faces


def inside(face: Face, picture: Picture) -> tuple[int, int, int, int]:
    """The face's box as integers x1 y1 x2 y2 inside the picture."""
    limits = (picture.width, picture.height, picture.width, picture.height)
    x1, y1, x2, y2 = (
        int(np.clip(round(float(v)), 0, limit)) for v, limit in zip(face.box, limits, strict=True)
    )
    return x1, y1, x2, y2
