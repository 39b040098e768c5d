"""A checkpoint as the ONNX file that serves.

    python -m prosopon.models.training.embedding.export --checkpoint /tmp/student/checkpoint.pt \\
        --out models/weights/face_embedding.onnx

The running average of the weights is exported, each in half precision with a cast before it: ONNX Runtime unfolds
them when it loads the file, and computes in full precision.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
import typer
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from prosopon.models.convert.onnx_export import export
from prosopon.models.training.embedding.network import SIDE, Student, parameters


class Served(nn.Module):
    """``(N, 3, 112, 112)`` float32 RGB 0..255 to ``(N, 256)`` float32 of unit length.

    side: what the views of training measured; a chip is reduced to it first, by bilinear sampling.
    """

    def __init__(self, student: Student, side: int) -> None:
        super().__init__()
        self.student, self.side = student, side

    def forward(self, chips: Tensor) -> Tensor:
        pixels = (chips - 127.5) / 127.5
        if self.side != SIDE:
            pixels = F.interpolate(pixels, size=(self.side, self.side), mode="bilinear", align_corners=False)
        return F.normalize(self.student(pixels))


def halved(model: bytes) -> bytes:
    """The model with its larger float32 constants stored in half precision."""
    graph = onnx.load_from_string(model)
    casts = []
    for tensor in graph.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < 64:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}/half"))
        casts.append(helper.make_node("Cast", [f"{name}/half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    onnx.checker.check_model(graph, full_check=True)
    return bytes(graph.SerializeToString())


def main(
    checkpoint: Annotated[Path, typer.Option(help="checkpoint.pt of the training")],
    out: Annotated[Path, typer.Option(help="The ONNX file")],
    side: Annotated[int, typer.Option(help="Pixels of the views of training")] = SIDE,
) -> None:
    saved = torch.load(checkpoint, weights_only=True)
    student = Student()
    student.load_state_dict(saved["average"])
    served = Served(student, side).eval()
    example = torch.rand(2, 3, SIDE, SIDE) * 255
    model = halved(export(served, example, "chips", "embeddings"))
    out.write_bytes(model)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    for count in (1, 5):
        chips = torch.rand(count, 3, SIDE, SIDE) * 255
        with torch.no_grad():
            aim = served(chips).numpy()
        found = session.run(None, {"chips": chips.numpy()})[0]
        print(f"batch of {count}: largest difference to full precision {np.abs(found - aim).max():.5f}")
    print(f"{saved['views']} views, {parameters(student)} weights, {len(model)} bytes")


if __name__ == "__main__":
    typer.run(main)
