from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image

from prosopon.configs.settings import DetectionSettings
from prosopon.models.faces.centerface import CenterFace
from prosopon.models.faces.detections import RGBImage
from prosopon.models.runtime.session import Compute
from prosopon.models.training.liveness.attacks import KINDS, grid, take
from prosopon.models.training.liveness.sources import Source, around
from prosopon.models.training.liveness.train import augment
from tests.paths import DATA, require
from tests.weights import weights


@cache
def detector() -> CenterFace:
    return CenterFace(weights("centerface").path, Compute(), DetectionSettings())


@cache
def people() -> tuple[Source, ...]:
    found = []
    for path in sorted(require(DATA / "faker").glob("*.jpg"))[:6]:
        picture = np.asarray(Image.open(path).convert("RGB"))
        found.append(around(picture, detector().detect([picture], 0.6)[0].boxes[0], out=False))
    return tuple(found)


def scenes() -> list[RGBImage]:
    rng = np.random.default_rng(5)
    return [np.full((480, 480, 3), rng.integers(0, 256, 3), np.uint8) for _ in range(4)]


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    both = float(np.maximum(high - low, 0).prod())
    return both / float((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod() - both)


@pytest.mark.parametrize("kind", KINDS)
def test_the_box_is_where_a_detector_finds_the_face(kind: str) -> None:
    rng = np.random.default_rng(3)
    overlaps = []
    for turn in range(12):
        taken = take(rng, kind, people()[turn % 6], scenes(), people())
        found = detector().detect([taken.pixels], 0.3)[0]
        overlaps.append(max((overlap(taken.box, box) for box in found.boxes), default=0.0))
    assert np.mean(np.array(overlaps) > 0.5) >= 0.75, overlaps


@pytest.mark.parametrize(("period", "waves"), [(0.9, 9.0), (1.25, 5.0), (0.64, 2.285714), (8.0, 8.0)])
def test_two_grids_beat_as_optics_says(period: float, waves: float) -> None:
    """Stripes of period p under pixels of period 1 show as waves whose frequency is that of 1/p to a whole number."""
    columns, rows = np.meshgrid(np.arange(720, dtype=np.float32), np.arange(8, dtype=np.float32))
    seen = grid(np.full((8, 720, 3), 0.5, np.float32), columns, rows, period, strength=0.3)
    spectrum = np.abs(np.fft.rfft(seen[0, :, 1] - seen[0, :, 1].mean()))
    assert 720 / int(spectrum.argmax()) == pytest.approx(waves, rel=0.01)


def test_live_pictures_are_hazy_twice_as_often_as_attacks() -> None:
    black = torch.zeros(4000, 3, 8, 8)
    live = torch.arange(4000) % 2 == 0
    changed, _ = augment(black, black, live, torch.Generator().manual_seed(1))
    assert changed.shape == black.shape and float(changed.min()) >= 0 and float(changed.max()) <= 255
    lifted = (
        changed.median(dim=3).values.median(dim=2).values.amin(dim=1) > 45
    )  # No contrast lifts black as far.
    assert float(lifted[live].float().mean()) == pytest.approx(
        2 * float(lifted[~live].float().mean()), rel=0.25
    )
