"""The mesh of a face, and interpolation over it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from prosopon.models.faces.detections import Float32
from prosopon.models.faces.head_pose import rotation_matrix
from prosopon.models.roles import HeadPose
from prosopon.models.swap import geometry
from prosopon.models.swap.identity import with_proportions, yaw
from prosopon.models.swap.region import region_around

SHAPE = geometry.mean_face()


def seen(scale: float, angles: tuple[float, float, float] = (0, 0, 0), shift: float = 0) -> Float32:
    """The mean face's 82 vertices under a pose (pitch, yaw, roll), in pixels."""
    turned = SHAPE @ rotation_matrix(HeadPose(*angles)).T
    return (turned[:, :2] * scale + shift).astype(np.float32)


def test_the_mean_face_is_symmetric_and_mirrors_into_itself() -> None:
    assert sorted(geometry.MIRRORED) == list(range(82))
    assert (geometry.MIRRORED[geometry.MIRRORED] == np.arange(82)).all()
    assert_allclose(SHAPE[geometry.MIRRORED] * [-1, 1, 1], SHAPE, atol=2e-3)
    assert geometry.interocular(SHAPE[:68, :2]) == pytest.approx(1, abs=0.01)
    # The nose is nearest; the ears' side of the jaw farthest.
    assert SHAPE[:, 2].argmin() in range(27, 36) and SHAPE[:68, 2].argmax() in (0, 1, 15, 16)


def test_every_vertex_is_part_of_a_triangle() -> None:
    assert set(geometry.triangles().ravel()) == set(range(82))


angles = st.floats(-35, 35)


@settings(max_examples=50)
@given(st.floats(5, 400), angles, angles, st.floats(-180, 180), st.floats(-200, 900))
def test_the_forehead_follows_the_pose(
    scale: float, pitch: float, turn: float, roll: float, shift: float
) -> None:
    points = seen(scale, (pitch, turn, roll), shift)
    assert_allclose(geometry.with_forehead(points[:68]), points, atol=0.04 * scale)


@settings(max_examples=30)
@given(st.floats(20, 400), angles, st.floats(-180, 180))
def test_yaw_is_recovered(scale: float, turn: float, roll: float) -> None:
    assert yaw(seen(scale, (0, turn, roll), 300)) == pytest.approx(abs(turn), abs=5)


@settings(max_examples=30)
@given(st.floats(15, 90), st.floats(-30, 30), st.floats(-30, 30), st.floats(-40, 40))
def test_interpolation_is_exact_for_what_is_linear(scale: float, turn: float, a: float, b: float) -> None:
    points = seen(scale, (0, turn, 0), 128)
    values = (points @ np.array([[a], [b]], np.float32) + 3).astype(np.float32)
    raster, inside = geometry.interpolate(points, values, (256, 256))
    y, x = np.nonzero(inside)
    assert len(x) > 2 * scale**2
    assert_allclose(raster[inside][:, 0], a * x + b * y + 3, atol=1e-2 * (1 + abs(a) + abs(b)))


def test_a_hidden_half_is_known() -> None:
    left, right = geometry.visible_share(seen(100, (0, 40, 0), 200))
    assert min(left, right) < 0.5 and max(left, right) == 1
    assert geometry.visible_share(seen(100, (0, 0, 0), 200)).min() > 0.95


@settings(max_examples=30)
@given(st.floats(10, 200), st.floats(-20, 20), st.floats(-90, 90), st.floats(0, 1))
def test_proportions_of_the_same_face_change_nothing(
    scale: float, turn: float, roll: float, share: float
) -> None:
    target, source = seen(scale, (0, turn, roll), 50), seen(130, (5, 0, 0), 10)
    assert_allclose(with_proportions(target, source, share, True), target, atol=0.02 * scale)


def test_proportions_move_features_and_never_the_outline() -> None:
    target, source = seen(100, shift=200), seen(100, shift=200)
    source[27:36, 1] += 10
    moved = with_proportions(target, source, 1.0, True)
    assert 1 < (moved[30, 1] - target[30, 1]) <= 14
    assert (moved[geometry.OUTLINE, :] == target[geometry.OUTLINE, :]).all()
    assert_allclose(with_proportions(target, seen(100, (0, 60, 0), 200), 1.0, True), target)


@settings(max_examples=50)
@given(st.integers(1, 3000), st.integers(1, 3000), st.floats(3, 900), st.floats(-500, 2500))
def test_a_region_lies_in_the_frame_and_its_rasters_fit(
    height: int, width: int, scale: float, shift: float
) -> None:
    frame = np.broadcast_to(np.uint8(0), (height, width, 3))
    region = region_around(seen(scale, shift=shift), 0.3 * scale, frame)
    if region is None:
        return
    assert region.of(frame).shape[:2] == (region.height, region.width)
    assert max(region.small) <= 256
    x = np.arange(region.small[1], dtype=np.float32)[None].repeat(region.small[0], axis=0)
    large = region.enlarged(x, (0, region.height, 0, region.width))
    assert large.shape == (region.height, region.width)
    corner = np.array([[region.x, region.y]], np.float32)
    expected = region.to_small(corner)[0, 0]
    assert large[0, 0] == pytest.approx(max(expected, 0), abs=0.05)
