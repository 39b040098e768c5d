"""How far the mesh follows faces that turn, and where its points lie: python -m tests.benchmarks.turned [--sheet]

Portraits are turned by computation: each triangle of a portrait's own mesh, with its depth, is painted where the turned
mesh has it, so the yaw is known. Printed are the yaw that the rigid fit reads from the turned points themselves, and
from what the mesh network sees in the painted picture, which shows a face without its head. How deep a face is made
changes what is read of it, so a deeper one is tried too. `--sheet` draws 68 points
on photographs of turned, laughing, covered and masked faces; masks are rendered as for training.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy.spatial import Delaunay

from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.faces.head_pose import head_pose, rotation_matrix
from prosopon.models.faces.landmarks import ibug
from prosopon.models.faces.mesh import SIDE, SIZE, square
from prosopon.models.pictures.crops import cut
from prosopon.models.roles import HeadPose
from prosopon.models.training.mask.render import Wear, wear_mask
from tests.faces import detector, predictor, read
from tests.paths import DATA, ROOT, require

PORTRAITS = 6
FOLDERS = {"london": "*_neutral.jpg", "faker": "*.jpg"}
DEPTHS = (1.0, 1.3)
"""Times the depth that the mesh has."""
LARGEST = 900
YAWS = (0, 15, 30, 45, 60, 75)
GREY = 128
SHEET = ROOT / "docs" / "landmarks.jpg"
TILE, COLUMNS = 220, 6
SHOWN = (
    "fairface/16", "fairface/2603", "fairface/4382", "fairface/3726", "fairface/322", "fairface/604",
    "fairface/1517", "fairface/3026", "fairface/2993", "fairface/4730", "london/002_neutral", "faker/female_22",
)  # fmt: skip
"""Turned and in profile; laughing; with a hand before the mouth. The last two get a mask."""
MASKED = 2


def mesh_of(picture: RGBImage) -> tuple[Float32, float]:
    """``(468, 3)`` in pixels of the picture, of its biggest face, and how sure the network is of it."""
    faces = detector().detect([picture], 0.5)[0].largest_first()
    crop = cut(picture, faces.boxes[0], faces.landmarks[0], predictor().crop)
    points, scores = predictor().find(crop.pixels[None])
    return crop.to_picture(points[0]), float(scores[0])


def painted(picture: RGBImage, points: Float32, turned: Float32) -> RGBImage:
    """The face alone, each triangle of `points` where `turned` has it, both ``(468, 3)``, nearer ones over others."""
    result = np.full_like(picture, GREY)
    triangles = Delaunay(points[:, :2]).simplices
    for triangle in triangles[np.argsort(-turned[triangles][:, :, 2].mean(axis=1))]:
        here, there = (mesh[triangle, :2].astype(np.float32) for mesh in (points, turned))
        sides = [
            np.linalg.det(np.stack([corner[1] - corner[0], corner[2] - corner[0]]))
            for corner in (here, there)
        ]
        if sides[0] * sides[1] <= 0:
            continue  # Seen from behind.
        low = np.maximum(np.floor(there.min(axis=0)).astype(int) - 1, 0)
        high = np.minimum(np.ceil(there.max(axis=0)).astype(int) + 2, picture.shape[1::-1])
        if (high <= low).any():
            continue
        matrix = cv2.getAffineTransform(here, there)
        matrix[:, 2] -= low
        width, height = (int(side) for side in high - low)
        inside = np.zeros((height, width), np.uint8)
        cv2.fillConvexPoly(inside, np.round((there - low) * 16).astype(int), 1, shift=4)
        part = cv2.warpAffine(picture, matrix, (width, height))
        result[low[1] : high[1], low[0] : high[0]][inside > 0] = part[inside > 0]
    return result


def seen(picture: RGBImage, turned: Float32) -> Float32:
    """What the network makes of the painted face, in pixels of a chip that holds it as the network wants it."""
    matrix = square(turned)
    matrix[:, 2] += (SIZE - SIDE) / 2
    chip = cv2.warpAffine(picture, matrix, (SIZE, SIZE), borderValue=(GREY,) * 3)
    return predictor().find(chip[None])[0][0]


def portraits(folder: str) -> list[RGBImage]:
    """Evenly spread, not longer than `LARGEST`."""
    paths = sorted(require(DATA / folder).glob(FOLDERS[folder]))
    pictures = [read(path) for path in paths[:: len(paths) // PORTRAITS][:PORTRAITS]]
    scales = [min(1.0, LARGEST / max(picture.shape)) for picture in pictures]
    return [
        cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        for picture, scale in zip(pictures, scales, strict=True)
    ]


def deepened(points: Float32, own: HeadPose, depth: float) -> Float32:
    """Points about the middle of a face, which is `depth` times as deep along where it looks."""
    rotation = rotation_matrix(own)
    return (points @ rotation * (1, 1, depth)) @ rotation.T


def turn(folder: str, depth: float) -> None:
    found: dict[int, list[tuple[float, float]]] = {yaw: [] for yaw in YAWS}
    for picture in portraits(folder):
        points, _ = mesh_of(picture)
        own = head_pose(points, picture.shape[1::-1])
        middle = points.mean(axis=0)
        deep = deepened(points - middle, own, depth)
        for yaw in YAWS:
            rotation = rotation_matrix(HeadPose(own.pitch, yaw, 0)) @ rotation_matrix(own).T
            here, turned = ((face + middle).astype(np.float32) for face in (deep, deep @ rotation.T))
            fitted = head_pose(turned, (1, 1)).yaw
            found[yaw].append((fitted, head_pose(seen(painted(picture, here, turned), turned), (1, 1)).yaw))
    for yaw, pairs in found.items():
        (fit, mesh), spread = np.mean(pairs, axis=0), np.std(pairs, axis=0)[1]
        print(
            f"{folder}, {depth} times as deep, turned by {yaw:2d}: the fit {fit:5.1f}, "
            f"the mesh {mesh:5.1f} (spread {spread:.1f})"
        )


def drawn(name: str, masked: bool) -> RGBImage:
    picture = read(require(DATA / Path(name).with_suffix(".jpg")))
    points, _ = mesh_of(picture)
    if masked:
        picture = wear_mask(np.random.default_rng(0), picture, ibug(points), Wear.CORRECT)
        points, _ = mesh_of(picture)
    pose = head_pose(points, picture.shape[1::-1])
    middle, half = points[:, :2].mean(axis=0), 0.75 * float(np.ptp(points[:, :2], axis=0).max())
    zoom = TILE / (2 * half)
    matrix = np.array([[zoom, 0, TILE / 2 - zoom * middle[0]], [0, zoom, TILE / 2 - zoom * middle[1]]])
    tile = cv2.warpAffine(picture, matrix, (TILE, TILE), flags=cv2.INTER_AREA, borderValue=(255,) * 3)
    for x, y in ibug(points) @ matrix[:, :2].T + matrix[:, 2]:
        cv2.circle(tile, (round(float(x)), round(float(y))), 1, (255, 255, 0), -1, cv2.LINE_AA)
    cv2.putText(tile, f"yaw {pose.yaw:.0f}", (4, TILE - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 2)
    cv2.putText(tile, f"yaw {pose.yaw:.0f}", (4, TILE - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1)
    return tile


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sheet", action="store_true")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    for folder in FOLDERS:
        for depth in DEPTHS:
            turn(folder, depth)
    if options.sheet:
        tiles = [drawn(name, index >= len(SHOWN) - MASKED) for index, name in enumerate(SHOWN)]
        rows = [np.hstack(tiles[first : first + COLUMNS]) for first in range(0, len(tiles), COLUMNS)]
        Image.fromarray(np.vstack(rows)).save(SHEET, quality=85, optimize=True)
        print(SHEET)


if __name__ == "__main__":
    main()
