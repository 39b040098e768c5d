"""Random changes of whole batches of chips, on tensors."""

import torch
import torch.nn.functional as F
from torch import Tensor

from models.mask import CROP
from models.mask_training.dataset import STORED


def _uniform(generator: torch.Generator, count: int, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def _some(generator: torch.Generator, count: int, share: float) -> Tensor:
    """``(N, 1, 1, 1)`` bool."""
    return (torch.rand(count, generator=generator) < share).view(-1, 1, 1, 1)


def middle(chips: Tensor) -> Tensor:
    """``(N, 3, 80, 80)`` stored chips to the ``(N, 3, 64, 64)`` in their middle, which serving would cut."""
    margin = (STORED.size - CROP.size) // 2
    return chips[..., margin : margin + CROP.size, margin : margin + CROP.size]


def moved(chips: Tensor, generator: torch.Generator) -> Tensor:
    """Turned, shifted, scaled, stretched, mirrored and seen from a little aside; ``(N, 3, 64, 64)``.

    A detector guesses the mouth behind a mask, so chips are cut too high, too low, too small or askew.
    """
    count = len(chips)
    turn = _uniform(generator, count, -0.3, 0.3) * _uniform(generator, count, 0, 1)
    zoom = (CROP.size / STORED.size) * torch.exp(_uniform(generator, count, -0.16, 0.16))
    stretch = torch.exp(_uniform(generator, count, -0.1, 0.1))
    mirror = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    shift_x = _uniform(generator, count, -0.1, 0.1)
    shift_y = _uniform(generator, count, -0.13, 0.13)
    rows = [
        torch.stack([zoom * stretch * turn.cos() * mirror, -zoom * turn.sin(), shift_x], dim=1),
        torch.stack([zoom * turn.sin() * mirror, zoom / stretch * turn.cos(), shift_y], dim=1),
    ]
    grid = F.affine_grid(torch.stack(rows, dim=1), [count, 3, CROP.size, CROP.size], align_corners=False)
    # A head turned aside: one half of the face is pressed together, the other stretched.
    aside = torch.randn(count, generator=generator).clamp(-2, 2).view(-1, 1, 1) * 0.12
    x = grid[..., 0]
    grid = torch.stack([x + aside * (1 - x.clamp(-1, 1) ** 2), grid[..., 1]], dim=-1)
    padding = "zeros" if torch.rand(1, generator=generator) < 0.5 else "border"
    return F.grid_sample(chips, grid, padding_mode=padding, align_corners=False)


def relit(chips: Tensor, generator: torch.Generator) -> Tensor:
    """Other exposure, contrast, colour of light, saturation and gamma; 0..255."""
    count = len(chips)
    grey = chips.mean(dim=1, keepdim=True)
    saturation = _uniform(generator, count, 0.3, 1.5).view(-1, 1, 1, 1)
    saturation = torch.where(_some(generator, count, 0.08), torch.zeros(()), saturation)
    chips = grey + saturation * (chips - grey)
    mean = chips.mean(dim=(1, 2, 3), keepdim=True)
    contrast = torch.exp(_uniform(generator, count, -0.45, 0.4)).view(-1, 1, 1, 1)
    gain = torch.exp(_uniform(generator, count, -0.4, 0.4)).view(-1, 1, 1, 1)
    light = torch.exp(torch.randn(count, 3, 1, 1, generator=generator) * 0.1)
    chips = ((chips - mean) * contrast + mean) * gain * light
    gamma = torch.exp(_uniform(generator, count, -0.3, 0.3)).view(-1, 1, 1, 1)
    return (chips.clamp(0, 255) / 255) ** gamma * 255


def worn(chips: Tensor, generator: torch.Generator) -> Tensor:
    """Blur, noise and small things in front."""
    count, _, height, width = chips.shape
    soft = F.avg_pool2d(F.pad(chips, (1, 1, 1, 1), mode="replicate"), 3, 1)
    softer = F.avg_pool2d(F.pad(soft, (2, 2, 2, 2), mode="replicate"), 5, 1)
    chips = torch.where(_some(generator, count, 0.2), soft, chips)
    chips = torch.where(_some(generator, count, 0.07), softer, chips)
    strength = _uniform(generator, count, 0, 14).view(-1, 1, 1, 1)
    noise = torch.randn(chips.shape, generator=generator) * strength
    chips = torch.where(_some(generator, count, 0.3), chips + noise, chips)
    ys, xs = torch.arange(height).view(1, 1, -1, 1), torch.arange(width).view(1, 1, 1, -1)
    center_y = _uniform(generator, count, 0, height).view(-1, 1, 1, 1)
    center_x = _uniform(generator, count, 0, width).view(-1, 1, 1, 1)
    half = _uniform(generator, count, 2, 8).view(-1, 1, 1, 1)
    patch = ((ys - center_y).abs() < half) & ((xs - center_x).abs() < half) & _some(generator, count, 0.25)
    paint = torch.rand(count, 3, 1, 1, generator=generator) * 255
    return torch.where(patch, paint, chips).clamp(0, 255)


def augment(chips: Tensor, generator: torch.Generator) -> Tensor:
    """``(N, 3, 80, 80)`` float32 0..255 to ``(N, 3, 64, 64)``."""
    return worn(relit(moved(chips, generator), generator), generator)
