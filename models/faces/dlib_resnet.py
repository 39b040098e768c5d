"""dlib's ResNet-29 v1: the face embedding of pack `open`."""

from pathlib import Path

import numpy as np

from prosopon.models.faces import dlib_chips
from prosopon.models.faces.detections import Float32
from prosopon.models.pictures.crops import CropSpec
from prosopon.models.roles import Chips
from prosopon.models.runtime.fingerprint import fingerprint
from prosopon.models.runtime.prepared import prepare
from prosopon.models.runtime.session import Compute, create_session


def _convert(path: Path) -> bytes:
    from prosopon.models.convert.dlib_resnet_network import (
        convert,  # torch takes seconds to import and serves nothing later.
    )

    return convert(path)


class DlibResNet29:
    """Chips of 150 pixels with 25% padding to 128-d embeddings; one person's lie closer than 0.6 (L2)."""

    name = "dlib-resnet29"
    preprocessing = 1
    dim = 128
    crop = CropSpec(150, dlib_chips.template(150, padding=0.25))

    def __init__(self, path: Path, compute: Compute) -> None:
        """path: dlib's `.dat` file, converted to ONNX on first use."""
        self.fingerprint = fingerprint(self.name, self.preprocessing, path)
        self._session = create_session(prepare([path], "folded", 1, lambda: _convert(path)), compute)

    def embed(self, chips: Chips) -> Float32:
        """``(N, 150, 150, 3)`` uint8 RGB to ``(N, 128)`` float32, as the network gives them."""
        if not len(chips):
            return np.empty((0, self.dim), np.float32)
        embeddings: Float32 = self._session.run(None, {"chips": chips})[0]
        return embeddings
