"""A checkpoint as the ONNX file that serves.

    python -m prosopon.models.training.embedding.export --checkpoint /tmp/student/checkpoint.pt \\
        --teachers /tmp/embedding --labels fairface_chips.csv --out models/weights/face_embedding.onnx

The running average of the weights is exported, with the last layer whitened on clean training chips. Each weight is
stored in half precision with a cast before it: ONNX Runtime unfolds them when it loads the file, and computes in full
precision.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch.optim.swa_utils import AveragedModel

from prosopon.models.convert.onnx_export import export, halved
from prosopon.models.runtime.session import Compute, create_session, run
from prosopon.models.training.embedding.data import Faces
from prosopon.models.training.embedding.network import SIDE, Student, parameters, spread
from prosopon.models.training.embedding.train import clean_features


def main(
    checkpoint: Annotated[Path, typer.Option(help="checkpoint.pt of the training")],
    teachers: Annotated[Path, typer.Option(help="What `teachers` wrote")],
    labels: Annotated[Path, typer.Option(help="fairface_chips.csv")],
    out: Annotated[Path, typer.Option(help="The ONNX file")],
    chips: Annotated[int, typer.Option(help="Clean ones, for the whitening")] = 5000,
) -> None:
    saved = torch.load(checkpoint)
    student = Student()
    average = AveragedModel(student)
    average.load_state_dict(saved["average"])
    student.load_state_dict(average.module.state_dict())
    spread(student.embed, clean_features(student, Faces(teachers, labels), chips)[1])
    model = halved(export(student, torch.rand(2, 3, SIDE, SIDE) * 255, "chips", "embeddings"))
    out.write_bytes(model)
    session = create_session(out, Compute())
    for count in (1, 5):
        noise = torch.rand(count, 3, SIDE, SIDE) * 255
        with torch.no_grad():
            aim = student(noise).numpy()
        found = run(session, noise.numpy())[0]
        apart = np.abs(found - aim).max() / np.abs(aim).max()
        print(f"batch of {count}: largest difference to full precision {apart:.5f} of the largest value")
    print(f"{saved['views']} views, {parameters(student)} weights, {len(model)} bytes")


if __name__ == "__main__":
    typer.run(main)
