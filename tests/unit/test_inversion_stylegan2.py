"""Inversion with an operator's own StyleGAN2, for which there is no encoder."""

from pathlib import Path

import numpy as np
import torch

from prosopon.configs.settings import DetectionSettings
from prosopon.models.generation.differentiable import DifferentiableStyleGan2
from prosopon.models.generation.latents import Latent
from prosopon.models.generation.stylegan2 import StyleGan2
from prosopon.models.inversion.face_inverter import FaceInverter
from prosopon.models.inversion.target import Schedule
from prosopon.models.runtime.session import Compute
from tests.unit.test_stylegan2 import (
    generator_of,
    nvidia,  # noqa: F401  # The fixture that lets a test write NVIDIA's format.
    write,
)
from tests.weights import model_settings, weights


def test_an_operators_own_stylegan2_is_inverted_from_its_mean(tmp_path: Path) -> None:
    file = write(tmp_path / "network.pkl", generator_of(0))
    for name in ("centerface", "mediapipe-face-mesh", "face-reidentification-retail-0095"):
        weights(name)
    own = model_settings().model_copy(update={"overrides": {"generator": str(file)}})
    inverter = FaceInverter(own, DetectionSettings(), Compute())
    layers = len(StyleGan2(file, Compute()).layer_resolutions)
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    target = inverter.target(noise, align=False)
    assert float(inverter.guess([target]).abs().max()) == 0, "the encoder knows another generator"
    found = inverter.invert([target], Schedule(1e6, steps=8))
    assert found.shape == (1, layers, 512)
    assert Latent(found[0].astype(np.float64)).layers == layers


def test_stylegan2_makes_its_smaller_pictures_without_the_larger(tmp_path: Path) -> None:
    file = write(tmp_path / "network.pkl", generator_of(0))
    generator = DifferentiableStyleGan2(file, torch.device("cpu"))
    assert generator.fingerprint == StyleGan2(file, Compute()).fingerprint
    w = torch.randn(1, generator.layers, 512, generator=torch.Generator().manual_seed(1))
    for side in generator.sides:
        assert generator.picture(w, side).shape == (1, 3, side, side)
    served = StyleGan2(file, Compute()).synthesise(w.numpy())
    np.testing.assert_allclose(generator.picture(w, generator.sides[-1]).numpy(), served, atol=1e-4)
