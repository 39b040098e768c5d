"""Makes mean_face.json: the mean 3D shape of a face from many faces' 68 landmarks alone.

    python -m prosopon.models.training.fit_mean_face FOLDER... FRONTAL     # the biggest face of each picture is taken

The faces of the last folder look straight ahead: they say which way is upright.

Tomasi & Kanade 1992: centred landmarks of many rigid views have rank three; their factor is the shape up to an affine
map, and that each view's two rows are orthogonal and of one length makes it metric. Every face is used twice, as it is
and mirrored, so that the shape is symmetric. The file in this folder came from the first 260 pictures of FairFace and
the neutral portraits of the London set (both CC BY 4.0).
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prosopon.configs.settings import DetectionSettings, ImageLimits, ModelSettings
from prosopon.models.load import load_detector, load_landmarks
from prosopon.models.pictures.decoding import decode
from prosopon.models.runtime.session import Compute
from prosopon.models.swap.geometry import MIRRORED, SHAPE_FILE
from prosopon.models.swap.types import face_geometries

Float64 = NDArray[np.float64]
_ROUNDS, _KEPT = 6, 0.9
"""Views that fit worst, a tenth, are left out of the next round."""


def landmarks_of(paths: Sequence[Path]) -> Float64:
    """``(N, 68, 2)``: of the biggest face of each picture that has one."""
    detector = load_detector(ModelSettings(), DetectionSettings(), Compute())
    # The points that the file was made from: those of the mesh are of the head, not of its outline in each view.
    predictor = load_landmarks(ModelSettings(overrides={"landmarks": "dlib-landmarks68"}), Compute())
    found = []
    for path in paths:
        picture = decode(path.read_bytes(), ImageLimits(max_bytes=50_000_000))
        faces = detector.detect([picture], 0.5)[0].largest_first().take(np.arange(1))
        if len(faces):
            found.append(face_geometries(picture, faces, predictor)[0].dense)
    return np.array(found, np.float64)


def factorise(points: Float64, frontal: Float64) -> Float64:
    """``(68, 3)`` from ``(N, 68, 2)``, and the frontal ones among them that say what upright is.

    x to the viewer's right, y down, z away from the camera; the eyes' middles lie one apart, around the origin.
    """
    mirror = MIRRORED[:68]
    views = _normalised(np.concatenate([points, points[:, mirror] * [-1, 1]]))
    rows = views.transpose(0, 2, 1)
    used = np.ones(len(rows), bool)
    for _ in range(_ROUNDS):
        basis = np.linalg.svd(rows[used].reshape(-1, 68), full_matrices=False)[2][:3]
        motion = rows @ basis.T
        errors = np.sqrt(((motion @ basis - rows) ** 2).mean(axis=(1, 2)))
        used = errors < np.quantile(errors, _KEPT)
    shape = np.linalg.solve(_metric(motion[used]), basis).T
    return _upright(shape - shape.mean(axis=0), _normalised(frontal).mean(axis=0), mirror)


def _normalised(views: Float64) -> Float64:
    """Each view ``(68, 2)`` about its mean, at unit size."""
    centred = views - views.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.sqrt((centred**2).sum(axis=(1, 2), keepdims=True) / 68), np.float64)


def _metric(motion: Float64) -> Float64:
    """The ``(3, 3)`` map that makes both rows of ``(N, 2, 3)`` orthogonal and equally long, by least squares."""
    pairs = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]

    def products(a: Float64, b: Float64) -> Float64:
        return np.stack([a[:, i] * b[:, j] + (a[:, j] * b[:, i] if i != j else 0) for i, j in pairs], axis=1)

    x, y = motion[:, 0], motion[:, 1]
    system = np.concatenate([products(x, x) - products(y, y), products(x, y)])
    solution = np.linalg.svd(system, full_matrices=False)[2][-1]
    gram = np.zeros((3, 3))
    for value, (i, j) in zip(solution, pairs, strict=True):
        gram[i, j] = gram[j, i] = value
    values, vectors = np.linalg.eigh(gram if np.trace(gram) > 0 else -gram)
    return np.asarray(vectors @ np.diag(np.sqrt(np.maximum(values, 1e-6))), np.float64)


def _upright(shape: Float64, front: Float64, mirror: NDArray[np.intp]) -> Float64:
    """Turned so that it is symmetric about x = 0, upright as the pictures' mean, and its nose nearest."""
    across = np.linalg.svd(shape - shape[mirror])[2][0]
    if (shape[45] - shape[36]) @ across < 0:
        across = -across
    down = np.linalg.lstsq(shape, front, rcond=None)[0].T[1]
    down -= (down @ across) * across
    down /= np.linalg.norm(down)
    turned = shape @ np.stack([across, down, np.cross(across, down)], axis=1)
    turned = (turned + turned[mirror] * [-1, 1, 1]) / 2
    if turned[30, 2] > turned[:17, 2].mean():
        turned[:, 2] *= -1
    eyes = turned[36:42].mean(axis=0), turned[42:48].mean(axis=0)
    placed = (turned - (eyes[0] + eyes[1]) / 2) / np.linalg.norm(eyes[0] - eyes[1])
    return np.asarray(placed, np.float64)


def main() -> None:
    if len(sys.argv) < 3:
        raise SystemExit("usage: python -m prosopon.models.training.fit_mean_face FOLDER... FRONTAL")
    groups = [landmarks_of(sorted(Path(folder).glob("*.jpg"))) for folder in sys.argv[1:]]
    shape = factorise(np.concatenate(groups), groups[-1])
    rows = [json.dumps([round(float(value), 3) for value in row]) for row in shape]
    SHAPE_FILE.write_text("[\n " + ",\n ".join(rows) + "\n]\n")


if __name__ == "__main__":
    main()
