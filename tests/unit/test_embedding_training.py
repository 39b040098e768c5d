"""Training of the face embedding: the geometry of its hints, its steps and its export."""

import cv2
import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F

from prosopon.models.convert.onnx_export import export
from prosopon.models.pictures.crops import similarity_transform
from prosopon.models.training.embedding.augment import view_of
from prosopon.models.training.embedding.data import as_input, similarities
from prosopon.models.training.embedding.directions import learn, thresholds, within
from prosopon.models.training.embedding.export import Served, halved
from prosopon.models.training.embedding.muon import orthogonal
from prosopon.models.training.embedding.network import Student, parameters
from prosopon.models.training.embedding.teachers import ARCFACE, RETAIL, similarity


def test_chips_are_aligned_as_serving_aligns_them() -> None:
    rng = np.random.default_rng(0)
    landmarks = (ARCFACE + rng.normal(0, 6, (4, 5, 2))).astype(np.float32)
    for template in (ARCFACE, RETAIL):
        served = np.stack([similarity_transform(five, template) for five in landmarks])
        np.testing.assert_allclose(similarities(landmarks, template)[:, :2], served, atol=1e-3)
        np.testing.assert_allclose(similarity(landmarks[0], template), served[0], atol=1e-3)


def test_a_view_shows_its_pixels_where_it_says() -> None:
    # One bright dot on grey, at a landmark: found again where the returned matrix puts it.
    chip = np.full((128, 128, 3), 90, np.uint8)
    cv2.circle(chip, (70, 60), 3, (255, 255, 255), -1)
    aligned = np.array([[0.9, 0, -3], [0, 0.9, 2], [0, 0, 1]])
    for seed in range(20):
        view, shake = view_of(np.random.default_rng(seed), chip, aligned, 80, 0.0)
        x, y, _ = shake @ aligned @ [70, 60, 1]
        inner = view[8:-8, 8:-8].min(axis=2).astype(np.float64)
        rows, columns = np.nonzero(inner > inner.max() - 5)
        assert abs(columns.mean() + 8 - x) < 1
        assert abs(rows.mean() + 8 - y) < 1


def test_steps_are_nearly_orthogonal() -> None:
    torch.manual_seed(0)
    for shape in ((24, 216), (216, 24)):
        lengths = torch.linalg.svdvals(
            orthogonal(torch.randn(shape) @ torch.diag(torch.rand(shape[1]) + 0.1))
        )
        assert lengths.min() > 0.3
        assert lengths.max() < 1.3


def test_export_in_half_precision_says_what_the_network_says() -> None:
    torch.manual_seed(0)
    student = Student().eval()
    assert parameters(student) < 3_000_000
    served = Served(student, 112)
    model = halved(export(served, torch.rand(2, 3, 112, 112) * 255, "chips", "embeddings"))
    assert len(model) < 5_000_000
    chips = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), np.uint8)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    found = session.run(None, {"chips": chips.transpose(0, 3, 1, 2).astype(np.float32)})[0]
    with torch.no_grad():
        aim = F.normalize(student(as_input(chips))).numpy()
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-4)
    assert ((found * aim).sum(axis=1) > 0.999).all()


def test_groups_are_taken_out_and_people_are_kept() -> None:
    # People are drawn about the centre of their group, which is farther from the others' than people are.
    rng = np.random.default_rng(0)
    groups = np.repeat([f"group {number}" for number in range(6)], 60)
    centres = np.repeat(rng.normal(0, 1, (6, 128)), 60, axis=0)
    people = centres + rng.normal(0, 1.5, centres.shape)

    def picture() -> np.ndarray:
        return F.normalize(torch.from_numpy(people + rng.normal(0, 0.5, people.shape))).float().numpy()

    first, second = picture(), picture()
    shared = learn(first, groups, groups)

    def worst(vectors: np.ndarray) -> float:
        found = within(vectors, groups, thresholds(vectors, (1e-2,)))
        return max(rates[0] for rates in found.values()) / 1e-2

    assert worst(first) > 4
    assert worst(shared.remove(second)) < 3
    alike = shared.remove(first) @ shared.remove(second).T
    assert (alike.argmax(axis=1) == np.arange(len(alike))).mean() > 0.95
