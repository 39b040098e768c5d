"""The swapper of pack `open`: the source's face warped onto the target's landmarks."""

from collections.abc import Sequence

import cv2
import numpy as np
from scipy.spatial import Delaunay

from models.swap.types import Replacement
from models.types import RGBImage


class WarpSwapper:
    name = "warp"
    fingerprint = "warp-0"

    def swap(self, frame: RGBImage, replacements: Sequence[Replacement]) -> RGBImage:
        """As `models.roles.FaceSwapper.swap`."""
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise ValueError("the frame must be (H, W, 3) uint8")
        result = frame.copy()
        for replacement in replacements:
            _replace(result, replacement)
        return result


def _replace(frame: RGBImage, replacement: Replacement) -> None:
    target, source = replacement.target.dense, replacement.source.geometry.dense
    height, width = frame.shape[:2]
    x1, y1 = np.clip(np.floor(target.min(axis=0)).astype(int), 0, (width, height))
    x2, y2 = np.clip(np.ceil(target.max(axis=0)).astype(int) + 1, 0, (width, height))
    if x2 <= x1 or y2 <= y1:
        return
    mesh = Delaunay(target)
    x, y = np.meshgrid(np.arange(x1, x2, dtype=np.float32), np.arange(y1, y2, dtype=np.float32))
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    triangle = mesh.find_simplex(points)
    transform = mesh.transform[triangle]
    partial = np.einsum("nij,nj->ni", transform[:, :2], points - transform[:, 2])
    weights = np.column_stack([partial, 1 - partial.sum(axis=1)])
    places = np.einsum("nk,nkd->nd", weights, source[mesh.simplices[triangle]]).astype(np.float32)
    maps = places.reshape(*x.shape, 2)
    face = cv2.remap(
        replacement.source.picture,
        maps[..., 0],
        maps[..., 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    inside = (triangle >= 0).reshape(x.shape).astype(np.float32)
    sigma = max(1.0, float(x2 - x1) / 30)
    mask = np.clip(cv2.GaussianBlur(inside, (0, 0), sigma) * 2 - 1, 0, 1)[..., None] * inside[..., None]
    region = frame[y1:y2, x1:x2].astype(np.float32)
    solid = inside > 0
    fresh = face.astype(np.float32)
    fresh += region[solid].mean(axis=0) - fresh[solid].mean(axis=0)
    frame[y1:y2, x1:x2] = np.clip(region + mask * (fresh - region) + 0.5, 0, 255).astype(np.uint8)
