"""Alignment as FFHQ has it, on the generator's own pictures, which are aligned, and on moved ones."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from prosopon.configs.settings import DetectionSettings
from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.generation.face_generator import Faces
from prosopon.models.generation.latents import Part, latent_of_seed
from prosopon.models.inversion.face_inverter import ibug_points
from prosopon.models.inversion.ffhq_alignment import FIVE_POINTS, ffhq_chip, ffhq_matrix, mapped
from prosopon.models.load import load_detector, load_generator, load_landmarks, load_mapper
from prosopon.models.runtime.session import Compute
from tests.weights import model_settings, weights

SIDE = 512
Landmarks = Callable[[RGBImage], tuple[Float32, Float32]]


@pytest.fixture(scope="module")
def landmarks() -> Landmarks:
    """The 68 and the five points of a picture's only face."""
    weights("centerface")
    weights("mediapipe-face-mesh")
    detector = load_detector(model_settings(), DetectionSettings(), Compute())
    predictor = load_landmarks(model_settings(), Compute())

    def find(picture: RGBImage) -> tuple[Float32, Float32]:
        found = detector.detect([picture], 0.5)[0]
        return ibug_points(picture, found.boxes[0], found.landmarks[0], predictor), found.landmarks[0]

    return find


@pytest.fixture(scope="module")
def generated() -> list[RGBImage]:
    for name in ("mobilestylegan-mapper", "mobilestylegan-generator"):
        weights(name)
    models, compute = model_settings(), Compute()
    faces = Faces(load_mapper(models, compute), load_generator(models, compute), 0.7, 32)
    return faces.pictures([((Part(latent_of_seed(seed)),), SIDE) for seed in (0, 1, 5)])


def test_a_generated_picture_is_aligned_already(generated: list[RGBImage], landmarks: Landmarks) -> None:
    for picture in generated:
        points, _ = landmarks(picture)
        matrix = ffhq_matrix(points, SIDE)
        # FFHQ was aligned by dlib's points; the mesh has the eyes up to 5 % farther apart, or nearer.
        assert np.abs(matrix[:, :2] - np.eye(2)).max() < 0.05, "neither turned nor zoomed"
        corners = np.array([[0, 0], [SIDE, 0], [0, SIDE], [SIDE, SIDE]], np.float32)
        assert np.abs(mapped(corners, matrix) - corners).max() < 0.03 * SIDE
        # Levels by which texture differs that has moved by these per cents: 9, 9 and 11 of 255.
        assert np.abs(ffhq_chip(picture, points, SIDE).astype(float) - picture).mean() < 13


def test_a_turned_shrunken_and_shifted_picture_comes_back(
    generated: list[RGBImage], landmarks: Landmarks
) -> None:
    picture = generated[0]
    moved = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), 20, 0.5)
    photograph = cv2.warpAffine(picture, moved, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT)
    points, _ = landmarks(photograph)
    chip = ffhq_chip(photograph, points, SIDE)
    here, there = landmarks(chip)[0], landmarks(picture)[0]
    assert np.linalg.norm(here - there, axis=1).mean() < 0.015 * SIDE


def test_a_larger_picture_of_the_same_face_makes_the_same_chip(
    generated: list[RGBImage], landmarks: Landmarks
) -> None:
    picture = generated[1]
    points, _ = landmarks(picture)
    large = cv2.resize(picture, (4 * SIDE, 4 * SIDE), interpolation=cv2.INTER_CUBIC)
    near, far = ffhq_chip(picture, points, 256), ffhq_chip(large, 4 * (points + 0.5) - 0.5, 256)
    assert np.abs(near.astype(float) - far).mean() < 2


def test_beyond_the_border_the_picture_goes_on_without_an_edge() -> None:
    """A face that fills its picture: its chip is nowhere black, and fades out to one colour."""
    photograph = np.full((200, 200, 3), (180, 120, 90), np.uint8)
    photograph[::2] = (60, 200, 30)
    points = np.array(FIVE_POINTS, np.float32) * 400 - 100
    chip = ffhq_chip(photograph, points, SIDE).astype(float)
    assert chip[20:-20, 20:-20].max(axis=2).min() > 40
    middle, corner = chip[200:300, 200:300], chip[:40, :40]
    assert middle.std(axis=(0, 1)).max() > 40 and corner.std(axis=(0, 1)).max() < 5


def test_five_points_do_where_there_are_not_68(generated: list[RGBImage], landmarks: Landmarks) -> None:
    for picture in generated:
        points, five = landmarks(picture)
        dense, sparse = ffhq_matrix(points, SIDE), ffhq_matrix(five, SIDE)
        assert np.abs(dense[:, :2] - sparse[:, :2]).max() < 0.15


def test_landmarks_in_one_point_are_no_face() -> None:
    with pytest.raises(ValueError, match="do not span a face"):
        ffhq_matrix(np.full((68, 2), 7, np.float32), SIDE)
