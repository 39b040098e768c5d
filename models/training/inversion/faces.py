"""Random faces of pack `open`'s generator: styles of several truncations, one half of them mixed of two."""

from pathlib import Path

import numpy as np

from prosopon.configs.settings import ModelSettings, Role
from prosopon.models.faces.detections import Float32
from prosopon.models.generation.mobile_stylegan import MobileStyleGan, MobileStyleGanMapper
from prosopon.models.generation.mobile_stylegan_network import Synthesis, load_synthesis
from prosopon.models.inversion.encoder import GROUPS
from prosopon.models.runtime.fingerprint import fingerprint
from prosopon.models.runtime.session import Compute
from prosopon.models.weights.registry import resolve

PSI = (0.5, 1.0)
MIXED = 0.5


class RandomStyles:
    """Groups of styles ``(N, 4, 512)`` float32; the same seed gives the same ones."""

    def __init__(self, seed: int) -> None:
        self._mapper = MobileStyleGanMapper(*_files("mapper"), Compute())
        self._random = np.random.default_rng(seed)
        self.mean_w = self._mapper.mean_w

    def draw(self, count: int) -> Float32:
        z = self._random.standard_normal((2 * count, 512)).astype(np.float32)
        psi = self._random.uniform(*PSI, (2 * count, 1)).astype(np.float32)
        w = (self.mean_w + psi * (self._mapper.map(z) - self.mean_w)).reshape(count, 2, 512)
        groups = np.repeat(w[:, :1], len(GROUPS), axis=1)
        for row in range(count):
            if self._random.random() < MIXED:
                first = self._random.integers(1, len(GROUPS))
                groups[row, first:] = w[row, 1]
        return groups


def _files(role: Role) -> tuple[Path, Path]:
    xml, weights = resolve(ModelSettings(), role).paths
    return xml, weights


def layered(groups: Float32) -> Float32:
    """``(N, 4, 512)`` to w+ ``(N, 23, 512)``."""
    return np.repeat(groups, [end - first for first, end in GROUPS], axis=1)


def generator() -> tuple[Synthesis, str]:
    """The synthesis network at 512 px, of which previews are parts, and its fingerprint."""
    files = _files("generator")
    name = fingerprint(MobileStyleGan.name, MobileStyleGan.preprocessing, *files)
    return load_synthesis(*files, 512).eval(), name
