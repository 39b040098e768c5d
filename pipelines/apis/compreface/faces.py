"""Faces as CompreFace describes them: its plugins, and what the pipeline found in the words of the wire."""

from dataclasses import asdict
from functools import singledispatch
from typing import Any

import numpy as np

from prosopon.models.faces.attributes.embedding import EMBEDDING
from prosopon.models.faces.attributes.liveness import CRAMPED, Liveness
from prosopon.models.faces.attributes.quality import Quality
from prosopon.pipelines.apis.compreface.errors import judged_by_content
from prosopon.pipelines.apis.compreface.parameters import Asked
from prosopon.pipelines.apis.compreface.wire import Box, LivenessChoice
from prosopon.pipelines.graphs.face_analysis import Face, Picture, inside
from prosopon.pipelines.graphs.recognition import NoFace
from prosopon.pipelines.http.forms import Upload
from prosopon.pipelines.services import Services

_FIELDS = {"calculator": "embedding"}
"""Plugins whose answer has another name."""
_STAGES = {"embedder": "calculator", "landmarks": "pose"}
_MASKS_OF_THE_SERVER = {
    "mask_worn_correctly": "with_mask",
    "mask_worn_incorrectly": "mask_weared_incorrect",
}


class FacesOf:
    """Faces in the pictures of one request, and their description."""

    def __init__(self, services: Services, asked: Asked, *, embed: bool = True) -> None:
        """embed: whether the embedding is needed, asked for or not."""
        self._services, self._asked = services, asked
        self._attributes = asked.attributes | ({EMBEDDING} if embed else set())

    async def all(self, file: Upload, *, whole_picture: bool = False) -> Picture:
        """At least one face. Raises `NoFace`, `WrongFileType`, and what `FaceAnalyzer.analyze` raises."""
        with judged_by_content(file):
            picture = await self._services.faces.analyze(
                file.data,
                self._attributes,
                limit=self._asked.limit,
                score_threshold=self._asked.threshold,
                whole_picture=whole_picture,
                det_size=self._asked.det_size,
            )
        if not picture.faces:
            raise NoFace("No face is found in the given image")
        return picture

    async def one(self, file: Upload) -> Picture:
        """Exactly one face among those that are asked for. Raises `SeveralFaces` too."""
        with judged_by_content(file):
            return await self._services.recognition.one_face(
                file.data, self._attributes, self._asked.threshold, self._asked.limit, self._asked.det_size
            )

    def described(self, face: Face, picture: Picture) -> dict[str, Any]:
        """Fields of `FoundFace`."""
        x1, y1, x2, y2 = inside(face, picture)
        box = Box(probability=round(face.score, 5), x_min=x1, y_min=y1, x_max=x2, y_max=y2)
        fields: dict[str, Any] = {"box": box}
        for name, attribute in self._asked.plugins.items():
            fields[_FIELDS.get(name, name)] = _wire(face[attribute])
        if fields.get("mask") and self._services.settings.compreface.mask_values == "server":
            mask = fields["mask"]
            fields["mask"] = {**mask, "value": _MASKS_OF_THE_SERVER.get(mask["value"], mask["value"])}
        if self._asked.status:
            fields["execution_time"] = {
                _STAGES.get(stage, stage): round(cost, 1) for stage, cost in face.milliseconds.items()
            }
        return fields

    def versions(self) -> dict[str, str] | None:
        """Names of the models, where they are asked for."""
        if not self._asked.status:
            return None
        faces = self._services.faces
        used = {"detector": faces.cards["detector"].name}
        for name, attribute in faces.attributes.called("compreface").items():
            if attribute in self._attributes and attribute.role:
                used[name] = faces.card(attribute).name
        return used


@singledispatch
def _wire(value: Any) -> Any:
    """An attribute's value as its field of `FoundFace`: what the declaration's result type has, by the same names."""
    return asdict(value)


@_wire.register
def _(value: Liveness) -> LivenessChoice:
    live, warning = value.probability, CRAMPED if value.cramped else None
    return LivenessChoice(
        probability=max(live, 1 - live), value="real" if live >= 0.5 else "fake", warning=warning
    )


@_wire.register
def _(value: Quality) -> float:
    return round(value.value, 3)


@_wire.register
def _(value: np.ndarray) -> list[Any]:
    if value.ndim == 1:
        numbers: list[float] = value.tolist()
        return numbers
    return [(round(float(x)), round(float(y))) for x, y in value]
