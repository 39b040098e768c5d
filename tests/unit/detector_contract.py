"""What every detector must do, as mixin tests of its own test module."""

import numpy as np
import pytest

from prosopon.configs.settings import DetectionSettings
from prosopon.models.roles import FaceDetector
from tests.samples import missed, noses, sample

THRESHOLD = DetectionSettings().score_threshold


class DetectorContract:
    @pytest.mark.parametrize("name", sorted(noses()) if noses() else [])
    def test_every_nose_lies_in_a_box(self, detector: FaceDetector, name: str) -> None:
        faces = detector.detect([sample(name)], THRESHOLD)[0]
        print(f"{name}: {len(noses()[name])} noses, {len(faces)} boxes, scores {faces.scores.round(2)}")
        assert missed(faces, noses()[name]) == []

    def test_nothing_is_found_in_the_empty_picture(self, detector: FaceDetector) -> None:
        assert noses()["017_0.jpg"] == []
        assert len(detector.detect([sample("017_0.jpg")], THRESHOLD)[0]) == 0

    def test_landmarks_are_named_from_the_viewers_left(self, detector: FaceDetector) -> None:
        left_eye, right_eye, nose, left_mouth, right_mouth = detector.detect([sample("004_A.jpg")], 0.5)[
            0
        ].landmarks[0]
        assert left_eye[0] < nose[0] < right_eye[0] and left_mouth[0] < right_mouth[0]
        assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])

    def test_the_nose_landmark_is_the_annotated_nose(self, detector: FaceDetector) -> None:
        faces = detector.detect([sample("000_5.jpg")], 0.5)[0]
        heights = faces.boxes[:, 3] - faces.boxes[:, 1]
        for nose in noses()["000_5.jpg"]:
            distance = np.linalg.norm(faces.landmarks[:, 2] - nose, axis=1) / heights
            assert distance.min() < 0.15

    def test_a_batch_finds_what_single_pictures_do(self, detector: FaceDetector) -> None:
        pictures = [
            sample(name) for name in ("013_4.jpg", "011_3.jpg", "007_B.jpg", "008_B.jpg", "017_0.jpg")
        ]
        together = detector.detect(pictures, 0.5)
        for picture, faces in zip(pictures, together, strict=True):
            alone = detector.detect([picture], 0.5)[0]
            np.testing.assert_allclose(faces.boxes, alone.boxes, atol=0.05)
            np.testing.assert_allclose(faces.landmarks, alone.landmarks, atol=0.05)
            np.testing.assert_allclose(faces.scores, alone.scores, atol=1e-4)

    def test_best_first_and_above_the_threshold(self, detector: FaceDetector) -> None:
        for threshold in (0.2, 0.5, 0.85):
            scores = detector.detect([sample("014_5.jpg")], threshold)[0].scores
            assert (scores >= threshold).all() and (np.diff(scores) <= 0).all()

    def test_boxes_scale_with_the_picture(self, detector: FaceDetector) -> None:
        small = sample("010_2.jpg")
        large = np.ascontiguousarray(small.repeat(3, axis=0).repeat(3, axis=1))
        few, many = (detector.detect([picture], 0.5)[0] for picture in (small, large))
        assert len(few) == len(many) == 2
        np.testing.assert_allclose(many.boxes, few.boxes * 3, atol=30)

    @pytest.mark.parametrize("shape", [(1, 1), (20, 20), (10, 5000), (3000, 16), (31, 33)])
    def test_odd_shapes(self, detector: FaceDetector, shape: tuple[int, int]) -> None:
        picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
        faces = detector.detect([picture], 0.5)[0]
        assert faces.boxes.shape == (len(faces), 4) and faces.landmarks.shape == (len(faces), 5, 2)

    def test_a_threshold_of_zero_gives_faces_and_no_rubbish(self, detector: FaceDetector) -> None:
        names = sorted(noses())
        found = [detector.detect([sample(name)], 0.0)[0] for name in names]
        real = sum(len(noses()[name]) for name in names)
        assert real <= sum(map(len, found)) <= real + len(names) // 3
        assert all((faces.scores >= 0.5).all() for faces in found)

    def test_portraits_pass_the_thresholds_that_clients_send(self, detector: FaceDetector) -> None:
        for name in ("001_A.jpg", "004_A.jpg", "007_B.jpg"):
            assert len(detector.detect([sample(name)], 0.95)[0]) == 1

    def test_no_picture_no_result(self, detector: FaceDetector) -> None:
        assert detector.detect([], 0.5) == []
