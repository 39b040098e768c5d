"""The source's own skin and features over a face that was made like it: likeness that a generator cannot give.

A generated face has the shape and the light of the person that was asked for, but not the wrinkles, moles and eyes. The
two faces sit in one place and one light, so that what is laid over can follow the source as far as the two agree.
"""

import cv2
import numpy as np

from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.inversion.ffhq_alignment import mapped
from prosopon.models.swap import geometry
from prosopon.models.swap.filters import blur
from prosopon.models.swap.types import FaceGeometry, Replacement, SourceFace
from prosopon.models.swap.warp import WarpSwapper

_WIDE, _NEAR, _FINE = 0.4, 0.08, 0.05
"""In distances between the eyes: what is coarser than the first is light and stays the made face's; how far around a
pixel, and from which fineness on, the two faces are compared."""
_APART = 25.0
"""Levels of 255 by which they differ where little of the source is taken: its glasses, hair, shadows."""


def moved(face: FaceGeometry, matrix: Float32) -> FaceGeometry:
    """The face in the pixels of a chip. matrix: ``(2, 3)``, a similarity, from its picture's."""
    zoom = np.sqrt(abs(np.linalg.det(matrix[:, :2].astype(np.float64))))
    flat = mapped(face.mesh[:, :2], matrix)
    box = np.concatenate([flat.min(axis=0), flat.max(axis=0)])
    mesh = np.column_stack([flat, zoom * face.mesh[:, 2]]).astype(np.float32)
    return FaceGeometry(box, mapped(face.landmarks, matrix), mesh)


def with_likeness(made: RGBImage, face: FaceGeometry, source: SourceFace) -> tuple[RGBImage, RGBImage]:
    """Two pictures of the made face with the source's own over it: where the two agree, and all of it.

    made: ``(S, S, 3)`` uint8 RGB; face: where in it the target's points are, which its own are a little off from.
    """
    over = WarpSwapper().swap(made, [Replacement(face, source)])
    unit = geometry.interocular(face.dense)
    base = made.astype(np.float32)
    difference = over.astype(np.float32) - base
    apart = np.abs(blur(difference, _FINE * unit)).mean(axis=2).astype(np.float32)
    agreed = np.exp(-((blur(apart, _NEAR * unit) / _APART) ** 2))[..., None]
    detail = difference - blur(difference, _WIDE * unit)
    return cv2.convertScaleAbs(np.maximum(base + detail * agreed, 0)), over
