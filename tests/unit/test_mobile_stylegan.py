"""MobileStyleGAN: agreement with OpenVINO, w and w+, half resolution, truncation, and bad latents."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from prosopon.configs.settings import PlanName
from prosopon.models.generation.mobile_stylegan import (
    MobileStyleGan,
    MobileStyleGanMapper,
    MobileStyleGanPyramid,
    to_pixels,
)
from prosopon.models.generation.mobile_stylegan_network import inverse_haar, load_synthesis
from prosopon.models.generation.mobile_stylegan_shape import STYLES
from prosopon.models.runtime.openvino_network import computes_bfloat16, core
from prosopon.models.runtime.plans import DEFAULT
from prosopon.models.runtime.session import Compute
from tests.faces import detector
from tests.weights import weights

GOLDEN = np.load(Path(__file__).with_name("openvino_golden.npz"))


@pytest.fixture(scope="module")
def mapper() -> MobileStyleGanMapper:
    return MobileStyleGanMapper(*weights("mobilestylegan-mapper").paths, Compute())


@pytest.fixture(scope="module")
def generator() -> MobileStyleGan:
    return MobileStyleGan(*weights("mobilestylegan-generator").paths, Compute(plan=DEFAULT), 1024)


def faces(mapper: MobileStyleGanMapper, seed: int, count: int, psi: float = 0.7) -> np.ndarray:
    z = np.random.default_rng(seed).standard_normal((count, 512), dtype=np.float32)
    return mapper.truncate(mapper.map(z), psi)


def test_pictures_agree_with_openvino(generator: MobileStyleGan) -> None:
    image = generator.synthesise(GOLDEN["w"][None])[0]
    assert image.shape == (3, 1024, 1024) and image.dtype == np.float32
    np.testing.assert_allclose(image[:, ::16, ::16], GOLDEN["image"], atol=1e-4)


def test_in_bfloat16_a_picture_differs_less_than_by_a_good_jpeg(mapper, generator) -> None:
    if not computes_bfloat16():
        pytest.skip("this processor does not compute in bfloat16")
    halved = Compute(plan="openvino/bfloat16")
    quick = MobileStyleGan(*weights("mobilestylegan-generator").paths, halved, 1024)
    w = faces(mapper, 4, 1)
    full = generator.generate(w)[0]
    _, file = cv2.imencode(".jpg", full, [cv2.IMWRITE_JPEG_QUALITY, 95])
    assert cv2.PSNR(full, quick.generate(w)[0]) > cv2.PSNR(full, cv2.imdecode(file, cv2.IMREAD_COLOR)) + 1


@pytest.mark.parametrize("plan", [DEFAULT, "openvino/float32"])
def test_both_resolutions_come_of_one_picture(mapper, generator, plan: PlanName) -> None:
    """As the whole network makes it, whichever networks there are."""
    if plan != DEFAULT and core() is None:
        pytest.skip("OpenVINO is not here")
    pyramid = MobileStyleGanPyramid(*weights("mobilestylegan-generator").paths, Compute(plan=plan))
    w = np.broadcast_to(faces(mapper, 5, 2)[:, None], (2, 23, 512))
    whole = generator.synthesise(w)
    halves = to_pixels(whole.reshape(2, 3, 512, 2, 512, 2).mean(axis=(3, 5)))
    for resolution, expected in ((1024, to_pixels(whole)), (512, halves)):
        made = pyramid.generate(w, resolution)
        assert made.shape == expected.shape and made.dtype == np.uint8
        assert np.abs(made.astype(int) - expected).max() <= 1


def test_half_the_resolution_is_the_mean_of_four_pixels(mapper, generator) -> None:
    half = MobileStyleGan(*weights("mobilestylegan-generator").paths, Compute(plan=DEFAULT), 512)
    w = faces(mapper, 1, 1)
    expected = generator.synthesise(w).reshape(1, 3, 512, 2, 512, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(half.synthesise(w), expected, atol=1e-5)


def test_the_inverse_haar_transform_inverts_the_transform() -> None:
    picture = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 2, 4, 6), dtype=np.float32))
    a, b = picture[..., ::2, ::2], picture[..., ::2, 1::2]
    c, d = picture[..., 1::2, ::2], picture[..., 1::2, 1::2]
    bands = torch.cat([a + b + c + d, a + b - c - d, a - b + c - d, a - b - c + d], dim=1) / 4
    torch.testing.assert_close(inverse_haar(bands), picture)


def test_equal_styles_give_what_one_style_gives_and_each_style_counts(mapper, generator) -> None:
    w = faces(mapper, 2, 2)
    plus = np.repeat(w[:1, None], STYLES, axis=1)
    image = generator.synthesise(w[:1])
    np.testing.assert_allclose(generator.synthesise(plus), image, atol=1e-6)
    coarse, fine = plus.copy(), plus.copy()
    coarse[:, :6] = w[1]
    fine[:, -6:] = w[1]
    changed = [np.abs(generator.synthesise(mixed) - image).mean() for mixed in (coarse, fine)]
    assert min(changed) > 0.01


def test_a_batch_gives_what_single_pictures_give(mapper, generator) -> None:
    w = faces(mapper, 3, 2)
    together = generator.synthesise(w)
    for i in range(2):
        np.testing.assert_allclose(generator.synthesise(w[i : i + 1])[0], together[i], atol=1e-5)


def test_pictures_are_faces(mapper, generator) -> None:
    for picture in generator.generate(faces(mapper, 4, 3)):
        assert picture.shape == (1024, 1024, 3) and picture.dtype == np.uint8
        found = detector().detect([cv2.resize(picture, (512, 512), interpolation=cv2.INTER_AREA)], 0.5)[0]
        assert len(found) >= 1
        left, top, right, bottom = found.largest_first().boxes[0]
        assert left < 256 < right and top < 300 < bottom


def test_the_mean_is_the_mean_and_truncation_moves_towards_it(mapper) -> None:
    w = faces(mapper, 5, 4096, psi=1)
    spread = w.std(axis=0).mean()
    assert np.abs(w.mean(axis=0) - mapper.mean_w).mean() < 0.05 * spread
    np.testing.assert_array_equal(mapper.truncate(w, 0), np.broadcast_to(mapper.mean_w, w.shape))
    again = MobileStyleGanMapper(*weights("mobilestylegan-mapper").paths, Compute())
    np.testing.assert_array_equal(again.mean_w, mapper.mean_w)


@pytest.mark.parametrize(
    "w",
    [np.zeros((1, 511)), np.zeros((1, 22, 512)), np.zeros(512), np.full((1, 512), np.nan)],
    ids=["short", "styles", "flat", "nan"],
)
def test_styles_that_are_none_are_refused(generator, w: np.ndarray) -> None:
    with pytest.raises(ValueError):
        generator.synthesise(w.astype(np.float32))


def test_gradients_reach_every_style() -> None:
    network = load_synthesis(*weights("mobilestylegan-generator").paths, 512)
    w = torch.from_numpy(np.repeat(GOLDEN["w"][None, None], STYLES, axis=1)).requires_grad_()
    network(w).square().mean().backward()
    assert w.grad is not None and (w.grad.abs().amax(dim=-1) > 0).all()


def test_pixels_are_rounded_and_clipped() -> None:
    levels = np.array([-2, -1, 0, 1, 2], np.float32).reshape(1, 1, 1, 5).repeat(3, axis=1)
    assert to_pixels(levels)[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255]
