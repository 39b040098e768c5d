"""What one core, or one GPU, serves: the models alone, one process of one thread.

    python -m tests.benchmarks.capacity          # one core
    python -m tests.benchmarks.capacity cuda     # one GPU, fed by one process

An upper bound: the server adds the network, keys and records, and divides the machine among more processes.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np

from configs.settings import DetectionSettings, GenerationSettings, ImageLimits, ModelSettings, SwapSettings
from models.crops import cut
from models.face_generator import Faces
from models.face_swap import FaceSwap
from models.images import decode
from models.latents import Part, latent_of_seed
from models.load import load_detector, load_embedder, load_generator, load_mapper
from models.session import Compute
from tests.benchmarks.limits import limit
from tests.benchmarks.server import pictures

SECONDS = 10.0
Device = Literal["cpu", "cuda"]


def _compute(device: Device) -> Compute:
    compute = Compute(device, 1)
    compute.limit_libraries()
    return compute


class Recognise:
    """Decode, detect, cut, embed."""

    def __init__(self, device: Device) -> None:
        compute, models = _compute(device), ModelSettings()
        self.detector = load_detector(models, DetectionSettings(), compute)
        self.embedder = load_embedder(models, compute)

    def __call__(self, data: bytes) -> object:
        picture = decode(data, ImageLimits())
        faces = self.detector.detect([picture], 0.5)[0]
        chips = [
            cut(picture, box, landmarks, self.embedder.crop).pixels
            for box, landmarks in zip(faces.boxes, faces.landmarks, strict=True)
        ]
        return self.embedder.embed(np.stack(chips))


class Generate:
    """A new face of 300 pixels."""

    def __init__(self, device: Device) -> None:
        compute, models, settings = _compute(device), ModelSettings(), GenerationSettings()
        mapper, generator = load_mapper(models, compute), load_generator(models, compute)
        self.faces = Faces(mapper, generator, settings.truncation_psi, settings.truncated_pixels)
        self.seed = 0

    def __call__(self, _: bytes) -> object:
        self.seed += 1
        return self.faces.pictures([((Part(latent_of_seed(self.seed)),), 300)])


class Swap:
    """A face into a picture, files in and out."""

    def __init__(self, device: Device) -> None:
        limits, detection = ImageLimits(), DetectionSettings()
        self.swap = FaceSwap.load(ModelSettings(), detection, limits, SwapSettings(), _compute(device))
        self.face = pictures()[0]

    def __call__(self, data: bytes) -> object:
        return self.swap.swap(data, [self.face], None)


TASKS: dict[str, Callable[[Device], Callable[[bytes], object]]] = {
    "recognitions of 640 px pictures": Recognise,
    "faces of 300 px": Generate,
    "swaps in 640 px pictures": Swap,
}


def main() -> None:
    device: Device = "cuda" if "cuda" in sys.argv[1:] else "cpu"
    print(f"one {'GPU' if device == 'cuda' else 'core'}, models alone:")
    for name, make in TASKS.items():
        print(f"  {limit(partial(make, device), pictures(), SECONDS, processes=1):6.1f} {name} a second")


if __name__ == "__main__":
    main()
