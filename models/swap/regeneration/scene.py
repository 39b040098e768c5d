"""The target as a search sees it: aligned, with where its face, its skin and its surroundings are."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.faces.mesh import FaceMesh, square
from prosopon.models.inversion.ffhq_alignment import ffhq_chip, ffhq_matrix, mapped
from prosopon.models.inversion.loss import from_pixels
from prosopon.models.pictures.crops import cut
from prosopon.models.swap import geometry, skin
from prosopon.models.swap.filters import disc
from prosopon.models.swap.regeneration.loss import EYES, MOUTH, OVAL, Scene
from prosopon.models.swap.types import FaceGeometry

SIDE = 512


def mesh_points(mesh: FaceMesh, picture: RGBImage, face: FaceGeometry) -> Float32:
    """``(468, 3)`` in the picture's pixels."""
    crop = cut(picture, face.box, face.landmarks, mesh.crop)
    return crop.to_picture(mesh.predict(crop.pixels[None])[0])


def aligned(picture: RGBImage, face: FaceGeometry) -> tuple[RGBImage, Float32]:
    """The chip ``(512, 512, 3)`` and the ``(2, 3)`` transform to it."""
    return ffhq_chip(picture, face.dense, SIDE), ffhq_matrix(face.dense, SIDE)


def filled(points: Float32, groups: Sequence[tuple[int, ...]], side: int) -> NDArray[np.uint8]:
    """``(side, side)``: 0, and 255 in the polygons of groups of vertices."""
    mask = np.zeros((side, side), np.uint8)
    for group in groups:
        cv2.fillPoly(mask, [np.round(points[list(group), :2] * 16).astype(np.int32)], 255, shift=4)
    return mask


def scene(
    picture: RGBImage, rough: RGBImage, face: FaceGeometry, mesh: FaceMesh, device: torch.device
) -> Scene:
    """rough: the picture with the source's face laid over the face."""
    chip, matrix = aligned(picture, face)
    points = mesh_points(mesh, picture, face)
    points[:, :2] = mapped(points[:, :2], matrix)
    dense = geometry.with_forehead(mapped(face.dense, matrix))
    unit = geometry.interocular(dense)
    oval = filled(points, (OVAL,), SIDE)
    outer, inner = cv2.dilate(oval, disc(0.35 * unit)), cv2.erode(oval, disc(0.10 * unit))
    parts = skin.parts(dense, (SIDE, SIDE))
    bare = (
        skin.likelihood(chip.astype(np.float32), dense, parts.features) * (1 - parts.features) * (inner / 255)
    )
    inner_parts = cv2.dilate(filled(points, (*EYES, MOUTH), SIDE), disc(0.03 * unit))
    return Scene(
        from_pixels(chip[None], device),
        from_pixels(aligned(rough, face)[0][None], device),
        mapped(face.landmarks, matrix),
        square(points),
        ((outer - inner) / 255.0).astype(np.float32),
        bare.astype(np.float32),
        (inner_parts / 255.0).astype(np.float32),
    )
