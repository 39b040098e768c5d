"""How far landmarks are from where people marked them: the tips of noses, the one point that the public set has."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prosopon.models.evaluation.detection import marked_noses
from prosopon.models.evaluation.sets import Portrait
from prosopon.models.faces.detections import Float32
from prosopon.models.faces.landmarks import ibug
from prosopon.models.pictures.crops import cut
from prosopon.models.roles import FaceDetector, LandmarkPredictor

_TIP = 30
"""Of iBUG's 68."""


@dataclass(frozen=True, slots=True)
class TipError:
    """Of how many noses; distances in shares of that between the eyes, which the detector tells: the mean, the most."""

    noses: int
    mean: float
    most: float


def on_noses(
    detector: FaceDetector, models: Mapping[str, LandmarkPredictor], folder: Path, threshold: float
) -> dict[str, TipError]:
    """The detector's own point, by its name, and each model's by its: of the face whose tip is nearest to each nose.

    folder: as `marked_noses` reads it. Raises `SetMissing`.
    """
    apart: dict[str, list[float]] = defaultdict(list)
    for name, noses in sorted(marked_noses(folder).items()):
        picture = Portrait(name, folder / name, name).read()
        faces = detector.detect([picture], threshold)[0] if picture is not None and noses else None
        if picture is None or faces is None or not len(faces):
            continue
        eyes = np.linalg.norm(faces.landmarks[:, 0] - faces.landmarks[:, 1], axis=1)
        tips = {detector.name: faces.landmarks[:, 2]}
        for model_name, model in models.items():
            crops = [
                cut(picture, *face, model.crop) for face in zip(faces.boxes, faces.landmarks, strict=True)
            ]
            points: list[Float32] = [crop.to_picture(model.predict(crop.pixels[None])[0]) for crop in crops]
            tips[model_name] = np.stack([ibug(each)[_TIP] for each in points])[:, :2]
        for nose in noses:
            for model_name, where in tips.items():
                distances = np.linalg.norm(where - np.asarray(nose), axis=1)
                nearest = int(distances.argmin())
                apart[model_name].append(float(distances[nearest] / eyes[nearest]))
    return {name: TipError(len(found), float(np.mean(found)), max(found)) for name, found in apart.items()}
