"""ONNX Runtime sessions with the threads and the device that a replica was given."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from prosopon.configs.settings import PlanName
from prosopon.models.runtime.occupancy import Occupancy

if TYPE_CHECKING:
    import torch


class DeviceError(RuntimeError):
    """The device that was asked for cannot be used."""


@dataclass(frozen=True, slots=True)
class Compute:
    """What one replica may use.

    threads: of one run of a network on the CPU; streams: runs that go on side by side. plan: the runtime and the
    precision of the network that is opened; None is what was measured to be the fastest here. occupancy: what goes on
    in the replica; where it is counted, a run that nothing goes on beside may use the threads of all streams.
    """

    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = 1
    streams: int = 1
    plan: PlanName | None = None
    occupancy: Occupancy | None = field(default=None, compare=False)

    def in_one_stream(self) -> "Compute":
        """One run at a time, on the threads of all."""
        return replace(self, threads=self.threads * self.streams, streams=1, occupancy=None)

    def limit_libraries(self) -> None:
        """Give OpenCV (and torch, where it is loaded) the same number of threads."""
        import sys

        cv2.setNumThreads(self.threads)
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(self.threads)

    def torch_device(self) -> "torch.device":
        """Raises `DeviceError` where CUDA was asked for and is not to be had."""
        import torch

        if self.device == "cuda" and not torch.cuda.is_available():
            raise DeviceError(
                "CUDA was asked for but this torch has none: install a CUDA build (see docs/operation.md)"
            )
        return torch.device(self.device)


def create_session(model: Path | bytes, compute: Compute) -> onnxruntime.InferenceSession:
    """Open an ONNX model. Raises `DeviceError` where CUDA was asked for and is not to be had.

    Spinning worker threads are switched off: replicas of different models share the cores, and a thread that
    spins for work takes its neighbour's time.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = compute.threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers: list[str] = ["CPUExecutionProvider"]
    if compute.device == "cuda":
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise DeviceError(
                "CUDA was asked for but this onnxruntime has no CUDAExecutionProvider: "
                "install the 'gpu' extra without 'onnxruntime' (see docs/operation.md)"
            )
        # CUDA's libraries lie in packages of their own, where the system does not look; torch may not be loaded here.
        onnxruntime.preload_dlls()
        providers.insert(0, "CUDAExecutionProvider")
    source = model if isinstance(model, bytes) else str(model)
    session = onnxruntime.InferenceSession(source, options, providers=providers)
    if compute.device == "cuda" and session.get_providers()[0] != "CUDAExecutionProvider":
        raise DeviceError("CUDA was asked for but the session fell back to the CPU")
    return session


def run(session: onnxruntime.InferenceSession, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """All outputs of a one-input model."""
    outputs: list[NDArray[np.float32]] = session.run(None, {session.get_inputs()[0].name: batch})
    return outputs
