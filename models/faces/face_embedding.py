"""A 256-d embedding of our own, see `models/weights/FACE_EMBEDDING.md`."""

from pathlib import Path

import numpy as np

from prosopon.models.faces.detections import Float32
from prosopon.models.faces.retail_reidentification import RetailReidentification
from prosopon.models.roles import Chips
from prosopon.models.runtime.fingerprint import fingerprint
from prosopon.models.runtime.session import Compute, create_session, run


class FaceEmbedding:
    """ONNX: ``(N, 3, 128, 128)`` float32 RGB, 0..255, to ``(N, 256)``; compared by cosine."""

    name = "prosopon-embedding"
    crop = RetailReidentification.crop
    """It started from that network."""
    dim = 256
    preprocessing = 1

    def __init__(self, path: Path, compute: Compute) -> None:
        self.fingerprint = fingerprint(self.name, self.preprocessing, path)
        self._session = create_session(path, compute)

    def embed(self, chips: Chips) -> Float32:
        """chips ``(N, 128, 128, 3)`` uint8 RGB, cut as `crop` says, to ``(N, 256)`` float32."""
        if not len(chips):
            return np.empty((0, self.dim), np.float32)
        return run(self._session, np.ascontiguousarray(chips.transpose(0, 3, 1, 2), np.float32))[0]
