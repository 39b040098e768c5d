"""The source's own skin and features over a face that was made like it: likeness that a generator cannot give.

A generated face has the shape and the light of the person that was asked for, but not the wrinkles, moles and eyes. The
two faces sit in one place and one light, so that what is laid over can follow the source as far as the two agree.
"""

from dataclasses import replace

import cv2
import numpy as np

from prosopon.models.faces.detections import Detections, Float32, RGBImage
from prosopon.models.faces.landmarks import five_points
from prosopon.models.faces.mesh import FaceMesh
from prosopon.models.swap import geometry
from prosopon.models.swap.filters import blur
from prosopon.models.swap.types import FaceGeometry, Replacement, SourceFace, face_geometries
from prosopon.models.swap.warp import WarpSwapper

_LOOKS = 2
"""At the made face: its own points place the second look better than the target's did."""
_WIDE, _NEAR, _FINE = 0.4, 0.08, 0.05
"""In distances between the eyes: what is coarser than the first is light and stays the made face's; how far around a
pixel, and from which fineness on, the two faces are compared."""
_APART = 25.0
"""Levels of 255 by which they differ where little of the source is taken: its glasses, hair, shadows."""


def geometry_of(mesh: FaceMesh, picture: RGBImage, landmarks: Float32) -> FaceGeometry:
    """The face of a picture whose five landmarks ``(5, 2)`` are about known."""
    for _ in range(_LOOKS):
        box = np.concatenate([landmarks.min(axis=0), landmarks.max(axis=0)])[None]
        (face,) = face_geometries(picture, Detections(box, np.ones(1, np.float32), landmarks[None]), mesh)
        landmarks = five_points(face.dense)
    return replace(face, landmarks=landmarks)


def with_likeness(made: RGBImage, face: FaceGeometry, source: SourceFace) -> tuple[RGBImage, RGBImage]:
    """Two pictures of the made face with the source's own over it: where the two agree, and all of it.

    made: ``(S, S, 3)`` uint8 RGB.
    """
    over = WarpSwapper().swap(made, [Replacement(face, source)])
    unit = geometry.interocular(face.dense)
    base = made.astype(np.float32)
    difference = over.astype(np.float32) - base
    apart = np.abs(blur(difference, _FINE * unit)).mean(axis=2).astype(np.float32)
    agreed = np.exp(-((blur(apart, _NEAR * unit) / _APART) ** 2))[..., None]
    detail = difference - blur(difference, _WIDE * unit)
    return cv2.convertScaleAbs(np.maximum(base + detail * agreed, 0)), over
