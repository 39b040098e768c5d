"""What MobileStyleGAN's wavelet pyramid gives for small pictures, against shrinking the 1024 px one.

    python -m tests.benchmarks.pyramid

512 px is the network's own low band. Below, the published network has no output: the best that can be had without
training is a linear head on the features of that level, fitted here by least squares to the shrunken pictures and
judged on faces that the fit has not seen.
"""

import time

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from prosopon.configs.settings import ModelSettings
from prosopon.models.generation.mobile_stylegan import MobileStyleGan, MobileStyleGanMapper
from prosopon.models.generation.mobile_stylegan_network import Synthesis, load_synthesis
from prosopon.models.generation.mobile_stylegan_shape import RESOLUTION, STYLES
from prosopon.models.runtime.session import Compute
from prosopon.models.weights.registry import resolve

FITTED, JUDGED = 18, 6
PSI = 0.7
_SAMPLES = 3000
"""Pixels of each face that enter the fit."""


def styles(count: int) -> Tensor:
    """``(count, 23, 512)``: those of random faces."""
    mapper = MobileStyleGanMapper(*resolve(ModelSettings(), "mapper").paths, Compute())
    z = np.random.default_rng(1).standard_normal((count, 512), dtype=np.float32)
    w = torch.from_numpy(mapper.truncate(mapper.map(z), PSI))
    return w[:, None].expand(-1, STYLES, -1)


def features(network: Synthesis, w: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """The features that the next level is made of, ``(1, C, side, side)``, and the picture, both of one face."""
    x = network.first(network.constant, w[:, 0])
    found = x
    for number, level in enumerate(network.levels):
        if x.shape[-1] == side:
            found = x * level.up(w[:, 3 * number + 1])  # type: ignore[operator]
        x = level(x, w[:, 3 * number + 1 : 3 * number + 4])
    x = x * network.style(w[:, STYLES - 1])
    return found, functional.conv2d(x, network.weight[:3], network.bias[:3])


def neighbourhoods(x: Tensor) -> Tensor:
    """3x3 pixels of every channel, and one: ``(9 C + 1, pixels)``."""
    unfolded = functional.unfold(x, 3, padding=1)[0]
    return torch.cat([unfolded, torch.ones(1, unfolded.shape[1])])


def psnr(a: Tensor, b: Tensor) -> float:
    """Decibels, of pictures in -1..1."""
    return float(10 * torch.log10(4 / (a - b).square().mean()))


@torch.inference_mode()
def linear_head(network: Synthesis, w: Tensor, side: int) -> list[float]:
    """PSNR of each judged face."""
    chooser = torch.Generator().manual_seed(0)
    gram, target = torch.zeros(0), torch.zeros(0)
    for row in range(FITTED):
        x, picture = features(network, w[row : row + 1], side)
        inputs = neighbourhoods(x)
        chosen = torch.randint(0, inputs.shape[1], (_SAMPLES,), generator=chooser)
        wanted = functional.avg_pool2d(picture, picture.shape[-1] // side).reshape(3, -1)[:, chosen]
        inputs = inputs[:, chosen]
        products = ((inputs @ inputs.T).double(), (inputs @ wanted.T).double())
        gram, target = products if not row else (gram + products[0], target + products[1])
    ridge = 1e-6 * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
    head = torch.linalg.solve(gram + ridge, target).float()
    found = []
    for row in range(FITTED, FITTED + JUDGED):
        x, picture = features(network, w[row : row + 1], side)
        made = (head.T @ neighbourhoods(x)).reshape(1, 3, side, side)
        found.append(psnr(made, functional.avg_pool2d(picture, picture.shape[-1] // side)))
    return found


def main() -> None:
    torch.set_num_threads(1)
    weights = resolve(ModelSettings(), "generator").paths
    w = styles(FITTED + JUDGED)
    whole, half = (MobileStyleGan(*weights, Compute(), side) for side in (RESOLUTION, RESOLUTION // 2))
    one = w[:1].numpy()
    shrunk = functional.avg_pool2d(torch.from_numpy(whole.synthesise(one)), 2)
    error = float((shrunk - torch.from_numpy(half.synthesise(one))).abs().max())
    times: dict[int, list[float]] = {1024: [], 512: []}
    for _ in range(5):
        for side, network in ((1024, whole), (512, half)):
            start = time.perf_counter()
            network.generate(one)
            times[side].append(time.perf_counter() - start)
    full, low = (float(np.median(times[side])) for side in (1024, 512))
    print(f"512 px: {error:.1e} from 2x2 means of 1024 px at most, in {low / full:.2f} of the time")
    synthesis = load_synthesis(*weights, RESOLUTION // 2)
    for side in (256, 128):
        decibels = linear_head(synthesis, w, side)
        print(f"{side} px by a linear head: {np.mean(decibels):.1f} dB mean, {min(decibels):.1f} dB worst")
    print(
        "heads below 512 px differ from the shrunk picture as printed: there the half-resolution network is computed"
    )


if __name__ == "__main__":
    main()
