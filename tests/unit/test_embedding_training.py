"""Training of the face embedding: its views, where it starts, its loss and its export."""

from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from prosopon.models.convert.onnx_export import export, halved
from prosopon.models.faces.face_embedding import FaceEmbedding
from prosopon.models.faces.retail_reidentification import Shared
from prosopon.models.matching.vectors import normalize
from prosopon.models.pictures.crops import cut, similarity_transform
from prosopon.models.runtime.session import Compute
from prosopon.models.training.embedding import directions
from prosopon.models.training.embedding.augment import view_of
from prosopon.models.training.embedding.data import TO_VIEW, Batch, as_input, similarities
from prosopon.models.training.embedding.directions import learn, thresholds, within
from prosopon.models.training.embedding.network import Student, fit, parameters, spread
from prosopon.models.training.embedding.teachers import ARCFACE, RETAIL, similarity
from prosopon.models.training.embedding.train import losses


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


def test_a_view_that_is_not_shaken_is_the_chip_that_serving_cuts() -> None:
    """As far as the two templates, ArcFace's of 112 pixels and the network's of 128, agree on a face."""
    picture = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 256, (128, 128, 3), np.uint8), (0, 0), 4)
    landmarks = (RETAIL * 0.8 + 12).astype(np.float32)
    served = cut(picture, np.array([10, 10, 118, 118], np.float32), landmarks, FaceEmbedding.crop).pixels
    aligned = similarities(landmarks[None].astype(np.float64), ARCFACE)[0]
    view = cv2.warpAffine(picture, (TO_VIEW @ aligned)[:2], (128, 128))
    apart = np.abs(view.astype(int) - served)[16:-16, 16:-16]
    assert apart.mean() < 3


def test_the_layer_starts_as_what_answers_best() -> None:
    rng = torch.Generator().manual_seed(0)
    features = torch.randn(500, 20, generator=rng) * 3 + 1
    aim = features @ torch.randn(20, 4, generator=rng) + torch.tensor([1.0, -2, 0, 5])
    layer = torch.nn.Linear(20, 4)
    fit(layer, features, aim, ridge=1e-6)
    with torch.no_grad():
        torch.testing.assert_close(layer(features), aim, atol=1e-2, rtol=1e-2)


def test_whitened_strangers_differ_by_much_the_same_in_every_direction() -> None:
    torch.manual_seed(0)
    features = torch.randn(4000, 16) * torch.linspace(0.1, 4, 16) + 3
    layer = torch.nn.Linear(16, 8)
    spread(layer, features, floor=0)
    with torch.no_grad():
        answers = layer(features)
    torch.testing.assert_close(torch.cov(answers.T), torch.eye(8), atol=1e-3, rtol=0)
    torch.testing.assert_close(answers.mean(dim=0), torch.zeros(8), atol=1e-3, rtol=0)


def test_only_what_differs_from_the_teachers_costs() -> None:
    rng = np.random.default_rng(0)
    targets = torch.from_numpy(rng.normal(0, 1, (50, 256)).astype(np.float32))
    targets = F.normalize(targets)
    positions = torch.arange(10)
    batch = Batch(torch.empty(10, 3, 128, 128), positions, positions % 2)
    right = losses(4 * targets[:10], batch, targets, positions)
    for name in ("cosine", "pairs", "fellows"):
        assert float(right[name]) < 1e-6
    wrong = losses(targets[10:20] + targets[20], batch, targets, positions)
    assert all(float(wrong[name]) > float(right[name]) for name in right)


def test_export_in_half_precision_says_what_the_network_says(tmp_path: Path) -> None:
    torch.manual_seed(0)
    student = Student().eval()
    assert parameters(student) < 3_000_000
    model = halved(export(student, torch.rand(2, 3, 128, 128) * 255, "chips", "embeddings"))
    assert len(model) < 5_000_000
    chips = np.random.default_rng(0).integers(0, 256, (3, 128, 128, 3), np.uint8)
    (tmp_path / "student.onnx").write_bytes(model)
    found = FaceEmbedding(tmp_path / "student.onnx", Compute()).embed(chips)
    with torch.no_grad():
        aim = student(as_input(chips)).numpy()
    assert ((normalize(found) * normalize(aim)).sum(axis=1) > 0.999).all()


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


def test_directions_in_which_copies_of_a_face_differ_count_less() -> None:
    rng = np.random.default_rng(0)
    noise = np.repeat([1.8, 0.1], 32)

    def picture(people: np.ndarray) -> np.ndarray:
        return F.normalize(torch.from_numpy(people + noise * rng.normal(0, 1, people.shape))).float().numpy()

    def confused(shared: Shared, people: np.ndarray) -> float:
        first, second = shared.remove(picture(people)), shared.remove(picture(people))
        limit = thresholds(first, (1e-3,))[0]
        return float(((first * second).sum(axis=1) < limit).mean())

    known, others = rng.normal(0, 1, (400, 64)), rng.normal(0, 1, (400, 64))
    plain = Shared.of(np.zeros(64, np.float32), np.eye(64, dtype=np.float32)[:2])
    copies = np.stack([picture(known) for _ in range(2)], axis=1)
    spread = directions.spread(plain, F.normalize(torch.from_numpy(known)).float().numpy(), copies)
    assert np.abs(spread.remove(picture(others))[:, :2]).max() < 1e-3, "what was taken out stays out"
    assert confused(spread, others) < 0.8 * confused(plain, others)
