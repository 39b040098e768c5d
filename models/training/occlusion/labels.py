"""What is known of a face's own picture: where it is the face, and where it is hair, background or clothes.

Nobody labelled the hair, hands and glasses that the pictures show by themselves. What may be such a thing is unknown at
first and is not learned from; a network trained so tells later what it is (self-training, Yarowsky 1995).
"""

from enum import IntEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from prosopon.models.faces.detections import Float32
from prosopon.models.swap.regeneration.loss import OVAL
from prosopon.models.training.occlusion.canvas import view
from prosopon.models.training.occlusion.faces import FRAME, SIDE, Face

Label = NDArray[np.uint8]


class Known(IntEnum):
    """Values of a label raster."""

    FACE = 0
    PERHAPS_FACE = 1
    UNKNOWN = 2
    OTHER = 3


_SKIN, _NO_SKIN = 0.7, 0.2
_FRONT, _FACE = 0.85, 0.25
"""Probabilities from which a network's answer is believed."""


def known(face: Face) -> Label:
    """``(160, 160)`` uint8 of `Known`, by the mesh and by the likelihood of skin."""
    where = view(face)
    oval = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillPoly(oval, [np.round(face.mesh[list(OVAL)] * 16).astype(np.int32)], 1, cv2.LINE_8, 4)
    distance = cv2.distanceTransform(oval, cv2.DIST_L2, 5) - cv2.distanceTransform(1 - oval, cv2.DIST_L2, 5)
    distance = distance / where.unit
    labels = np.full((SIDE, SIDE), Known.UNKNOWN, np.uint8)
    bare, strange = face.skin > _SKIN, face.skin < _NO_SKIN
    x, y = np.abs(where.x), where.y
    # The mesh ends below the hairline.
    forehead = (distance > -0.45) & (y < -0.5) & (x < 0.9) & bare
    inside = distance > 0.03
    # Features, shadows, beards and glasses are no skin: one cannot tell which.
    labels[inside & (y > -0.45)] = Known.PERHAPS_FACE
    labels[(inside | forehead) & bare] = Known.FACE
    labels[(distance < -0.06) & (y < 0.9) & strange] = Known.OTHER
    labels[(distance < -0.5) & strange] = Known.OTHER
    if face.skin[distance > 0.1].mean() < 0.4 or face.skin[distance < -0.3].mean() > 0.8:
        # Grey pictures and odd light: the colour tells nothing.
        labels[labels != Known.UNKNOWN] = Known.UNKNOWN
        labels[inside & (y > -0.45)] = Known.PERHAPS_FACE
    return _framed(labels)


def refined(labels: Label, front: Float32, face: Face) -> Label:
    """Labels with a network's answer in them. front: ``(160, 160)`` 0..1, its probability that no face is seen."""
    where = view(face)
    # Beards are part of a face, and a network that was never told takes them for scarves: there it is not asked.
    bearded = (where.y > 0.5) | ((np.abs(where.x) > 0.75) & (where.y > 0.1))
    mine = (labels == Known.FACE) | (labels == Known.PERHAPS_FACE)
    result = labels.copy()
    doubted = (labels != Known.OTHER) & (front > 0.5) & ~bearded
    result[doubted] = Known.UNKNOWN
    result[doubted & (front > _FRONT)] = Known.OTHER
    # Frames of glasses are the hardest to see: what is no skin around the eyes stays in doubt.
    around_eyes = (np.abs(where.y) < 0.5) & (face.skin < _SKIN)
    result[mine & (front < _FACE) & ~around_eyes] = Known.FACE
    result[(labels == Known.UNKNOWN) & (front < 0.1) & (where.y < 0.9)] = Known.FACE
    return _framed(result)


def _framed(labels: Label) -> Label:
    """Nothing is known of the frame, which was made up."""
    labels[:FRAME], labels[-FRAME:] = Known.UNKNOWN, Known.UNKNOWN
    labels[:, :FRAME], labels[:, -FRAME:] = Known.UNKNOWN, Known.UNKNOWN
    return labels
