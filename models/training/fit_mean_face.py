"""Makes mean_face.json: the mean 3D shape of a face, the 468 points of the mesh, from the meshes of many.

    python -m prosopon.models.training.fit_mean_face FOLDER     # the biggest face of each picture is taken

Every mesh is turned to the front by its pose and used twice, as it is and mirrored, so that the shape is symmetric. The
file of the project came from 200 synthetic portraits (faker-js/assets-person-portrait, CC0).
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prosopon.configs.settings import DetectionSettings, ImageLimits, ModelSettings
from prosopon.models.faces.head_pose import head_pose, rotation_matrix
from prosopon.models.faces.landmarks import ibug
from prosopon.models.load import load_detector, load_landmarks
from prosopon.models.pictures.crops import cut
from prosopon.models.pictures.decoding import decode
from prosopon.models.runtime.session import Compute
from prosopon.models.swap.geometry import SHAPE_FILE, mirrored

Float64 = NDArray[np.float64]


def shapes_of(paths: Sequence[Path]) -> Float64:
    """``(N, 468, 3)``: of the biggest face of each picture that has one, seen from the front.

    x to the viewer's right, y down, z away from the camera; the eyes' middles lie one apart, around the origin.
    """
    detector = load_detector(ModelSettings(), DetectionSettings(), Compute())
    predictor = load_landmarks(ModelSettings(), Compute())
    found = []
    for path in paths:
        picture = decode(path.read_bytes(), ImageLimits(max_bytes=50_000_000))
        faces = detector.detect([picture], 0.5)[0].largest_first()
        if not len(faces):
            continue
        crop = cut(picture, faces.boxes[0], faces.landmarks[0], predictor.crop)
        mesh = crop.to_picture(predictor.predict(crop.pixels[None])[0])
        height, width = picture.shape[:2]
        front = mesh @ rotation_matrix(head_pose(mesh, (width, height)))
        found.append(placed(front))
    return np.array(found, np.float64)


def placed(shape: Float64) -> Float64:
    """``(468, 3)``, moved and scaled to its eyes."""
    dense = ibug(shape, 3)
    left, right = dense[36:42].mean(axis=0), dense[42:48].mean(axis=0)
    return np.asarray((shape - (left + right) / 2) / np.linalg.norm(right - left), np.float64)


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m prosopon.models.training.fit_mean_face FOLDER")
    mean = shapes_of(sorted(Path(sys.argv[1]).glob("*.jpg"))).mean(axis=0)
    shape = placed((mean + mean[mirrored(mean)] * [-1, 1, 1]) / 2)
    rows = [json.dumps([round(float(value), 3) for value in row]) for row in shape]
    SHAPE_FILE.write_text("[\n " + ",\n ".join(rows) + "\n]\n")


if __name__ == "__main__":
    main()
