"""A checkpoint as the ONNX file that serves.

    python -m prosopon.models.training.embedding.export --checkpoint /tmp/student/checkpoint.pt \\
        --out models/weights/face_embedding.onnx

The running average of the weights is exported, each in half precision with a cast before it: ONNX Runtime unfolds
them when it loads the file, and computes in full precision.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch.optim.swa_utils import AveragedModel

from prosopon.models.convert.onnx_export import export, halved
from prosopon.models.runtime.session import Compute, create_session, run
from prosopon.models.training.embedding.network import SIDE, Student, parameters


def main(
    checkpoint: Annotated[Path, typer.Option(help="checkpoint.pt of the training")],
    out: Annotated[Path, typer.Option(help="The ONNX file")],
) -> None:
    saved = torch.load(checkpoint)
    student = Student()
    average = AveragedModel(student)
    average.load_state_dict(saved["average"])
    student.load_state_dict(average.module.state_dict())
    model = halved(export(student, torch.rand(2, 3, SIDE, SIDE) * 255, "chips", "embeddings"))
    out.write_bytes(model)
    session = create_session(out, Compute())
    for count in (1, 5):
        chips = torch.rand(count, 3, SIDE, SIDE) * 255
        with torch.no_grad():
            aim = student(chips).numpy()
        found = run(session, chips.numpy())[0]
        apart = np.abs(found - aim).max() / np.abs(aim).max()
        print(f"batch of {count}: largest difference to full precision {apart:.5f} of the largest value")
    print(f"{saved['views']} views, {parameters(student)} weights, {len(model)} bytes")


if __name__ == "__main__":
    typer.run(main)
