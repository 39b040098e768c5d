"""face-reidentification-retail-0095 of Intel's Open Model Zoo: a 256-d embedding by a MobileNet V2."""

from pathlib import Path

import numpy as np

from prosopon.models.convert.openvino_ir import read, to_onnx
from prosopon.models.faces.detections import Float32
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


class RetailReidentification:
    """``(N, 3, 128, 128)`` float32 BGR 0..255 to ``(N, 256, 1, 1)``; compared by cosine."""

    name = "face-reidentification-retail-0095"
    crop = CropSpec(SIZE, (_LEFT_EYE, _RIGHT_EYE, _NOSE, _LEFT_MOUTH, _RIGHT_MOUTH))
    dim = 256
    preprocessing = 1

    def __init__(self, xml: Path, weights: Path, compute: Compute) -> None:
        """xml, weights: the graph and the tensors of the IR. Raises `models.convert.openvino_ir.IrError`."""
        self.fingerprint = fingerprint(self.name, self.preprocessing, xml, weights)
        model = prepare([xml, weights], "onnx", 1, lambda: to_onnx(read(xml, weights)))
        self._session = create_session(model, compute)

    def embed(self, chips: Chips) -> Float32:
        """chips ``(N, 128, 128, 3)`` uint8 RGB, cut as `crop` says, to ``(N, 256)`` float32."""
        if not len(chips):
            return np.empty((0, self.dim), np.float32)
        batch = np.ascontiguousarray(chips[..., ::-1].transpose(0, 3, 1, 2), dtype=np.float32)
        return run(self._session, batch)[0].reshape(len(chips), self.dim)
