"""Faces of pictures with their dense landmarks, for what works on them."""

from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from prosopon.configs.settings import DetectionSettings
from prosopon.models.faces.centerface import CenterFace
from prosopon.models.faces.detections import Detections, RGBImage
from prosopon.models.faces.mesh import FaceMesh
from prosopon.models.pictures.crops import CropSpec, cut
from prosopon.models.runtime.session import Compute
from prosopon.models.swap.geometry import interocular, with_forehead
from prosopon.models.swap.types import FaceGeometry, face_geometries
from tests.paths import DATA, require
from tests.weights import weights


@cache
def detector() -> CenterFace:
    return CenterFace(weights("centerface").path, Compute(), DetectionSettings())


@cache
def predictor() -> FaceMesh:
    return FaceMesh(weights("mediapipe-face-mesh").path, Compute())


def read(path: Path) -> RGBImage:
    """``(H, W, 3)`` uint8 RGB."""
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


@cache
def found_in(path: Path) -> Detections:
    """Of a picture's file: many tests look at the same portraits."""
    return detector().detect([read(path)], 0.5)[0]


def chip_of(path: Path, crop: CropSpec) -> RGBImage:
    """Of its biggest face."""
    face = found_in(path).largest_first()
    return cut(read(path), face.boxes[0], face.landmarks[0], crop).pixels


def faces_of(picture: RGBImage, threshold: float = 0.5) -> list[FaceGeometry]:
    """The biggest first."""
    found = detector().detect([picture], threshold)[0].largest_first()
    return list(face_geometries(picture, found, predictor()))


@cache
def portrait(name: str) -> tuple[RGBImage, FaceGeometry]:
    """A picture of the shared data (`london/002_neutral.jpg`) and its biggest face."""
    picture = read(require(DATA / name))
    return picture, faces_of(picture)[0]


def face_near(picture: RGBImage, face: FaceGeometry) -> FaceGeometry:
    """Of the faces that are found anew in a picture, the one where `face` is."""
    return min(faces_of(picture), key=lambda found: float(np.abs(found.box - face.box).sum()))


def around(face: FaceGeometry, shape: tuple[int, ...], margin: float = 0.1) -> NDArray[np.bool_]:
    """``(H, W)``: where a face may change, the hull of its jaw and its forehead and a margin in distances between the
    eyes."""
    points = with_forehead(face.dense)
    middle = points.mean(axis=0)
    size = np.linalg.norm(points - middle, axis=1).mean()
    grown = middle + (points - middle) * (1 + margin * interocular(face.dense) / size)
    hull = cv2.convexHull(np.round(grown).astype(int))
    return cv2.fillConvexPoly(np.zeros(shape[:2], np.uint8), hull, 1) > 0
