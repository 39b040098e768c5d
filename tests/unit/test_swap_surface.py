"""The face as a surface: what its normals are, what the camera sees of it, and the light that lies on it."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from prosopon.models.faces.detections import Float32
from prosopon.models.faces.head_pose import rotation_matrix
from prosopon.models.roles import HeadPose
from prosopon.models.swap import geometry, shading, surface
from prosopon.models.swap.maps import Maps

SHAPE = surface.mean_surface()
LEFT_CHEEK, RIGHT_CHEEK, CHIN, BROW_MIDDLE = 50, 280, 152, 9
"""Vertices, of the viewer's left and right."""


def turned(pitch: float, yaw: float, scale: float = 100.0) -> Float32:
    return (SHAPE @ rotation_matrix(HeadPose(pitch, yaw, 0)).T * scale + 200).astype(np.float32)


def test_the_mesh_mirrors_into_itself_and_every_vertex_is_part_of_it() -> None:
    other = surface.mirrored()
    assert (other[other] == np.arange(len(SHAPE))).all() and other[LEFT_CHEEK] == RIGHT_CHEEK
    assert_allclose(SHAPE[other] * [-1, 1, 1], SHAPE, atol=2e-3)
    assert set(surface.triangles().ravel()) == set(range(len(SHAPE)))


def test_normals_are_those_of_a_sphere() -> None:
    # Every vertex is moved onto a sphere, whose normals are known.
    middle = np.array([0, 0.4, 1.6], np.float32)
    ball = SHAPE - middle
    ball /= np.linalg.norm(ball, axis=1, keepdims=True)
    found = surface.normals((ball + middle).astype(np.float32))
    inner = np.hypot(SHAPE[:, 0], SHAPE[:, 1] - 0.4) < 0.7
    assert np.median((found * ball).sum(axis=1)[inner]) > 0.99


@settings(max_examples=30)
@given(st.floats(-30, 30), st.floats(-40, 40), st.floats(20, 300))
def test_the_hairline_follows_the_pose(pitch: float, yaw: float, scale: float) -> None:
    points = turned(pitch, yaw, scale)
    assert_allclose(surface.with_hairline(points[:468]), points, atol=0.03 * scale)


def test_the_half_that_turns_away_is_not_seen() -> None:
    front = surface.visibility(turned(0, 0))
    assert front[[LEFT_CHEEK, RIGHT_CHEEK, CHIN, BROW_MIDDLE]].min() > 0.8
    # Positive yaw turns the face to the viewer's right: its own far cheek lies there.
    right = surface.visibility(turned(0, 55))
    assert right[LEFT_CHEEK] > 0.9 and right[RIGHT_CHEEK] < 0.4
    left = surface.visibility(turned(0, -55))[surface.mirrored()]
    assert (np.abs(left - right) < 0.2).mean() > 0.97


def test_the_nose_hides_what_lies_behind_it() -> None:
    away = turned(0, 40)
    beside = 429  # The cheek beside the nose's wing, on the viewer's right.
    assert surface.normals(away)[beside, 2] < surface.normals(turned(0, 70))[beside, 2]
    assert surface.visibility(turned(0, 70))[beside] < 0.2


def test_what_moves_landmarks_moves_the_vertices_there() -> None:
    assert_allclose(surface.carried(np.ones((68, 2), np.float32)), 1, atol=0.02)
    shift = np.zeros((68, 2), np.float32)
    shift[27:36, 1] = 10
    moved = surface.carried(shift)
    assert moved[4, 1] > 8 and np.abs(moved[[LEFT_CHEEK, CHIN, BROW_MIDDLE]]).max() < 6


def rendered(direction: tuple[float, float, float], ambient: float) -> tuple[Float32, Float32, Float32]:
    """A sphere of skin under a lamp as `shading` sees it, its normals and its Lambertian shading, which is told by
    numpy alone."""
    side = 120
    x, y = np.meshgrid(np.linspace(-0.95, 0.95, side), np.linspace(-0.95, 0.95, side))
    inside = x**2 + y**2 < 0.85
    z = -np.sqrt(np.maximum(1 - x**2 - y**2, 0.15))
    normals = np.stack([x, y, z], axis=-1).astype(np.float32)
    lamp = np.array(direction) / np.linalg.norm(direction)
    light = ambient + np.maximum(normals @ lamp, 0)
    skin = np.array([0.35, 0.2, 0.13])
    picture = 255 * np.clip(light[..., None] * skin, 0, 1) ** (1 / 2.2)
    return picture.astype(np.float32), np.where(inside[..., None], normals, 0).astype(np.float32), light


@pytest.mark.parametrize("direction", [(1, 0, -1), (-0.7, -0.5, -1), (0, -1, -0.6)])
def test_light_on_a_sphere_is_told(direction: tuple[float, float, float]) -> None:
    picture, normals, light = rendered(direction, 0.35)
    skin = (np.abs(normals).sum(axis=2) > 0).astype(np.float32)
    # A beard and gloss lie on it, which are no light.
    picture[90:, 40:80] *= 0.4
    picture[20:26, 50:60] = 250
    found = shading.shading(picture, skin, normals)[..., 0]
    wanted = light ** (1 / 2.2)
    on = skin > 0
    on[90:, 40:80] = False
    ratio = found[on] / wanted[on]
    assert np.std(ratio) / np.mean(ratio) < 0.08
    assert np.std(wanted[on]) / np.mean(wanted[on]) > 0.12, "the light varies by more than what is left"


def test_half_a_shadow_is_told_from_a_face_that_is_the_same_on_both_sides() -> None:
    height, width = 160, 120
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    random = np.random.default_rng(3)
    half = cv2.GaussianBlur(random.normal(0, 60, (height, width // 2)).astype(np.float32), (0, 0), 4)
    face = 150 + np.concatenate([half, half[:, ::-1]], axis=1)
    shadow = np.where(x < 45, 0.55, 1.0).astype(np.float32)
    picture = np.repeat((face * shadow)[..., None], 3, axis=2)
    place = np.stack([(x - 59.5) / 40, (y - 50) / 40], axis=-1)
    opposite = np.stack([width - 1 - x, y], axis=-1)
    skin = (shadow == 1).astype(np.float32)
    none, flat = np.zeros_like(skin), np.zeros((height, width, 3), np.float32)
    way = Maps(opposite, opposite, none, place, opposite, none + 1, flat, flat, flat, 1.0)
    factor = shading.one_sided(picture, np.full_like(picture, 150), skin, none + 1, way, 40)
    evened = picture / factor
    rows, deep = slice(40, 90), slice(35, 42)
    left, right = evened[rows, deep], evened[rows, ::-1][:, deep]
    assert abs(left.mean() / right.mean() - 1) < 0.15
    assert abs(picture[rows, deep].mean() / picture[rows, ::-1][:, deep].mean() - 1) > 0.4
    assert_allclose(factor[rows, 80:100], 1, atol=0.06)


def test_a_face_that_is_lit_evenly_is_left_alone() -> None:
    picture = np.full((80, 80, 3), 140, np.float32)
    normals = np.zeros((80, 80, 3), np.float32)
    normals[..., 2] = -1
    assert_allclose(shading.shading(picture, np.ones((80, 80), np.float32), normals), 1, atol=0.01)
    assert geometry.mean_mesh().shape == (468, 3)
