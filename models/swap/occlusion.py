"""What lies before a face: our own small network, see `models/weights/OCCLUSION.md`."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.pictures.crops import CropSpec, cut
from prosopon.models.roles import Chips
from prosopon.models.runtime.fingerprint import fingerprint
from prosopon.models.runtime.session import Compute, create_session, run
from prosopon.models.swap import geometry
from prosopon.models.swap.filters import disc
from prosopon.models.swap.region import Region

WEIGHTS = Path(__file__).parents[1] / "weights" / "occlusion.onnx"
"""The committed weights."""
SUMMARY = "Prosopon's own segmenter of what lies before a face"

# Eyes, nose and mouth corners by iBUG's points: the whole forehead and a little more than the chin are in view.
CROP = CropSpec(128, ((46.5, 53.5), (80.5, 53.5), (63.5, 72.5), (49.7, 88.2), (77.3, 88.2)))
_NOSE = (31, 27, 35)
_EYES_GROWN, _MOUTH_GROWN = 0.06, 0.06
"""By which parts of the distance between the eyes the features' outlines are widened."""


def five_points(dense: Float32) -> Float32:
    """``(5, 2)``: of 68 points those that `CROP` is aligned on. A mesh knows better than a detector where a mouth is
    that a hand covers."""
    eyes = dense[36:42].mean(axis=0), dense[42:48].mean(axis=0)
    return np.stack([*eyes, dense[30], dense[48], dense[54]]).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Covered:
    """How much of each is covered, 0..1. eyes: of the one that is covered less; face: down to the chin."""

    eyes: float
    mouth: float
    nose: float
    face: float


@dataclass(frozen=True, slots=True, eq=False)
class Front:
    """What lies before one face of a picture.

    chip: ``(128, 128)`` float32 0..1: how much of a pixel is no part of the face (hair, hands, frames and what lenses
    reflect, background); matrix: ``(2, 3)`` from the picture's pixels to those of the chip.
    """

    chip: Float32
    matrix: Float32

    def on(self, region: Region) -> Float32:
        """``(H, W)``: on a region's small raster."""
        places = region.places(self.matrix)
        shown = cv2.remap(
            self.chip, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return np.asarray(shown, np.float32)

    def covered(self, dense: Float32) -> Covered:
        """dense: the face's ``(68, 2)`` points in its picture."""
        points = (dense @ self.matrix[:, :2].T + self.matrix[:, 2]).astype(np.float32)
        unit = geometry.interocular(points)

        def share(group: tuple[int, ...], grown: float) -> float:
            hull = cv2.dilate(geometry.hulls(points, (group,), self.chip.shape[:2]), disc(grown * unit)) > 0
            return float(self.chip[hull].mean()) if hull.any() else 0.0

        eyes = min(share(eye, _EYES_GROWN) for eye in geometry.EYES)
        face = (*geometry.JAW, *geometry.BROWS[0], *geometry.BROWS[1])
        return Covered(eyes, share(geometry.LIPS, _MOUTH_GROWN), share(_NOSE, 0.0), share(face, 0.0))


class OcclusionSegmenter:
    """ONNX: ``(N, 3, 128, 128)`` float32 RGB, 0..255, to ``(N, 1, 128, 128)`` float32 probabilities."""

    name = "prosopon-occlusion"
    crop = CROP
    preprocessing = 1

    def __init__(self, path: Path, compute: Compute) -> None:
        self.fingerprint = fingerprint(self.name, self.preprocessing, path)
        self._session = create_session(path, compute)

    def probabilities(self, chips: Chips) -> Float32:
        """``(N, 128, 128)`` float32, that a pixel does not show the face. chips: ``(N, 128, 128, 3)`` uint8 RGB, cut as
        `crop` says on `five_points`."""
        if not len(chips):
            return np.empty((0, CROP.size, CROP.size), np.float32)
        found = run(self._session, np.ascontiguousarray(chips.transpose(0, 3, 1, 2), np.float32))[0]
        return np.asarray(found[:, 0], np.float32)

    def find(self, picture: RGBImage, dense: Float32) -> Front:
        """dense: ``(68, 2)`` points of the face in the picture ``(H, W, 3)`` uint8 RGB."""
        crop = cut(picture, np.zeros(4, np.float32), five_points(dense), CROP)
        return Front(self.probabilities(crop.pixels[None])[0], crop.matrix)


@cache
def segmenter() -> OcclusionSegmenter:
    """The project's own, on one thread of the CPU."""
    return OcclusionSegmenter(WEIGHTS, Compute())
