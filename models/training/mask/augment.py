"""Random changes of whole batches of chips, on tensors."""

import torch
import torch.nn.functional as F
from torch import Tensor

from prosopon.models.faces.attributes.mask import CROP
from prosopon.models.training.mask.dataset import STORED
from prosopon.models.training.mask.render import Wear


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


def ended(chips: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Black outside a rectangle around the face, as chips are whose picture ends there; stored chips.

    That must tell nothing, least of all under the chin. A mask worn incorrectly, on the chin or the forehead, stays
    in the picture. The bounds are in pixels of `STORED`: eyes at 33, mouth at 53, chin at about 68.
    """
    count, _, height, width = chips.shape
    wrong = labels == Wear.INCORRECT
    lowest = torch.where(wrong, 67.0, 56.0)
    highest = torch.where(wrong, 17.0, 27.0)
    top = highest - _uniform(generator, count, 0, 20)
    bottom = lowest + _uniform(generator, count, 0, 20)
    left = 27 - _uniform(generator, count, 0, 26)
    right = 53 + _uniform(generator, count, 0, 26)
    ys, xs = torch.arange(height).view(1, 1, -1, 1), torch.arange(width).view(1, 1, 1, -1)
    top, bottom, left, right = (side.view(-1, 1, 1, 1) for side in (top, bottom, left, right))
    inside = (ys >= top) & (ys <= bottom) & (xs >= left) & (xs <= right)
    return torch.where(inside | ~_some(generator, count, 0.45), chips, torch.zeros(()))


def relit(chips: Tensor, generator: torch.Generator) -> Tensor:
    """Other exposure, contrast, colour of light and saturation; 0..255. What is outside the picture stays black."""
    count = len(chips)
    within = chips.amax(dim=1, keepdim=True) > 0
    grey = chips.mean(dim=1, keepdim=True)
    saturation = _uniform(generator, count, 0.3, 1.5).view(-1, 1, 1, 1)
    saturation = torch.where(_some(generator, count, 0.08), torch.zeros(()), saturation)
    chips = grey + saturation * (chips - grey)
    mean = chips.mean(dim=(1, 2, 3), keepdim=True)
    contrast = torch.exp(_uniform(generator, count, -0.45, 0.4)).view(-1, 1, 1, 1)
    gain = torch.exp(_uniform(generator, count, -0.4, 0.4)).view(-1, 1, 1, 1)
    light = torch.exp(torch.randn(count, 3, 1, 1, generator=generator) * 0.1)
    chips = ((chips - mean) * contrast + mean) * (gain * light)
    return chips.clamp(0, 255) * within


def worn(chips: Tensor, generator: torch.Generator) -> Tensor:
    """Blur, noise and small things in front."""
    count, _, height, width = chips.shape
    chips = chips.clone()
    for share, reach in ((0.2, 1), (0.07, 2)):
        blurred = torch.rand(count, generator=generator) < share
        wide = F.pad(chips[blurred], (reach,) * 4, mode="replicate")
        chips[blurred] = F.avg_pool2d(wide, 2 * reach + 1, 1)
    noisy = torch.rand(count, generator=generator) < 0.3
    strength = _uniform(generator, int(noisy.sum()), 0, 14).view(-1, 1, 1, 1)
    chips[noisy] += torch.randn(chips[noisy].shape, generator=generator) * strength
    ys, xs = torch.arange(height).view(1, 1, -1, 1), torch.arange(width).view(1, 1, 1, -1)
    center_y = _uniform(generator, count, 0, height).view(-1, 1, 1, 1)
    center_x = _uniform(generator, count, 0, width).view(-1, 1, 1, 1)
    half = _uniform(generator, count, 2, 8).view(-1, 1, 1, 1)
    patch = ((ys - center_y).abs() < half) & ((xs - center_x).abs() < half) & _some(generator, count, 0.25)
    paint = torch.rand(count, 3, 1, 1, generator=generator) * 255
    return torch.where(patch, paint, chips).clamp(0, 255)


def augment(chips: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """``(N, 3, 80, 80)`` float32 0..255 to ``(N, 3, 64, 64)``. labels: ``(N,)`` int64."""
    return worn(relit(moved(ended(chips, labels, generator), generator), generator), generator)
