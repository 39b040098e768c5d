"""Whether a face is live or a picture of one: our own small network, see `models/weights/LIVENESS.md`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from prosopon.models.faces.attributes.declaration import (
    FaceAttribute,
    FaceInPicture,
    FaceModel,
    FaceRole,
)
from prosopon.models.faces.detections import Float32
from prosopon.models.pictures.crops import CropSpec
from prosopon.models.roles import Chips, LivenessDetector
from prosopon.models.runtime.fingerprint import fingerprint
from prosopon.models.runtime.session import Compute, create_session
from prosopon.models.weights.registry import Weights

WEIGHTS = Path(__file__).parents[2] / "weights" / "liveness.onnx"
"""The committed weights."""

CONTEXT = CropSpec(80, scale=2.7, square=False, inside=True)
"""The face and what is around it: MiniFASNet V2's crop."""

DETAIL = CropSpec(96, scale=1.2, inside=True)
"""The face alone, where a medium's texture shows."""

LOOKS = (0.8, 0.9)
"""How many times as large as in training the crops are cut, for one look and another: a score depends on where a
detector, with its rounding, puts a box, the mean of two looks less."""

LEAST_MARGIN = 1.6
"""How many times the face's box must fit into the picture for the frame of a print or a screen to show."""


def cramped(box: Float32, picture: tuple[int, int]) -> bool:
    """Whether the picture ends too near the face for its liveness to be told well, by this or another model.

    box: ``(4,)`` x1 y1 x2 y2; picture: width and height; all in pixels.
    """
    sides = np.maximum(box[2:] - box[:2], 1.0)
    return float((np.asarray(picture) / sides).min()) < LEAST_MARGIN


class ProsoponLiveness:
    """ONNX: `CONTEXT` and `DETAIL` of a face, ``(N, 3, S, S)`` float32 RGB 0..255, to ``(N,)`` float32."""

    crops: tuple[CropSpec, ...] = tuple(
        replace(spec, scale=look * spec.scale) for look in LOOKS for spec in (CONTEXT, DETAIL)
    )
    preprocessing = 2

    def __init__(self, path: Path, compute: Compute) -> None:
        self.name = "prosopon-liveness"
        self.fingerprint = fingerprint(self.name, self.preprocessing, path)
        self._session = create_session(path, compute)

    def score(self, chips: Sequence[Chips]) -> Float32:
        """``(N,)`` float32, probability that the face is live.

        chips: for each of `crops` a batch ``(N, S, S, 3)`` uint8 RGB of the same faces.
        """
        if not len(chips[0]):
            return np.empty(0, np.float32)
        context, detail = (
            np.concatenate(looks).transpose(0, 3, 1, 2).astype(np.float32, "C")
            for looks in (chips[::2], chips[1::2])
        )
        (live,) = self._session.run(None, {"context": context, "detail": detail})
        return np.asarray(live.reshape(len(LOOKS), -1).mean(axis=0), np.float32)


@dataclass(frozen=True, slots=True)
class Liveness:
    """probability: that the face belongs to a live person in front of the camera, 0..1. cramped: as the function."""

    probability: float
    cramped: bool


CRAMPED = "the picture ends close to the face, so the score of its liveness is less reliable"
"""What is said to a caller where `Liveness.cramped`."""


def _own(weights: Weights, compute: Compute) -> LivenessDetector:
    return ProsoponLiveness(weights.path, compute)


def _minifasnet(weights: Weights, compute: Compute) -> LivenessDetector:
    from prosopon.models.faces.minifasnet import MiniFASNetEnsemble

    v2, v1se = weights.paths
    return MiniFASNetEnsemble(v2, v1se, compute)


def _serve(network: LivenessDetector) -> FaceModel:
    return FaceModel.of(network, network.crops, lambda *chips: network.score(chips))


def _liveness(probability: np.float32, face: FaceInPicture) -> Liveness:
    return Liveness(float(probability), cramped(face.box, (face.width, face.height)))


LIVENESS = FaceAttribute(
    "liveness",
    Liveness,
    FaceRole(
        "liveness",
        {".onnx": _own, "minifasnet": _minifasnet},
        _serve,
        own=WEIGHTS,
        own_summary="Prosopon's own detector of pictures held before the camera",
    ),
    _liveness,
    called={"compreface": "liveness"},
)
