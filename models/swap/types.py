"""What a swapper is told about faces."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from prosopon.models.faces.detections import Detections, Float32, RGBImage
from prosopon.models.faces.landmarks import MESH, ibug
from prosopon.models.pictures.crops import cut
from prosopon.models.roles import LandmarkPredictor, Model


def check_frame(frame: RGBImage) -> None:
    """Raises ValueError for a frame that is not ``(H, W, 3)`` uint8."""
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise ValueError(f"a frame must be (H, W, 3) uint8, not {frame.shape} {frame.dtype}")


@dataclass(frozen=True, slots=True, eq=False)
class FaceGeometry:
    """Where a face is, in pixels of its picture (pixel centres at integers).

    box: ``(4,)`` float32, x1 y1 x2 y2; landmarks: ``(5, 2)`` in the order of `Detections.landmarks`; mesh: ``(468, 3)``
    as of `FaceMesh.predict`; dense: ``(68, 2)`` of it, in iBUG's order. Raises ValueError for another shape or for
    numbers that are not finite.
    """

    box: Float32
    landmarks: Float32
    mesh: Float32
    dense: Float32 = field(init=False)

    def __post_init__(self) -> None:
        for name, value, shape in (
            ("box", self.box, (4,)),
            ("landmarks", self.landmarks, (5, 2)),
            ("mesh", self.mesh, (MESH, 3)),
        ):
            if value.shape != shape or not np.isfinite(value).all():
                raise ValueError(f"{name} of a face must be {shape} finite numbers, not {value.shape}")
        object.__setattr__(self, "dense", ibug(self.mesh))


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class SourceFace:
    """The face that is put in. picture: ``(H, W, 3)`` uint8 RGB, the whole picture it was found in."""

    picture: RGBImage
    geometry: FaceGeometry


@dataclass(frozen=True, slots=True, eq=False)
class Replacement:
    """target: the face of the frame that gives way to source."""

    target: FaceGeometry
    source: SourceFace


class NoSwap(ValueError):
    """The pictures are whole, but the swap asked for cannot be made. The message is fit for the client."""


class OutOfTime(RuntimeError):
    """A face cannot be made in the time there is."""


class FaceSwapper(Model, Protocol):
    def swap(self, frame: RGBImage, replacements: Sequence[Replacement]) -> RGBImage:
        """A new picture of the frame's shape in which every replacement is made, one after the other.

        Pixels outside the faces are the frame's own. Raises ValueError for a frame that is not ``(H, W, 3)`` uint8,
        and `OutOfTime`.
        """
        ...


def face_geometries(
    picture: RGBImage, faces: Detections, predictor: LandmarkPredictor
) -> Sequence[FaceGeometry]:
    """The faces of a picture as swappers want them, in the order of `faces`.

    Raises ValueError for a predictor that does not give the mesh.
    """
    if predictor.count != MESH:
        raise ValueError(f"swapping needs {MESH} landmarks, '{predictor.name}' gives {predictor.count}")
    if not len(faces):
        return []
    crops = [
        cut(picture, box, landmarks, predictor.crop)
        for box, landmarks in zip(faces.boxes, faces.landmarks, strict=True)
    ]
    found = predictor.predict(np.stack([crop.pixels for crop in crops]))
    return [
        FaceGeometry(box, landmarks, crop.to_picture(points))
        for box, landmarks, crop, points in zip(faces.boxes, faces.landmarks, crops, found, strict=True)
    ]
