"""Landmarks on real faces, against the detector's five, annotated noses, turned pictures, and one another."""

import csv
from collections import defaultdict

import cv2
import numpy as np
import pytest

from prosopon.models.faces.attributes.declaration import FaceInPicture, ModelCard
from prosopon.models.faces.attributes.landmarks import FIVE_LANDMARKS, IBUG_LANDMARKS, POSE, ROLE
from prosopon.models.faces.attributes.table import ATTRIBUTES
from prosopon.models.faces.detections import Detections, Float32, RGBImage
from prosopon.models.faces.landmarks import MESH_OF_IBUG, five_points, ibug
from prosopon.models.faces.mesh import FaceMesh
from prosopon.models.load import load_landmarks
from prosopon.models.pictures.crops import cut
from prosopon.models.roles import LandmarkPredictor
from prosopon.models.runtime.session import Compute
from tests.faces import detector, found_in, read
from tests.paths import DATA, require
from tests.weights import model_settings, weights

NOSE_TIP = 30


def named(name: str) -> LandmarkPredictor:
    weights(name)
    settings = model_settings().model_copy(update={"overrides": {"landmarks": name}})
    return load_landmarks(settings, Compute())


@pytest.fixture(scope="module", params=["mediapipe-face-mesh", "dlib-landmarks68"])
def predictor(request: pytest.FixtureRequest) -> LandmarkPredictor:
    return named(request.param)


@pytest.fixture(scope="module")
def mesh() -> FaceMesh:
    return FaceMesh(weights("mediapipe-face-mesh").path, Compute())


def predict(predictor: LandmarkPredictor, image: RGBImage, faces: Detections) -> Float32:
    """``(N, 68, 2)`` in pixels of the picture."""
    crops = [cut(image, faces.boxes[i], faces.landmarks[i], predictor.crop) for i in range(len(faces))]
    points = predictor.predict(np.stack([crop.pixels for crop in crops]))
    assert points.shape[:2] == (len(faces), predictor.count)
    return np.stack([ibug(crop.to_picture(row)) for crop, row in zip(crops, points, strict=True)])


def interocular(landmarks: Float32) -> Float32:
    return np.linalg.norm(landmarks[..., 0, :] - landmarks[..., 1, :], axis=-1)


def test_portraits_agree_with_the_detectors_five_points(predictor) -> None:
    distances = []
    for path in sorted(require(DATA / "london").glob("*.jpg"))[::5]:
        image, faces = read(path), found_in(path)
        apart = np.linalg.norm(five_points(predict(predictor, image, faces)) - faces.landmarks, axis=-1)
        distances.append(apart[0].mean() / interocular(faces.landmarks)[0])
    assert np.mean(distances) < 0.08
    assert np.max(distances) < 0.15


def test_annotated_noses_are_met(predictor) -> None:
    folder = require(DATA / "compreface_samples")
    noses = defaultdict(list)
    with (folder / "noses.csv").open() as file:
        for name, x, y in csv.reader(file):
            if x.isdigit():
                noses[name].append((float(x), float(y)))
    distances = []
    for name, points in noses.items():
        image, faces = read(folder / name), found_in(folder / name)
        tips = predict(predictor, image, faces)[:, NOSE_TIP]
        for point in points:
            apart = np.linalg.norm(tips - np.array(point), axis=1)
            nearest = int(apart.argmin())
            distances.append(apart[nearest] / interocular(faces.landmarks)[nearest])
    assert len(distances) > 40
    assert np.mean(distances) < 0.09
    assert np.max(distances) < 0.5


@pytest.mark.parametrize("degrees", [-60, 35])
def test_a_turned_picture_turns_the_landmarks(predictor, degrees: float) -> None:
    image = read(require(DATA / "london") / "007_neutral.jpg")
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 0.8)
    turned = cv2.warpAffine(image, matrix, (width, height))
    upright = predict(predictor, image, detector().detect([image], 0.5)[0])[0]
    found = predict(predictor, turned, detector().detect([turned], 0.3)[0].largest_first())[0]
    expected = upright @ matrix[:, :2].T + matrix[:, 2]
    size = interocular(five_points(expected))
    assert np.linalg.norm(found - expected, axis=1).mean() / size < 0.08


def test_an_empty_batch_has_no_landmarks(predictor) -> None:
    size = predictor.crop.size
    assert predictor.predict(np.zeros((0, size, size, 3), np.uint8)).shape[:2] == (0, predictor.count)


def test_the_mesh_has_ibugs_points_where_dlib_has_them(mesh) -> None:
    dlib68, apart = named("dlib-landmarks68"), []
    for path in sorted(require(DATA / "london").glob("*.jpg"))[::5]:
        image, faces = read(path), found_in(path).take(np.arange(1))
        ours, theirs = predict(mesh, image, faces)[0], predict(dlib68, image, faces)[0]
        apart.append(np.linalg.norm(ours - theirs, axis=1) / interocular(five_points(theirs)))
    each = np.mean(apart, axis=0)
    assert each[:17].mean() < 0.11, "the jaw, which the two see in different places"
    assert each[17:27].mean() < 0.09, "the brows"
    assert each[27:].mean() < 0.06, "nose, lids and lips"


# MediaPipe's own contours of the mesh (its face_mesh_connections), eyes and brows as the viewer sees them.
CONTOURS = {
    range(17): "127 234 93 132 58 172 136 150 149 176 148 152 377 400 378 379 365 397 288 361 323 454 356",
    range(17, 22): "46 53 52 65 55 70 63 105 66 107",
    range(22, 27): "276 283 282 295 285 300 293 334 296 336",
    range(36, 42): "33 7 163 144 145 153 154 155 133 246 161 160 159 158 157 173",
    range(42, 48): "263 249 390 373 374 380 381 382 362 466 388 387 386 385 384 398",
    range(48, 60): "61 146 91 181 84 17 314 405 321 375 291 185 40 39 37 0 267 269 270 409",
    range(60, 68): "78 95 88 178 87 14 317 402 318 324 308 191 80 81 82 13 312 311 310 415",
}


def test_ibugs_points_lie_on_the_contours_that_they_mark() -> None:
    assert len(MESH_OF_IBUG) == 68
    for points, vertices in CONTOURS.items():
        known = {int(vertex) for vertex in vertices.split()}
        assert {vertex for point in points for vertex in MESH_OF_IBUG[point]} <= known


@pytest.mark.parametrize("shape", [(98, 2), (106, 2), (5, 2)])
def test_other_points_have_no_ibug_landmarks_among_them(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError):
        ibug(np.zeros(shape, np.float32))


def test_a_mirrored_picture_mirrors_the_mesh(mesh) -> None:
    folder = require(DATA / "london")
    for name in ("007_neutral.jpg", "017_smiling.jpg", "113_neutral.jpg"):
        image = read(folder / name)
        mirrored = np.ascontiguousarray(image[:, ::-1])
        here, there = (predict(mesh, p, detector().detect([p], 0.5)[0])[0] for p in (image, mirrored))
        # iBUG's points seen in a mirror, and the two corners of the mouth among them.
        pairs = [*zip(range(9), range(16, 7, -1), strict=True), (30, 30), (36, 45), (39, 42), (48, 54)]
        size = interocular(five_points(here))
        for left, right in pairs:
            expected = (image.shape[1] - 1 - there[right, 0], there[right, 1])
            assert np.linalg.norm(here[left] - expected) / size < 0.08


def shifted(five: Float32, shift: tuple[float, float], scale: float, degrees: float) -> Float32:
    """Five points moved in distances between the eyes, scaled and turned about their middle."""
    turn = np.radians(degrees)
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = five.mean(axis=0)
    return ((five - middle) @ matrix.T + middle + np.array(shift) * interocular(five)).astype(np.float32)


@pytest.mark.parametrize(
    ("shift", "scale", "degrees"),
    [((0, 0), 0.75, 0), ((0, 0), 1.25, 0), ((0, 0), 1, 20), ((0.3, 0.3), 1.2, -15)],
)
def test_a_crop_in_the_wrong_place_is_looked_at_again(
    mesh, shift: tuple[float, float], scale: float, degrees: float
) -> None:
    apart, without = [], []
    for name in ("007_neutral.jpg", "017_smiling.jpg", "113_neutral.jpg"):
        image = read(require(DATA / "london") / name)
        faces = detector().detect([image], 0.5)[0]
        expected = predict(mesh, image, faces)[0]
        five = shifted(faces.landmarks[0], shift, scale, degrees)
        crop = cut(image, faces.boxes[0], five, mesh.crop)
        size = interocular(five_points(expected))
        edge = (mesh.crop.size - 192) // 2
        once = mesh._run(crop.pixels[None, edge:-edge, edge:-edge])[0][0]
        once[:, :2] += edge
        twice = mesh.predict(crop.pixels[None])[0]
        for found, distances in ((twice, apart), (once, without)):
            points = ibug(crop.to_picture(found))
            distances.append(np.linalg.norm(points - expected, axis=1).mean() / size)
    assert np.mean(apart) < 0.05
    assert np.mean(apart) < 0.7 * np.mean(without)


def test_a_batch_gives_what_each_gives_alone(mesh, group_picture) -> None:
    image = read(group_picture)
    faces = detector().detect([image], 0.5)[0]
    assert len(faces) >= 6
    chips = np.stack(
        [
            cut(image, b, shifted(f, (0.1 * i, 0), 1, 5 * i), mesh.crop).pixels
            for i, (b, f) in enumerate(zip(faces.boxes, faces.landmarks, strict=True))
        ]
    )
    alone = np.concatenate([mesh.predict(chip[None]) for chip in chips])
    np.testing.assert_allclose(mesh.predict(chips), alone, atol=1e-2)


def test_the_mesh_knows_a_face_from_noise(mesh) -> None:
    image = read(require(DATA / "london") / "007_neutral.jpg")
    faces = detector().detect([image], 0.5)[0]
    face = cut(image, faces.boxes[0], faces.landmarks[0], mesh.crop).pixels
    noise = np.random.default_rng(0).integers(0, 256, face.shape, np.uint8)
    assert mesh.find(np.stack([face, noise]))[1] == pytest.approx([1, 0], abs=0.01)


def test_depth_is_larger_behind(mesh) -> None:
    image = read(require(DATA / "london") / "007_neutral.jpg")
    faces = detector().detect([image], 0.5)[0]
    crop = cut(image, faces.boxes[0], faces.landmarks[0], mesh.crop)
    points = crop.to_picture(mesh.predict(crop.pixels[None])[0])
    depth = points[:, 2] / interocular(five_points(ibug(points)))
    nose, eyes, ears = depth[4], depth[[33, 263]].mean(), depth[[127, 356]].mean()
    # The nose stands about half the distance between the eyes before them, the ears a whole one behind.
    assert -0.9 < nose - eyes < -0.3 and 0.5 < ears - eyes < 1.5


def test_what_is_asked_about_a_face_is_read_off_any_model_that_tells_it(predictor) -> None:
    image = read(require(DATA / "london") / "007_neutral.jpg")
    faces = detector().detect([image], 0.5)[0]
    model = ROLE.serve(predictor)
    crop = cut(image, faces.boxes[0], faces.landmarks[0], predictor.crop)
    place = FaceInPicture(faces.boxes[0], faces.landmarks[0], *image.shape[1::-1], (crop.matrix,))
    (result,) = model.read(model.run(crop.pixels[None]))
    known = {a for a in ATTRIBUTES.values() if a.role is ROLE and a.needs(model.card)}
    assert known == {FIVE_LANDMARKS, IBUG_LANDMARKS, POSE}
    dense, five = IBUG_LANDMARKS.read(result, place), FIVE_LANDMARKS.read(result, place)
    assert dense.shape == (68, 2) and five.shape == (5, 2)
    size = interocular(faces.landmarks[0])
    assert np.linalg.norm(five - faces.landmarks[0], axis=1).max() / size < 0.2
    assert np.linalg.norm(dense[36:42].mean(axis=0) - five[0]) / size < 0.01
    assert abs(POSE.read(result, place).yaw) < 10


def test_a_model_of_106_points_tells_these_alone() -> None:
    card = ModelCard("insightface-landmarks", "", dim=106)
    assert [a.name for a in ATTRIBUTES.values() if a.role is ROLE and a.needs(card)] == ["landmarks106"]
