"""Cutting crops: geometry, and agreement with dlib's own face chips."""

import dlib
import numpy as np
import pytest
from numpy.testing import assert_allclose

from prosopon.models.faces import dlib_chips
from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.faces.dlib_resnet import DlibResNet29
from prosopon.models.matching.vectors import normalize
from prosopon.models.pictures.crops import CropSpec, crop_matrix, cut, similarity_transform
from prosopon.models.runtime.session import Compute
from tests.samples import sample
from tests.weights import weights

TEMPLATE = dlib_chips.template(150, padding=0.25)
NO_POINTS = np.zeros((5, 2), np.float32)


def test_a_similarity_is_recovered_from_points() -> None:
    points = np.random.default_rng(0).normal(0, 50, (5, 2)).astype(np.float32)
    angle, scale, shift = 0.7, 1.8, np.array([12.0, -5.0])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = similarity_transform(points, (points @ turn.T + shift).astype(np.float32))
    assert_allclose(matrix, np.column_stack([turn, shift]), atol=1e-4)


def test_the_least_squares_similarity_is_not_beaten_by_its_neighbours() -> None:
    random = np.random.default_rng(1)
    source, target = random.normal(0, 50, (2, 5, 2)).astype(np.float32)
    best = similarity_transform(source, target)

    def error(matrix: Float32) -> float:
        return float(((source @ matrix[:, :2].T + matrix[:, 2] - target) ** 2).sum())

    for _ in range(100):
        a, b, x, y = random.normal(0, [0.01, 0.01, 0.5, 0.5])
        assert error(best) <= error(best + np.array([[a, -b, x], [b, a, y]], np.float32))


def test_landmarks_land_on_the_template() -> None:
    landmarks = np.asarray(TEMPLATE, np.float32) * 2 + 30
    crop = cut(np.zeros((400, 400, 3), np.uint8), np.zeros(4, np.float32), landmarks, CropSpec(150, TEMPLATE))
    placed = landmarks @ crop.matrix[:, :2].T + crop.matrix[:, 2]
    assert_allclose(placed, TEMPLATE, atol=1e-3)
    assert_allclose(crop.to_picture(placed), landmarks, atol=1e-2)


@pytest.mark.parametrize("scale", [1.0, 2.7])
def test_a_box_crop_spans_the_scaled_box(scale: float) -> None:
    box = np.array([100, 120, 200, 260], np.float32)
    matrix = crop_matrix(box, NO_POINTS, CropSpec(80, scale=scale))
    side = 140 * scale
    corner = np.array([150 - side / 2, 190 - side / 2])
    assert_allclose(matrix[:, :2] @ corner + matrix[:, 2], [-0.5, -0.5], atol=1e-3)
    assert_allclose(matrix[:, :2] @ (corner + side) + matrix[:, 2], [79.5, 79.5], atol=1e-3)


def gradient(height: int, width: int) -> RGBImage:
    """A picture whose red and green are its x and y, so that a crop tells where it was cut."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack([x, y, np.zeros_like(x)], axis=-1).round().astype(np.uint8)


@pytest.mark.parametrize("side", [60, 300, 1600])
def test_shrinking_and_enlarging_stay_in_place(side: int) -> None:
    picture = gradient(2000, 2000)
    box = np.array([150, 250, 150 + side, 250 + side], np.float32)
    pixels = cut(picture, box, NO_POINTS, CropSpec(100)).pixels
    per_pixel = 255 / 1999
    middle = np.array([150 + side / 2, 250 + side / 2]) * per_pixel
    assert_allclose(pixels[49:51, 49:51, :2].mean(axis=(0, 1)), middle, atol=1.0)
    assert_allclose(pixels[0, 0, :2], np.array([150, 250]) * per_pixel, atol=1.5 + side / 200 * per_pixel)


def test_shrinking_does_not_alias() -> None:
    stripes = np.zeros((1000, 1000, 3), np.uint8)
    stripes[:, ::2] = 255
    pixels = cut(stripes, np.array([0, 0, 1000, 1000], np.float32), NO_POINTS, CropSpec(90)).pixels
    assert np.abs(pixels[5:-5, 5:-5].astype(int) - 127).max() < 30


def test_what_lies_outside_the_picture_is_black_and_inside_is_kept() -> None:
    white = np.full((100, 100, 3), 255, np.uint8)
    pixels = cut(white, np.array([-50, -50, 50, 50], np.float32), NO_POINTS, CropSpec(64)).pixels
    assert (pixels[:30, :30] == 0).all() and (pixels[34:, 34:] == 255).all()


def test_a_crop_asked_to_stay_inside_does() -> None:
    white = np.full((120, 100, 3), 255, np.uint8)
    spec = CropSpec(64, scale=4.0, inside=True)
    for box in ([60, 10, 95, 50], [0, 90, 20, 120], [10, 10, 90, 90]):
        assert (cut(white, np.array(box, np.float32), NO_POINTS, spec).pixels == 255).all()


def test_our_chips_are_dlibs_chips() -> None:
    """From one set of 68 landmarks: dlib aligns 51 of them, we five; the embedding must hardly notice."""
    picture = sample("016_8.jpg")
    predictor = dlib.shape_predictor(str(weights("dlib-landmarks68").path))
    rectangles = dlib.get_frontal_face_detector()(picture, 1)
    assert len(rectangles) >= 6
    theirs, ours = [], []
    for rectangle in rectangles:
        shape = predictor(picture, rectangle)
        points = np.array([(part.x, part.y) for part in shape.parts()], np.float32)
        five = np.stack(
            [points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]],
        )
        theirs.append(dlib.get_face_chip(picture, shape, size=150, padding=0.25))
        ours.append(cut(picture, np.zeros(4, np.float32), five, CropSpec(150, TEMPLATE)).pixels)
    model = DlibResNet29(weights("dlib-resnet29").path, Compute())
    a, b = normalize(model.embed(np.stack(theirs))), normalize(model.embed(np.stack(ours)))
    distances = np.linalg.norm(a - b, axis=1)
    print(f"distances between the embeddings of dlib's chips and ours: {distances.round(3)}")
    between_people = np.linalg.norm(a[:, None] - a[None], axis=2)[np.triu_indices(len(a), 1)]
    assert distances.max() < 0.5 * between_people.min()
