"""What each role's model can do. A model class satisfies its role by shape, without inheriting from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from prosopon.models.faces.detections import Detections, Float32, RGBImage, RGBImages
from prosopon.models.pictures.crops import CropSpec

Chips = NDArray[np.uint8]
"""``(N, S, S, 3)`` uint8 RGB, cut as the model's `crop` says."""


@dataclass(frozen=True, slots=True)
class Age:
    """low, high: years, inclusive; probability: that the age lies between them, 0..1."""

    low: int
    high: int
    probability: float


@dataclass(frozen=True, slots=True)
class Gender:
    value: Literal["male", "female"]
    probability: float


@dataclass(frozen=True, slots=True)
class Mask:
    value: Literal["without_mask", "mask_worn_incorrectly", "mask_worn_correctly"]
    probability: float


@dataclass(frozen=True, slots=True)
class HeadPose:
    """Degrees. pitch: up is positive; yaw: the face turned to the viewer's right is positive; roll: clockwise."""

    pitch: float
    yaw: float
    roll: float


class Model(Protocol):
    name: str
    """Name of the artifact in the registry."""
    fingerprint: str
    """Changes whenever the same input may give another output: weights and preprocessing."""


class FaceDetector(Model, Protocol):
    def detect(
        self, images: Sequence[RGBImage], score_threshold: float, det_size: int | None = None
    ) -> list[Detections]:
        """Faces of each picture whose probability reaches the threshold, the most probable first.

        Scores are probabilities that the box is a face; below 0.5 nothing is taken for one. det_size: longer side, in
        pixels, to which pictures are shrunk before; None is the configured one.
        """
        ...


class FaceEmbedder(Model, Protocol):
    crop: CropSpec
    dim: int

    def embed(self, chips: Chips) -> Float32:
        """``(N, dim)`` float32, as the network gives them (not normalised)."""
        ...


class LandmarkPredictor(Model, Protocol):
    crop: CropSpec
    count: int
    """Points per face, which says what they are: see `models.faces.landmarks`."""

    def predict(self, chips: Chips) -> Float32:
        """``(N, count, 2)`` float32, x y in crop pixels, or ``(N, count, 3)``: z besides, away from the camera."""
        ...


class AgeEstimator(Model, Protocol):
    crop: CropSpec

    def outputs(self, chips: Chips) -> Float32:
        """What the network gives, a row per face."""
        ...

    def ages(self, outputs: Float32) -> list[Age]: ...


class GenderClassifier(Model, Protocol):
    crop: CropSpec

    def outputs(self, chips: Chips) -> Float32:
        """What the network gives, a row per face. A network of ages too has one method for both: it is run once."""
        ...

    def genders(self, outputs: Float32) -> list[Gender]: ...


class MaskClassifier(Model, Protocol):
    crop: CropSpec

    def classify(self, chips: Chips) -> list[Mask]: ...


class LivenessDetector(Model, Protocol):
    crops: tuple[CropSpec, ...]

    def score(self, chips: Sequence[Chips]) -> Float32:
        """``(N,)`` float32, probability that the face is live. chips: one batch for each of `crops`."""
        ...


class LatentMapper(Model, Protocol):
    mean_w: Float32
    """``(512,)``, towards which styles are truncated."""

    def map(self, z: Float32) -> Float32:
        """z ``(N, 512)``, standard normal, to w ``(N, 512)``."""
        ...


class FaceGenerator(Model, Protocol):
    resolutions: tuple[int, ...]
    """Sides of the square pictures that it can make, in pixels, the smallest first."""
    layer_resolutions: tuple[int, ...]
    """For each style of w+, coarse to fine, the side of the feature map that it shapes, in pixels."""

    def generate(self, w: Float32, resolution: int) -> RGBImages:
        """w+ ``(N, layers, 512)`` to ``(N, R, R, 3)`` uint8 RGB, R one of `resolutions`.

        Raises ValueError for another shape, or for numbers that are not finite.
        """
        ...
