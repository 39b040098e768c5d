"""Networks on OpenVINO's CPU runtime, where that package is installed (x86-64)."""

import io
import queue
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from prosopon.models.runtime.session import Compute

if TYPE_CHECKING:
    import openvino

_HINTS = {"float32": "f32", "int8": "f32", "bfloat16": "bf16"}
"""Of a quantised network, what is not quantised is computed in full precision."""


@cache
def core() -> "openvino.Core | None":
    """None where the package is missing or has no CPU to run on."""
    # To import the package would tell its maker of it, over the network; without this one it tells nobody.
    sys.modules.setdefault("openvino_telemetry", cast(ModuleType, None))
    try:
        import openvino
    except ImportError:
        return None
    found = openvino.Core()
    return found if "CPU" in found.available_devices else None


def version() -> str:
    """Of the package, or empty."""
    if core() is None:
        return ""
    import openvino

    return str(openvino.__version__)


def computes_bfloat16() -> bool:
    """Whether the processor multiplies matrices in bfloat16; others would imitate it, slowly."""
    found = core()
    return found is not None and "BF16" in found.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVinoNetwork:
    """All outputs of a one-input network. Safe to call from as many threads as there are streams; more wait."""

    def __init__(self, model: Path | bytes, precision: str, compute: Compute) -> None:
        """model: ONNX. precision: a key of `_HINTS`; int8 wants a quantised model. Raises RuntimeError for a model that
        OpenVINO cannot read, or where the package is missing."""
        found = core()
        if found is None:
            raise RuntimeError("openvino is not installed")
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "INFERENCE_NUM_THREADS": compute.threads * compute.streams,
            "NUM_STREAMS": compute.streams,
            # Replicas share the cores: none may sit on the same ones as its neighbour.
            "ENABLE_CPU_PINNING": False,
        }
        read = found.read_model(io.BytesIO(model) if isinstance(model, bytes) else model)
        compiled = found.compile_model(read, "CPU", options)
        # The last one that ran is the next: its memory is in the caches.
        self._idle: queue.LifoQueue[Any] = queue.LifoQueue()
        for _ in range(compute.streams):
            self._idle.put(compiled.create_infer_request())

    def __call__(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        request = self._idle.get()
        try:
            request.infer({0: batch}, share_inputs=True)
            # The request's own memory is written to by its next run.
            return [tensor.data.copy() for tensor in request.output_tensors]
        finally:
            self._idle.put(request)
