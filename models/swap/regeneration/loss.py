"""What a regenerated face is judged by while it is searched for."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from prosopon.models.faces.detections import Float32
from prosopon.models.faces.mesh import SIDE as MESH_SIDE
from prosopon.models.inversion.identity import Identity
from prosopon.models.inversion.loss import face_mask, shrunk
from prosopon.models.swap.regeneration import views
from prosopon.models.swap.regeneration.networks import points_seen, seen

# Contours of MediaPipe's mesh.
OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150,
    136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191,
)  # fmt: skip
EYES = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
)
BROWS = (
    70, 63, 105, 66, 107, 55, 65, 52, 53, 46, 300, 293, 334, 296, 336, 285, 295, 282, 283, 276,
)  # fmt: skip
MOUTH = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
"""What the lips enclose."""
_GAPS = ((13, 14), (82, 87), (312, 317), (159, 145), (386, 374), (158, 153), (385, 380))
"""Vertices whose distances say how far mouth and eyes are open."""
_COARSEST = 16
"""Pixels of the coarsest picture of a pyramid."""


@dataclass(frozen=True, slots=True)
class Weights:
    """identity: of squared distances of embeddings to the source's; unlike: of those to the target's that are too near;
    features: of squared distances of early levels to those of the rough picture, relative to their own size;
    pixels: of mean absolute differences to it, averaged over a pyramid; mesh: of distances of vertices in those between
    the eyes; light: of local mean colours; around: of pixels in the ring; inner: of the luma in eyes and mouth; likely:
    of the squared styles of groups of layers; together: of what each layer has of its own.
    """

    identity: float = 1.0
    unlike: float = 0.5
    features: float = 1.0
    pixels: float = 0.5
    mesh: float = 7.0
    gaps: float = 25.0
    light: float = 1.5
    around: float = 2.0
    inner: float = 1.5
    likely: float = 0.08
    together: float = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What of the target is kept. chip: ``(1, 3, S, S)`` -1..1; rough: the same with the source's face laid over it;
    landmarks: ``(5, 2)`` in their pixels; square: ``(2, 3)`` from these to the mesh's picture; ring, skin, inner (eyes
    and what the lips enclose): ``(S, S)`` float32 0..1."""

    chip: Tensor
    rough: Tensor
    landmarks: Float32
    square: Float32
    ring: Float32
    skin: Float32
    inner: Float32


class RegenerationLoss:
    def __init__(
        self,
        scene: Scene,
        source: list[Tensor],
        identities: list[Identity],
        mesh: nn.Module,
        weights: Weights,
        random: np.random.Generator,
    ) -> None:
        """source: ``(1, D)`` for each of identities."""
        self._scene, self._source, self._identities, self._mesh = scene, source, identities, mesh
        self._weights, self._random = weights, random
        self._side = scene.chip.shape[-1]
        with torch.no_grad():
            self._points = self.points(scene.chip, scene.square)
            self._old = [
                seen(identity, scene.chip, [identity.matrix(scene.landmarks)], self._side)
                for identity in identities
            ]
            self._levels = self._levels_of(scene.rough)
        spread = (self._points[list(EYES[0])].mean(0) - self._points[list(EYES[1])].mean(0))[:2]
        self._unit = float(spread.norm())
        vertices = torch.full((468,), 0.5)
        vertices[list(LIPS)] = 1.2
        vertices[list(EYES[0] + EYES[1])] = 1.5
        vertices[list(OVAL)] = 1.2
        vertices[list(BROWS)] = 0.7
        self._vertices = (vertices / vertices.mean()).to(scene.chip.device)
        self._depth = torch.tensor([1.0, 1.0, 0.3], device=scene.chip.device)
        self._rasters: dict[tuple[str, int], Tensor] = {}

    def points(self, pictures: Tensor, square: Float32) -> Tensor:
        """``(468, 3)`` in pixels of the scene's square, of ``(1, 3, S, S)`` that the mesh sees through another."""
        points = points_seen(self._mesh, pictures, square, self._side)
        own, through = (np.vstack([m, [0, 0, 1]]).astype(np.float64) for m in (self._scene.square, square))
        back = torch.from_numpy((own @ np.linalg.inv(through))[:2]).to(points)
        flat = points[:, :2] @ back[:, :2].T + back[:, 2]
        return torch.cat([flat, points[:, 2:] * back[:, :2].det().abs().sqrt()], dim=1)

    def __call__(self, picture: Tensor) -> tuple[Tensor, dict[str, float]]:
        """picture: ``(1, 3, R, R)`` float32 RGB, -1..1. Returns the loss and its parts."""
        weights = self._weights
        same, unlike = self._identity(picture)
        shape, gaps = self._shape(picture)
        light, around, inner = self._kept(picture)
        features, pixels = self._likeness(picture)
        parts = {
            "identity": weights.identity * same, "unlike": weights.unlike * unlike,
            "features": weights.features * features, "pixels": weights.pixels * pixels, "mesh": weights.mesh * shape,
            "gaps": weights.gaps * gaps, "light": weights.light * light, "around": weights.around * around,
            "inner": weights.inner * inner,
        }  # fmt: skip
        return sum(parts.values(), picture.new_zeros(())), {
            name: float(part.detach()) for name, part in parts.items()
        }

    def _identity(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        same, unlike = picture.new_zeros(()), picture.new_zeros(())
        for identity, wanted, old in zip(self._identities, self._source, self._old, strict=True):
            size = identity.crop.size
            matrix = views.jittered(identity.matrix(self._scene.landmarks), size, self._random)
            chips = views.sample(picture, views.grid(matrix, self._side, size))
            found = identity.embed(views.disturbed(chips, self._random))
            same = same + identity.share * (found - wanted).square().sum(dim=1).mean()
            apart = (wanted - old).square().sum()
            near = functional.relu(apart - (found - old).square().sum(dim=1)).mean()
            unlike = unlike + identity.share * near
        return same, unlike

    def _levels_of(self, picture: Tensor) -> list[Tensor]:
        identity = self._identities[0]
        matrix = identity.matrix(self._scene.landmarks)
        return identity.stages(views.sample(picture, views.grid(matrix, self._side, identity.crop.size)))[:-1]

    def _likeness(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """How far the picture is from the rough one, whose features are the source's own."""
        levels = [
            (made - wanted).square().mean() / wanted.square().mean()
            for made, wanted in zip(self._levels_of(picture), self._levels, strict=True)
        ]
        rough, differences = shrunk(self._scene.rough, picture.shape[-1]), []
        while True:
            mask = face_mask(picture.shape[-1]).to(picture.device)
            differences.append(((picture - rough).abs() * mask).mean() / mask.mean())
            if picture.shape[-1] <= _COARSEST:
                return torch.stack(levels).mean(), torch.stack(differences).mean()
            picture, rough = functional.avg_pool2d(picture, 2), functional.avg_pool2d(rough, 2)

    def _shape(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        # Seen through one square alone, the mesh can be made to see a shut mouth where there are teeth.
        square = views.jittered(self._scene.square, MESH_SIDE, self._random, mirrored=False)
        points = self.points(picture, square)
        apart = (points - self._points) * self._depth / self._unit
        shape = (
            functional.smooth_l1_loss(apart, torch.zeros_like(apart), beta=0.03, reduction="none").sum(1)
            * self._vertices
        ).mean()
        first, second = (list(group) for group in zip(*_GAPS, strict=True))
        made = (points[first] - points[second])[:, :2].norm(dim=1)
        wanted = (self._points[first] - self._points[second])[:, :2].norm(dim=1)
        return shape, ((made - wanted) / self._unit).square().mean() * 10

    def _raster(self, name: str, side: int) -> Tensor:
        if (name, side) not in self._rasters:
            raster = cv2.resize(getattr(self._scene, name), (side, side), interpolation=cv2.INTER_AREA)
            self._rasters[name, side] = torch.from_numpy(raster)[None, None].to(self._scene.chip.device)
        return self._rasters[name, side]

    def _kept(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """How far light, surroundings and the inside of eyes and mouth are from the target's."""
        side = picture.shape[-1]
        difference = picture - shrunk(self._scene.chip, side)
        ring = self._raster("ring", side)
        around = (difference.abs() * ring).sum() / (3 * ring.sum().clamp(min=1))
        soft, weight = difference, ring
        while soft.shape[-1] > 32:
            soft = functional.avg_pool2d(soft * weight, 2) / functional.avg_pool2d(weight, 2).clamp(min=1e-3)
            weight = functional.avg_pool2d(weight, 2)
            around = around + (soft.abs() * weight).sum() / (3 * weight.sum().clamp(min=1))
        skin = self._raster("skin", side)
        light = picture.new_zeros(())
        for cells in (16, 32):
            size = side // cells
            weight = functional.avg_pool2d(skin, size)
            local = functional.avg_pool2d(difference * skin, size) / weight.clamp(min=0.05)
            weight = weight.clamp(max=1)
            light = light + (local.abs() * weight).sum() / (3 * weight.sum().clamp(min=1))
        inner = self._raster("inner", side)
        luma = functional.avg_pool2d(difference.mean(dim=1, keepdim=True), 3, 1, 1)
        return light, around, (luma.abs() * inner).sum() / inner.sum().clamp(min=1)
