"""MobileFaceNet (Chen et al. 2018, arXiv:1804.07573) of sirius-ai's MobileFaceNet_TF: a 192-d embedding."""

from pathlib import Path

import numpy as np

from prosopon.models.faces.detections import Float32
from prosopon.models.pictures.crops import CropSpec
from prosopon.models.roles import Chips
from prosopon.models.runtime.fingerprint import fingerprint
from prosopon.models.runtime.prepared import prepare
from prosopon.models.runtime.session import Compute, create_session, run

SIZE = 112

# Deng et al. 2019 (ArcFace): where eyes, nose and mouth corners lie in a chip of 112 pixels.
TEMPLATE = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)


class MobileFaceNet:
    """``(N, 112, 112, 3)`` float32 RGB, ``(x - 127.5) / 128``, to ``(N, 192)``; compared by cosine."""

    name = "mobilefacenet"
    crop = CropSpec(SIZE, TEMPLATE)
    dim = 192
    preprocessing = 1

    def __init__(self, path: Path, compute: Compute) -> None:
        """path: of the TensorFlow Lite file, converted to ONNX on first use. Raises `TfliteError`."""
        self.fingerprint = fingerprint(self.name, self.preprocessing, path)
        self._session = create_session(prepare([path], "onnx", 1, lambda: convert(path)), compute)

    def embed(self, chips: Chips) -> Float32:
        """chips ``(N, 112, 112, 3)`` uint8 RGB, cut as `crop` says, to ``(N, 192)`` float32."""
        if not len(chips):
            return np.empty((0, self.dim), np.float32)
        return run(self._session, (chips.astype(np.float32) - np.float32(127.5)) / np.float32(128))[0]


def convert(path: Path) -> bytes:
    from prosopon.models.convert.tflite import read, to_onnx

    return to_onnx(read(path))
