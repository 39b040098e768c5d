"""What routes do, by the bare models in process: the work that `tests.benchmarks.limits` counts.

Processes are sent a class and its arguments, and load models of their own.
"""

from typing import Literal

import numpy as np

from prosopon.configs.settings import (
    DetectionSettings,
    GenerationSettings,
    ImageLimits,
    ModelSettings,
    SwapSettings,
)
from prosopon.models.generation.face_generator import Faces
from prosopon.models.generation.latents import Part, latent_of_seed
from prosopon.models.load import load_detector, load_embedder, load_generator, load_mapper
from prosopon.models.pictures.crops import cut
from prosopon.models.pictures.decoding import decode
from prosopon.models.runtime.session import Compute
from prosopon.models.swap.face_swap import FaceSwap
from tests.paths import DATA

Device = Literal["cpu", "cuda"]


def pictures() -> list[bytes]:
    return [path.read_bytes() for path in sorted((DATA / "london").glob("*_neutral.jpg"))[:32]]


def compute_of(device: Device, threads: int = 1) -> Compute:
    compute = Compute(device, threads)
    compute.limit_libraries()
    return compute


def generator(compute: Compute, models: ModelSettings | None = None) -> Faces:
    """As it is served with the default settings."""
    models, settings = models or ModelSettings(), GenerationSettings()
    return Faces(
        load_mapper(models, compute),
        load_generator(models, compute),
        settings.truncation_psi,
        settings.truncated_pixels,
    )


class Recognise:
    """Decode, detect, cut, embed."""

    def __init__(self, threads: int = 1, device: Device = "cpu") -> None:
        compute, models = compute_of(device, threads), ModelSettings()
        self.detector = load_detector(models, DetectionSettings(), compute)
        self.embedder = load_embedder(models, compute)

    def __call__(self, data: bytes) -> np.ndarray:
        picture = decode(data, ImageLimits())
        faces = self.detector.detect([picture], 0.5)[0]
        chips = [
            cut(picture, box, landmarks, self.embedder.crop).pixels
            for box, landmarks in zip(faces.boxes, faces.landmarks, strict=True)
        ]
        return self.embedder.embed(np.stack(chips))


class Generate:
    """A new face of so many pixels each time."""

    def __init__(self, dim: int, device: Device = "cpu") -> None:
        self._faces, self._dim, self._seed = generator(compute_of(device)), dim, 0

    def __call__(self, _: bytes) -> np.ndarray:
        self._seed += 1
        return self._faces.pictures([((Part(latent_of_seed(self._seed)),), self._dim)])[0]


class Swap:
    """A face into a picture, files in and out."""

    def __init__(self, face: bytes, device: Device = "cpu") -> None:
        compute, self._face = compute_of(device), face
        self._swap = FaceSwap.load(
            ModelSettings(), DetectionSettings(), ImageLimits(), SwapSettings(method="warp"), compute
        )

    def __call__(self, picture: bytes) -> bytes:
        return self._swap.swap(picture, [self._face], None).data
