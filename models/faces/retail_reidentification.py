"""face-reidentification-retail-0095 of Intel's Open Model Zoo: a 256-d embedding by a MobileNet V2."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prosopon.models.convert.openvino_ir import read, to_onnx
from prosopon.models.faces.detections import Float32
from prosopon.models.matching.vectors import normalize
from prosopon.models.pictures.crops import CropSpec
from prosopon.models.roles import Chips
from prosopon.models.runtime.fingerprint import fingerprint
from prosopon.models.runtime.prepared import prepare
from prosopon.models.runtime.session import Compute, create_session, run

SIZE = 128

# Open Model Zoo, documentation of the model: reference landmarks as shares of the picture's sides.
REFERENCE = (
    (0.31556875, 0.46157410),
    (0.68262292, 0.45983393),
    (0.50026250, 0.64050536),
    (0.34947187, 0.82469196),
    (0.65343645, 0.82325089),
)
_LEFT_EYE, _RIGHT_EYE, _NOSE, _LEFT_MOUTH, _RIGHT_MOUTH = ((x * SIZE, y * SIZE) for x, y in REFERENCE)


_WEIGHTS = Path(__file__).parent.parent / "weights"
DIRECTIONS, EVEN = _WEIGHTS / "retail_directions.npz", _WEIGHTS / "retail_even.npz"
"""Made by `python -m prosopon.models.training.embedding.directions`; the first by an earlier one."""


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """What embeddings of strangers have in common, and of strangers of one race, sex and age above all.

    mean: ``(D,)``; matrix: ``(D, D)``, by which rows are multiplied once the mean is away.
    """

    mean: Float32
    matrix: Float32

    @classmethod
    def of(cls, mean: Float32, directions: Float32) -> "Shared":
        """directions: ``(K, D)``, orthonormal, which are taken out; the others stay as they are."""
        rest = np.eye(len(mean), dtype=np.float32) - directions.T @ directions
        return cls(mean, rest.astype(np.float32))

    def remove(self, embeddings: Float32) -> Float32:
        """Unit embeddings ``(N, D)`` to unit vectors ``(N, D)`` without it: a linear map, and the unit norm again."""
        rest = (embeddings - self.mean) @ self.matrix
        return normalize(rest.astype(np.float32, copy=False))

    def save(self, path: Path) -> None:
        np.savez(path, mean=self.mean.astype(np.float16), matrix=self.matrix.astype(np.float16))

    @classmethod
    def load(cls, path: Path) -> "Shared":
        with np.load(path) as arrays:
            mean = arrays["mean"].astype(np.float32)
            if "directions" in arrays:
                return cls.of(mean, arrays["directions"].astype(np.float32))
            return cls(mean, arrays["matrix"].astype(np.float32))


class RetailReidentification:
    """``(N, 3, 128, 128)`` float32 BGR 0..255 to ``(N, 256, 1, 1)``; compared by cosine.

    Its embeddings tell groups of people apart too, which makes strangers of one group alike: `embed` takes out what
    they share (`models/weights/RETAIL_DIRECTIONS.md`).
    """

    name = "face-reidentification-retail-0095"
    crop = CropSpec(SIZE, (_LEFT_EYE, _RIGHT_EYE, _NOSE, _LEFT_MOUTH, _RIGHT_MOUTH))
    dim = 256
    preprocessing = 2
    shared = DIRECTIONS

    def __init__(self, xml: Path, weights: Path, compute: Compute) -> None:
        """xml, weights: the graph and the tensors of the IR. Raises `models.convert.openvino_ir.IrError`."""
        self.fingerprint = fingerprint(self.name, self.preprocessing, xml, weights, self.shared)
        self._shared = Shared.load(self.shared)
        model = prepare([xml, weights], "onnx", 1, lambda: to_onnx(read(xml, weights)))
        self._session = create_session(model, compute)

    def embed(self, chips: Chips) -> Float32:
        """chips ``(N, 128, 128, 3)`` uint8 RGB, cut as `crop` says, to ``(N, 256)`` float32 of unit norm."""
        return self._shared.remove(normalize(self.raw(chips)))

    def raw(self, chips: Chips) -> Float32:
        """As `embed`, what the network itself says: ``(N, 256)`` float32 of any norm."""
        if not len(chips):
            return np.empty((0, self.dim), np.float32)
        batch = np.ascontiguousarray(chips[..., ::-1].transpose(0, 3, 1, 2), dtype=np.float32)
        return run(self._session, batch)[0].reshape(len(chips), self.dim)


class EvenRetail(RetailReidentification):
    """The same network with another map (`models/weights/RETAIL_EVEN.md`): more of what groups share is taken out, and
    directions in which pictures of one person differ count less."""

    name = "retail-0095-even"
    preprocessing = 1
    shared = EVEN
