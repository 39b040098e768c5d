"""Head pose: signs, sizes, and faces of which the pose is known."""

import itertools

import cv2
import numpy as np
import pytest

from prosopon.models.faces.detections import RGBImage
from prosopon.models.faces.head_pose import (
    CANONICAL_FACE,
    FACE_MODEL,
    camera_matrix,
    head_pose,
    rotation_matrix,
)
from prosopon.models.load import load_landmarks
from prosopon.models.pictures.crops import cut
from prosopon.models.roles import HeadPose
from prosopon.models.runtime.session import Compute
from tests.faces import detector, found_in, predictor, read
from tests.paths import DATA, require
from tests.weights import model_settings, weights

SIZE = (640, 480)


def project(pose: HeadPose, shift: tuple[float, float, float] = (3.0, -2.0, 60.0)) -> np.ndarray:
    """The face model seen under a pose, as 68 points of which only the model's own are filled in."""
    points = np.zeros((68, 2), np.float32)
    turn = cv2.Rodrigues(rotation_matrix(pose))[0]
    model = np.array(list(FACE_MODEL.values()))
    points[list(FACE_MODEL)] = cv2.projectPoints(model, turn, np.array(shift), camera_matrix(SIZE), None)[0][
        :, 0
    ]
    return points


@pytest.mark.parametrize(
    "angles", list(itertools.product((-30, 0, 25), (-50, -20, 0, 35), (-40, 0, 15))), ids=str
)
def test_known_poses_are_recovered(angles: tuple[float, float, float]) -> None:
    found = head_pose(project(HeadPose(*angles)), SIZE)
    np.testing.assert_allclose((found.pitch, found.yaw, found.roll), angles, atol=0.1)


def test_a_pixel_of_noise_costs_few_degrees() -> None:
    random = np.random.default_rng(0)
    truth = project(HeadPose(5, -20, 10))
    errors = []
    for _ in range(50):
        found = head_pose((truth + random.normal(0, 1, truth.shape)).astype(np.float32), SIZE)
        errors.append((found.pitch - 5, found.yaw + 20, found.roll - 10))
    assert np.abs(errors).mean(axis=0).max() < 2.5


@pytest.mark.parametrize("points", [np.zeros((68, 2)), np.full((68, 2), np.nan), np.zeros((5, 2))])
def test_points_that_are_no_face_are_refused(points: np.ndarray) -> None:
    with pytest.raises(ValueError):
        head_pose(points.astype(np.float32), SIZE)


def mesh_under(pose: HeadPose, scale: float, shift: tuple[float, float, float]) -> np.ndarray:
    """The canonical face under a pose, as a mesh of which only that model's own vertices are filled in."""
    points = np.zeros((468, 3), np.float32)
    model = np.array(list(CANONICAL_FACE.values()))[:, :3]
    points[list(CANONICAL_FACE)] = scale * model @ rotation_matrix(pose).T + shift
    return points


@pytest.mark.parametrize(
    "angles", list(itertools.product((-60, 0, 40), (-85, -20, 0, 70), (-170, 0, 15))), ids=str
)
def test_known_poses_of_a_mesh_are_recovered(angles: tuple[float, float, float]) -> None:
    found = head_pose(mesh_under(HeadPose(*angles), 7.5, (300, 200, -40)), SIZE)
    np.testing.assert_allclose((found.pitch, found.yaw, found.roll), angles, atol=0.01)


def test_a_mesh_in_one_point_is_refused() -> None:
    with pytest.raises(ValueError):
        head_pose(np.ones((468, 3), np.float32), SIZE)


def test_the_canonical_face_is_symmetric_and_its_nose_nearest() -> None:
    left = {index: place for index, place in CANONICAL_FACE.items() if place[0] < 0}
    right = {place[1:]: place[0] for place in CANONICAL_FACE.values() if place[0] > 0}
    assert len(left) == 15 and all(right[place[1:]] == -place[0] for place in left.values())
    assert min(CANONICAL_FACE, key=lambda index: CANONICAL_FACE[index][2]) == 4


@pytest.fixture(scope="module", params=["mediapipe-face-mesh", "dlib-landmarks68"])
def pose_of(request: pytest.FixtureRequest):
    predictor = load_landmarks(
        model_settings().model_copy(update={"overrides": {"landmarks": weights(request.param).name}}),
        Compute(),
    )

    def estimate(image: RGBImage) -> HeadPose:
        faces = detector().detect([image], 0.5)[0].largest_first()
        crop = cut(image, faces.boxes[0], faces.landmarks[0], predictor.crop)
        points = crop.to_picture(predictor.predict(crop.pixels[None])[0])
        return head_pose(points, image.shape[1::-1])

    return estimate


@pytest.fixture(scope="module")
def portraits() -> list[RGBImage]:
    folder = require(DATA / "london")
    paths = sorted(folder.glob("*_neutral.jpg"))[:20]
    return [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths]


def test_portraits_that_face_the_camera_have_no_yaw_or_roll(pose_of, portraits) -> None:
    poses = [pose_of(image) for image in portraits]
    assert np.abs([pose.yaw for pose in poses]).mean() < 5
    assert np.abs([pose.roll for pose in poses]).mean() < 4
    assert abs(np.mean([pose.pitch for pose in poses])) < 8


@pytest.mark.parametrize("degrees", [-30, 20])
def test_turning_the_picture_clockwise_adds_roll(pose_of, portraits, degrees: float) -> None:
    for image in portraits[:5]:
        height, width = image.shape[:2]
        # OpenCV's positive angle is counter-clockwise.
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1)
        turned = cv2.warpAffine(image, matrix, (width, height))
        assert pose_of(turned).roll - pose_of(image).roll == pytest.approx(degrees, abs=4)


def test_a_mirrored_picture_mirrors_yaw_and_roll(pose_of) -> None:
    # A face in three-quarter view, looking to the viewer's left.
    folder = require(DATA / "compreface_samples")
    image = cv2.cvtColor(cv2.imread(str(folder / "009_C.jpg")), cv2.COLOR_BGR2RGB)
    pose, mirrored = pose_of(image), pose_of(np.ascontiguousarray(image[:, ::-1]))
    assert mirrored.yaw == pytest.approx(-pose.yaw, abs=6)
    assert mirrored.roll == pytest.approx(-pose.roll, abs=5)
    assert mirrored.pitch == pytest.approx(pose.pitch, abs=6)


@pytest.mark.parametrize(
    ("name", "face", "pitch", "yaw"),
    [
        # Faces from left to right, and which way people see them look: 0 is neither way.
        ("011_3.jpg", 2, 1, -1),
        ("013_4.jpg", 1, -1, 0),
        ("012_4.jpg", 0, 0, 1),
        ("012_4.jpg", 2, 0, -1),
    ],
)
def test_a_face_looks_where_people_see_it_look(name: str, face: int, pitch: int, yaw: int) -> None:
    path = require(DATA / "compreface_samples") / name
    image, faces = read(path), found_in(path).left_to_right()
    crop = cut(image, faces.boxes[face], faces.landmarks[face], predictor().crop)
    pose = head_pose(crop.to_picture(predictor().predict(crop.pixels[None])[0]), image.shape[1::-1])
    assert pose.pitch * pitch > 10 or not pitch
    assert pose.yaw * yaw > 15 or not yaw
