"""What half precision, which only cards use in service, does to pictures; computed on the CPU."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from prosopon.models.convert.stylegan2_pickle import read_generator
from prosopon.models.generation.mobile_stylegan import MobileStyleGanMapper
from prosopon.models.generation.mobile_stylegan_network import load_synthesis, on_card
from prosopon.models.generation.mobile_stylegan_previews import HEADS, load_previews
from prosopon.models.generation.mobile_stylegan_shape import STYLES
from prosopon.models.generation.stylegan2_network import synthesis_of
from prosopon.models.runtime.session import Compute
from tests.unit.test_stylegan2 import (
    generator_of,
    nvidia,  # noqa: F401  # The fixture that lets a test write NVIDIA's format.
    write,
)
from tests.weights import weights


def styles() -> np.ndarray:
    """w+ of two faces; the first is truncated."""
    mapper = MobileStyleGanMapper(*weights("mobilestylegan-mapper").paths, Compute())
    w = mapper.map(np.random.default_rng(0).standard_normal((2, 512), dtype=np.float32))
    w[0] = mapper.truncate(w[0], 0.7)
    return np.repeat(w[:, None], STYLES, axis=1)


def rounded(_: nn.Module, __: object, output: Tensor) -> Tensor:
    return output.half().float()


def test_mobile_stylegan_loses_less_than_a_level_of_eight_bits() -> None:
    """As a card computes it: weights and features in half precision, sums in single precision."""
    network = load_synthesis(*weights("mobilestylegan-generator").paths, 512).eval()
    w = torch.from_numpy(styles()[1:])
    with torch.inference_mode():
        exact = network(w)
        for parameter in network.parameters():
            parameter.copy_(parameter.half().float())
        for module in network.modules():
            module.register_forward_hook(rounded)
        halved = network(w)
    difference = (halved - exact).abs() * 127.5
    assert bool(torch.isfinite(halved).all())
    assert float(difference.mean()) < 0.5 and float(difference.max()) < 12, "levels of 255"


def test_the_cards_code_runs_in_half_precision() -> None:
    """On the first levels of the network: on a CPU all of it would take minutes."""
    network = load_synthesis(*weights("mobilestylegan-generator").paths, 512)
    with np.load(HEADS, allow_pickle=False) as saved:
        generator = str(saved["generator"])
    preview = load_previews(network, generator)[64]
    w = styles()[:1]
    with torch.inference_mode():
        exact = preview(torch.from_numpy(w)).numpy()
    made = on_card(preview, torch.device("cpu"))(w)
    assert next(preview.parameters()).dtype == torch.float16 and made.dtype == np.float32
    assert np.abs(made - exact).mean() * 127.5 < 0.5


def test_stylegan2s_last_blocks_in_half_precision_make_the_same_picture(tmp_path: Path) -> None:
    network = synthesis_of(read_generator(write(tmp_path / "network.pkl", generator_of(0))))
    w = torch.randn(3, network.styles, 512, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        exact = network(w)
        halved = network.halve_precision(2)(w)
    assert halved.dtype == torch.float32
    assert not torch.equal(halved, exact)
    assert float((halved - exact).abs().mean()) < 0.005 * float(exact.abs().mean() + 1)


def test_half_precision_does_not_overflow_where_styles_are_large(tmp_path: Path) -> None:
    network = synthesis_of(read_generator(write(tmp_path / "network.pkl", generator_of(0)))).halve_precision(
        9
    )
    w = 300 * torch.randn(2, network.styles, 512, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert bool(torch.isfinite(network(w)).all())
