"""Embeddings of folders of portraits, shared by several benchmarks."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from prosopon.configs.settings import DetectionSettings, ImageLimits, ModelSettings
from prosopon.models.faces.detections import Detections, Float32, RGBImage
from prosopon.models.load import load_detector, load_embedder
from prosopon.models.matching.vectors import normalize
from prosopon.models.pictures.crops import cut
from prosopon.models.pictures.decoding import decode
from prosopon.models.roles import FaceDetector, FaceEmbedder
from prosopon.models.runtime.session import Compute
from tests.paths import DATA
from tests.weights import model_settings, weights

EMBEDDERS = (
    "dlib-resnet29",
    "face-reidentification-retail-0095",
    "retail-0095-even",
    "prosopon-embedding",
    "mobilefacenet-y1",
)
_BATCH = 32


def settings(**overrides: str) -> ModelSettings:
    """Settings with the given artifacts, pulled first."""
    for name in overrides.values():
        weights(name)
    return ModelSettings.model_validate({**model_settings().model_dump(), "overrides": overrides})


def detector(name: str = "centerface", compute: Compute | None = None) -> FaceDetector:
    return load_detector(settings(detector=name), DetectionSettings(), compute or Compute())


def embedder(name: str, compute: Compute | None = None) -> FaceEmbedder:
    return load_embedder(settings(embedder=name), compute or Compute())


def portraits(paths: Iterable[Path], model: FaceDetector) -> Iterator[tuple[Path, RGBImage, Detections]]:
    """Pictures with the face that is the biggest; a picture without one is left out."""
    limits = ImageLimits(max_bytes=50_000_000)
    for path in paths:
        picture = decode(path.read_bytes(), limits)
        faces = model.detect([picture], 0.5)[0].largest_first()
        if len(faces):
            yield path, picture, faces.take(np.arange(1))


def embed(found: Iterable[tuple[Path, RGBImage, Detections]], model: FaceEmbedder) -> Float32:
    """Unit embeddings ``(N, dim)`` of the pictures' faces."""
    chips = [
        cut(picture, faces.boxes[0], faces.landmarks[0], model.crop).pixels for _, picture, faces in found
    ]
    batches = [np.stack(chips[i : i + _BATCH]) for i in range(0, len(chips), _BATCH)]
    return normalize(np.concatenate([model.embed(batch) for batch in batches]))


def london(expression: str, remainder: int | None = None) -> list[Path]:
    """Pictures of the London set, by person; remainder 0 or 1: of every second person."""
    paths = sorted((DATA / "london").glob(f"*_{expression}.jpg"))
    return paths if remainder is None else paths[remainder::2]
