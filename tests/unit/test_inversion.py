"""Inversion: from a generated picture back to styles, within a budget, and for other generators than our own."""

import os
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from prosopon.configs.settings import DetectionSettings, ModelSettings
from prosopon.models.faces.detections import RGBImage
from prosopon.models.faces.retail_reidentification import RetailReidentification
from prosopon.models.generation.differentiable import DifferentiableMobileStyleGan
from prosopon.models.generation.latents import Part, latent_of_seed
from prosopon.models.generation.mobile_stylegan_shape import STYLES
from prosopon.models.inversion.encoder import SIDE as ENCODER_SIDE
from prosopon.models.inversion.encoder import InversionEncoder, load_encoder, save_encoder
from prosopon.models.inversion.face_inverter import FaceInverter
from prosopon.models.inversion.identity import load_identity
from prosopon.models.inversion.latent_prior import LatentPrior
from prosopon.models.inversion.loss import chip_grid, from_pixels
from prosopon.models.inversion.target import SIDE, NoFace, Schedule, Target
from prosopon.models.load import ModelUnavailable, inverts, load_embedder, load_generator, load_mapper
from prosopon.models.runtime.session import Compute
from tests.weights import model_settings, weights

FOR_EVER = 1e6
RETAIL = "face-reidentification-retail-0095"


@pytest.fixture(scope="module")
def models() -> ModelSettings:
    for name in (
        "centerface", "mediapipe-face-mesh", RETAIL, "mobilestylegan-mapper", "mobilestylegan-generator"
    ):  # fmt: skip
        weights(name)
    return model_settings()


@pytest.fixture(scope="module")
def inverter(models: ModelSettings) -> FaceInverter:
    return FaceInverter(models, DetectionSettings(), Compute())


@pytest.fixture(scope="module")
def picture(models: ModelSettings) -> RGBImage:
    """A face of 512 px that the generator made."""
    from prosopon.models.generation.face_generator import Faces

    faces = Faces(load_mapper(models, Compute()), load_generator(models, Compute()), 0.7, 32)
    return faces.pictures([((Part(latent_of_seed(1)),), 512)])[0]


def loss_of(inverter: FaceInverter, target: Target, w: np.ndarray) -> float:
    with torch.no_grad():
        made = inverter.refine.generator.picture(torch.from_numpy(w), 128)
        return float(inverter.refine.loss([target])(made))


def test_refinement_comes_closer_than_the_encoder_and_the_encoder_than_the_mean(
    inverter: FaceInverter, picture: RGBImage
) -> None:
    target = inverter.target(picture)
    guess = inverter.guess([target])
    mean = np.repeat(inverter.prior.to_w(torch.zeros(1, 1, 512)).numpy(), STYLES, axis=1)
    refined = inverter.invert([target], Schedule(FOR_EVER, steps=8, shares=((128, 1.0),)))
    assert refined.shape == (1, STYLES, 512) and refined.dtype == np.float32 and np.isfinite(refined).all()
    losses = [loss_of(inverter, target, w) for w in (mean, inverter.prior.to_w(guess).numpy(), refined)]
    assert losses[2] < 0.75 * losses[1] and losses[1] < 0.95 * losses[0], losses


def test_the_budget_is_kept(inverter: FaceInverter, picture: RGBImage) -> None:
    target = inverter.target(picture)
    inverter.invert([target], Schedule(FOR_EVER, steps=3))
    assert inverter.refine.steps == 3
    began = time.process_time()
    inverter.invert([target], Schedule(seconds=0.5, steps=10_000, least_steps=2))
    assert 2 <= inverter.refine.steps < 10_000
    used = time.process_time() - began
    assert used < 15, f"half a second, and a step that was begun, took {used:.1f} s of processor time"


def test_at_least_some_steps_are_taken_however_slow_they_are(
    inverter: FaceInverter, picture: RGBImage
) -> None:
    inverter.invert(
        [inverter.target(picture)], Schedule(seconds=1e-6, steps=100, shares=((128, 1.0),), least_steps=4)
    )
    assert inverter.refine.steps == 4


def test_it_stops_when_nobody_waits_any_more(inverter: FaceInverter, picture: RGBImage) -> None:
    stopped = threading.Event()
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        if calls == 3:
            stopped.set()
        return stopped.is_set()

    inverter.invert([inverter.target(picture)], Schedule(FOR_EVER, steps=500), stop)
    assert inverter.refine.steps == 2


def test_a_batch_gives_each_face_its_own_styles(
    inverter: FaceInverter, picture: RGBImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In half precision a batch is rounded in other places than its parts are.
    exact = DifferentiableMobileStyleGan(*weights("mobilestylegan-generator").paths, torch.device("cpu"))
    monkeypatch.setattr(inverter.refine, "generator", exact)
    schedule = Schedule(FOR_EVER, steps=2, shares=((128, 1.0),))
    target, mirrored = inverter.target(picture), inverter.target(np.ascontiguousarray(picture[:, ::-1]))
    together = inverter.invert([target, mirrored], schedule)
    apart = np.abs(together[0] - together[1]).mean()
    for alone, found in zip((target, mirrored), together, strict=True):
        # Adam divides a gradient by its own size: where that is hardly above rounding, steps differ by as much.
        assert np.abs(inverter.invert([alone], schedule)[0] - found).mean() < 0.02 * apart


def test_the_same_steps_give_the_same_styles(inverter: FaceInverter, picture: RGBImage) -> None:
    schedule = Schedule(FOR_EVER, steps=2)
    target = inverter.target(picture)
    np.testing.assert_array_equal(inverter.invert([target], schedule), inverter.invert([target], schedule))


def test_a_picture_without_a_face_is_refused_and_taken_as_it_is_where_that_is_wished(
    inverter: FaceInverter,
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (300, 200, 3)).astype(np.uint8)
    with pytest.raises(NoFace, match="no face"):
        inverter.target(noise)
    target = inverter.target(noise, align=False)
    assert target.chip.shape == (SIDE, SIDE, 3) and not target.aligned
    assert ((target.landmarks > 0) & (target.landmarks < SIDE)).all()


def test_a_picture_that_is_aligned_is_left_as_it_is(inverter: FaceInverter, picture: RGBImage) -> None:
    target = inverter.target(picture, align=False)
    np.testing.assert_array_equal(target.chip, picture)
    assert np.linalg.norm(target.landmarks - inverter.target(picture).landmarks, axis=1).max() < 15


# ---------------------------------------------------------------------------------------------------- its parts


def test_the_prior_makes_styles_independent_and_gives_them_back(models: ModelSettings) -> None:
    mapper = load_mapper(models, Compute())
    prior = LatentPrior.of(mapper)
    w = mapper.map(np.random.default_rng(9).standard_normal((1500, 512), dtype=np.float32))
    p = prior.to_p(torch.from_numpy(w))
    np.testing.assert_allclose(prior.to_w(p).numpy(), w, atol=1e-4)
    assert abs(float(p.square().mean()) - 1) < 0.1
    covariance = p.T @ p / len(p)
    assert float((covariance - torch.diag(covariance.diag())).abs().mean()) < 0.05
    np.testing.assert_allclose(prior.to_w(torch.zeros(1, 512))[0].numpy(), mapper.mean_w, atol=1e-5)


def test_previews_are_close_to_the_shrunken_picture(models: ModelSettings) -> None:
    generator = DifferentiableMobileStyleGan(*weights("mobilestylegan-generator").paths, torch.device("cpu"))
    assert generator.sides == (128, 256, 512)
    mapper = load_mapper(models, Compute())
    z = np.random.default_rng(3).standard_normal((1, 512), dtype=np.float32)
    w = torch.from_numpy(mapper.truncate(mapper.map(z), 0.7))[:, None].expand(-1, STYLES, -1)
    with torch.no_grad():
        picture = generator.picture(w, 512)
        for side in (128, 256):
            shrunken = torch.nn.functional.avg_pool2d(picture, 512 // side)
            error = (generator.picture(w, side) - shrunken).square().mean()
            assert 10 * float(torch.log10(4 / error)) > 22, f"{side} px, decibels"


def test_in_half_precision_pictures_are_off_by_thousandths() -> None:
    files = weights("mobilestylegan-generator").paths
    exact, rough = (
        DifferentiableMobileStyleGan(*files, torch.device("cpu"), precision)
        for precision in (torch.float32, torch.bfloat16)
    )
    w = 0.3 * torch.randn(1, STYLES, 512, generator=torch.Generator().manual_seed(0))
    for side in (128, 256):
        with torch.no_grad():
            apart = (rough.picture(w, side) - exact.picture(w, side)).abs()
        assert 0 < float(apart.mean()) < 0.003, f"{side} px"
    styles = w.clone().requires_grad_()
    rough.picture(styles, 128).square().sum().backward()
    assert styles.grad is not None and float(styles.grad.abs().sum()) > 0


@pytest.mark.skipif(platform.machine() != "x86_64", reason="oneDNN is told what an x86 processor can do")
def test_a_processor_that_cannot_multiply_in_half_precision_is_not_asked_to() -> None:
    program = (
        "import torch; from prosopon.models.generation.differentiable import quicker_precision; "
        "torch.set_num_threads(1); print(quicker_precision(torch.device('cpu')))"
    )
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    said = subprocess.run(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    assert said.stdout.strip() == "torch.float32"


def test_the_encoder_is_saved_and_loaded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = InversionEncoder().eval()
    save_encoder(network, "some generator", tmp_path / "encoder.npz")
    loaded, generator = load_encoder(tmp_path / "encoder.npz")
    pictures = torch.rand(2, 3, ENCODER_SIDE, ENCODER_SIDE) * 2 - 1
    with torch.no_grad():
        found = loaded(pictures)
        assert found.shape == (2, STYLES, 512)
        torch.testing.assert_close(found, network(pictures), atol=0.02, rtol=0.02)
    assert generator == "some generator"


def test_chips_for_the_identity_are_cut_where_opencv_cuts_them(picture: RGBImage) -> None:
    import cv2

    matrix = np.array([[0.5, 0.1, -60], [-0.1, 0.5, -20]], np.float32)
    expected = cv2.warpAffine(picture, matrix, (150, 150), borderMode=cv2.BORDER_REPLICATE).astype(float)
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
    grid = chip_grid([matrix], 512, 150)
    chip = torch.nn.functional.grid_sample(pixels, grid, align_corners=False, padding_mode="border")
    assert np.abs(chip[0].permute(1, 2, 0).numpy() - expected).mean() < 1


@pytest.mark.parametrize("name", [RETAIL, "dlib-resnet29", "prosopon-embedding"])
def test_an_identity_says_of_a_face_what_the_network_of_its_name_says(name: str, picture: RGBImage) -> None:
    """The network runs as ONNX, on whole numbers."""
    weights(name)
    identity = load_identity(model_settings(), torch.device("cpu"), [name])
    embedder = load_embedder(model_settings().model_copy(update={"overrides": {"embedder": name}}), Compute())
    size = identity.crop.size
    chips = np.stack([picture[:size, :size], picture[150 : 150 + size, 180 : 180 + size]])
    with torch.no_grad():
        *features, found = identity.stages(from_pixels(chips))
    # What retail-0095 embeds is without what strangers share.
    wanted = embedder.raw(chips) if isinstance(embedder, RetailReidentification) else embedder.embed(chips)
    if name != "dlib-resnet29":
        wanted = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(found.numpy(), wanted, atol=2e-3)
    sides = [feature.shape[-1] for feature in features]
    assert len(sides) == 3 and sides == sorted(sides, reverse=True)


def test_the_identity_of_the_default_embedder_is_preferred_and_ours_is_always_here(tmp_path: Path) -> None:
    weights(RETAIL)
    assert load_identity(model_settings(), torch.device("cpu")).name == RETAIL
    empty = ModelSettings(directory=tmp_path, mirror=None)
    assert not inverts(empty), "there is no generator"
    assert load_identity(empty, torch.device("cpu")).name == "prosopon-embedding"
    with pytest.raises(ModelUnavailable, match="dlib"):
        load_identity(empty, torch.device("cpu"), ["dlib-resnet29"])
