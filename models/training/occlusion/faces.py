"""Faces to render things on, computed once: pixels, the mesh on them, and where they show skin.

    python -m prosopon.models.training.occlusion.faces --mesh face_landmark.tflite --chips fairface_chips.tar \\
        --out /tmp/occlusion

`prosopon models pull mediapipe-face-mesh` brings the mesh. Faces that it does not see (most profiles) are left out.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer

from prosopon.models.faces.attributes.mask import CROP
from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.faces.landmarks import ibug
from prosopon.models.faces.mesh import FaceMesh
from prosopon.models.pictures.crops import cut
from prosopon.models.runtime.session import Compute
from prosopon.models.swap import geometry, skin
from prosopon.models.training.mask.faces import PADDING, read_pictures

SIDE = 160
"""Of the pictures that things are rendered on: a chip of 128 pixels with room to turn and shift it."""
FRAME = 16
"""Pixels around the chip that continue its colours: nothing is learned from them."""
HOLD_OUT = 20
"""One face in so many is held out."""
_SURE = 0.9
"""What the mesh must be that it sees a face."""


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """pixels: ``(160, 160, 3)`` uint8 RGB; mesh: ``(468, 2)`` float32 in them; skin: ``(160, 160)`` float32 0..1."""

    pixels: RGBImage
    mesh: Float32
    skin: Float32

    @property
    def dense(self) -> Float32:
        """``(68, 2)`` in iBUG's order."""
        return ibug(self.mesh)


class Faces:
    """What `main` wrote, read as it is needed."""

    def __init__(self, folder: Path) -> None:
        self.names: list[str] = (folder / "names.txt").read_text().split()
        self._pixels, self._mesh, self._skin = (
            np.load(folder / f"faces_{part}.npy", mmap_mode="r") for part in ("pixels", "mesh", "skin")
        )

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Face:
        skin_ = np.asarray(self._skin[index], np.float32) / np.float32(255)
        return Face(np.array(self._pixels[index]), np.asarray(self._mesh[index], np.float32), skin_)


def held_out(name: str) -> bool:
    return zlib.crc32(name.encode()) % HOLD_OUT == 0


def main(
    mesh: Annotated[Path, typer.Option(help="MediaPipe's face_landmark.tflite")],
    chips: Annotated[Path, typer.Option(help="FairFace's aligned chips, a tar file")],
    out: Annotated[Path, typer.Option(help="Folder for the arrays")],
    limit: Annotated[int, typer.Option(help="At most so many chips")] = 28_000,
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    network = FaceMesh(mesh, Compute())
    scale = 128 / CROP.size
    five = ((np.asarray(CROP.template) + 0.5) * scale - 0.5 + PADDING).astype(np.float32)
    names: list[str] = []
    pixels, points, skins = [], [], []
    margin = PADDING - FRAME
    for name, picture in read_pictures(chips, slice(limit)):
        crop = cut(picture, np.zeros(4, np.float32), five, network.crop)
        found, scores = network.find(crop.pixels[None])
        if scores[0] < _SURE:
            continue
        small = np.ascontiguousarray(picture[margin : margin + SIDE, margin : margin + SIDE])
        place = (crop.to_picture(found[0])[:, :2] - margin).astype(np.float32)
        vertices = geometry.with_forehead(ibug(place))
        features = skin.parts(vertices, (SIDE, SIDE)).features
        likely = skin.likelihood(small.astype(np.float32), vertices, features)
        names.append(name)
        pixels.append(small)
        points.append(place)
        skins.append((likely * 255).astype(np.uint8))
    for part, values in (("pixels", pixels), ("mesh", points), ("skin", skins)):
        np.save(out / f"faces_{part}.npy", np.stack(values))
    (out / "names.txt").write_text("\n".join(names))
    print(f"{len(names)} faces")


if __name__ == "__main__":
    typer.run(main)
