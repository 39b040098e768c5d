"""The made face's mouth brought to where the target has its own.

A search ends before every lip is in its place. What is laid over a made face sits where the target's features are: over
an open mouth that lies a little lower it leaves a second row of teeth.
"""

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.faces.landmarks import ibug
from prosopon.models.faces.mesh import SIDE as MESH_SIDE
from prosopon.models.faces.mesh import square
from prosopon.models.inversion.ffhq_alignment import mapped
from prosopon.models.inversion.loss import from_pixels
from prosopon.models.swap import geometry, surface
from prosopon.models.swap.filters import blur, smoothstep
from prosopon.models.swap.regeneration import views
from prosopon.models.swap.regeneration.networks import points_seen
from prosopon.models.swap.types import FaceGeometry

_LOOKS = 8
"""Through which the mesh sees a made face: one square alone a search may have learned to please."""
_WITH, _WITHOUT = 0.3, 0.6
"""How far from the lips, in distances between the eyes, a face moves with them, and from where on it stays."""
_MOST = 0.2
"""By how much lips are moved at most, in distances between the eyes."""
_ELSEWHERE, _THERE = 0.12, 0.06
"""How far from the target's eyes, in distances between them, the mesh sees the made ones where it is not believed, and
where it is."""
_PASSES, _AWAY = 2, (0.025, 0.045)
"""Ways that are gone one after the other, since the mesh sees too little of the first; and how far lips are off before
they are moved, and where they are moved all the way."""
_RASTER, _SMOOTH = 256, 0.03
"""Pixels of the raster on which the way is worked out, and over which part of the distance between the eyes it is
smoothed."""
_EYES, _LIPS = slice(36, 48), slice(48, 68)


@torch.no_grad()
def own_points(mesh: nn.Module, picture: Tensor, face: FaceGeometry, random: np.random.Generator) -> Float32:
    """``(468, 2)``: where a made face has its vertices, the mean of several looks.

    picture: ``(1, 3, S, S)`` -1..1; face: where in its pixels the target has its own.
    """
    whole = square(face.mesh)
    looks = [views.jittered(whole, MESH_SIDE, random, mirrored=False) for _ in range(_LOOKS)]
    found = [
        mapped(
            points_seen(mesh, picture, look, picture.shape[-1])[:, :2].cpu().numpy(),
            cv2.invertAffineTransform(look),
        )
        for look in looks
    ]
    return np.asarray(np.mean(found, axis=0), np.float32)


def with_mouth_in_place(
    made: RGBImage, face: FaceGeometry, mesh: nn.Module, random: np.random.Generator
) -> RGBImage:
    """The made face ``(S, S, 3)``, the lips and what they enclose where `face` has them, as far as the mesh tells."""
    device = next(mesh.buffers()).device
    for _ in range(_PASSES):
        made = _moved(made, own_points(mesh, from_pixels(made[None], device), face, random), face)
    return made


def _moved(made: RGBImage, own: Float32, face: FaceGeometry) -> RGBImage:
    """The made face ``(S, S, 3)``, the lips and what they enclose where `face` has them; the rest stays.

    own: ``(468, 2)``, where the made face has its vertices.
    """
    unit, side = geometry.interocular(face.dense), made.shape[0]
    off = np.linalg.norm(ibug(own) - face.dense, axis=1) / unit
    share = smoothstep(_ELSEWHERE, _THERE, float(off[_EYES].mean()))
    share *= smoothstep(*_AWAY, float(off[_LIPS].mean()))
    if share == 0:
        return made
    vertices = surface.with_hairline(face.mesh)
    shift = np.zeros((len(vertices), 2), np.float32)
    shift[: len(own)] = share * (own - face.mesh[:, :2]) * _near_lips()[:, None]
    length = np.linalg.norm(shift, axis=1, keepdims=True)
    shift *= np.minimum(1.0, _MOST * unit / np.maximum(length, 1e-6))
    ratio = _RASTER / side
    points = ((vertices[:, :2] + 0.5) * ratio - 0.5).astype(np.float32)
    field, _ = geometry.interpolate_over(
        surface.triangles(), points, vertices[:, 2], shift, (_RASTER, _RASTER)
    )
    field = cv2.resize(blur(field, _SMOOTH * unit * ratio), (side, side), interpolation=cv2.INTER_LINEAR)
    x, y = np.meshgrid(np.arange(side, dtype=np.float32), np.arange(side, dtype=np.float32))
    moved = cv2.remap(
        made, x + field[..., 0], y + field[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(moved, np.uint8)


def _near_lips() -> Float32:
    """``(468,)`` 0..1: how far each vertex moves with the lips."""
    shape = geometry.mean_mesh()
    lips = ibug(shape, 3)[_LIPS]
    apart = np.linalg.norm(shape[:, None, :2] - lips[None, :, :2], axis=2).min(axis=1)
    return smoothstep(_WITHOUT, _WITH, apart)
