"""Rendering the training set: faces without a mask, with one worn incorrectly, and with one worn correctly.

    python -m prosopon.models.training.mask.dataset --detector centerface.onnx \\
        --landmarks shape_predictor_68_face_landmarks.dat --chips fairface_chips.tar \\
        --portraits faker --portraits london --out /tmp/masks

`prosopon models pull` brings the two models. Every picture is rendered, spoilt (JPEG, low resolution) and
then given to the detector, so that chips are aligned on the landmarks that a detector finds on a masked face.
Of FairFace's chips one in `HOLD_OUT` is kept for early stopping. Portraits are few, but they show what the
chips do not, necks and collars: one person in `VALIDATE` validates, the others are rendered `ROUNDS` times.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer

from prosopon.configs.settings import DetectionSettings
from prosopon.models.faces.attributes.mask import CROP
from prosopon.models.faces.centerface import CenterFace
from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.pictures.crops import CropSpec, cut
from prosopon.models.roles import FaceDetector
from prosopon.models.runtime.session import Compute
from prosopon.models.training.mask.faces import Face, Landmarks68, plausible, read_pictures
from prosopon.models.training.mask.render import Wear, distract, wear_mask

MARGIN = 8
"""Pixels around the network's input that training may shift into view."""

HOLD_OUT = 20

VALIDATE = 3

ROUNDS = 5

CANVAS = 160
"""Side of the pictures that masks are rendered on: twice as fine as the network's input."""

STORED = CropSpec(
    CROP.size + 2 * MARGIN,
    tuple((x + MARGIN, y + MARGIN) for x, y in CROP.template or ()),  # type: ignore[arg-type]
)


@dataclass(frozen=True, slots=True)
class Sample:
    """chip: ``(S, S, 3)`` uint8 RGB of `STORED`; part: train, hold_out or validate."""

    chip: RGBImage
    wear: Wear
    part: str


def spoil(rng: np.random.Generator, pixels: RGBImage) -> RGBImage:
    """What happens to pictures on their way: reduced, blurred, compressed. The size stays."""
    height, width = pixels.shape[:2]
    if rng.random() < 0.35:
        factor = rng.uniform(0.25, 0.8)
        small = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        kind = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST], p=[0.5, 0.4, 0.1]))
        pixels = np.asarray(cv2.resize(small, (width, height), interpolation=kind), np.uint8)
    if rng.random() < 0.5:
        quality = int(rng.integers(20, 95))
        _, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        pixels = np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1])
    return pixels


def near_face(picture: RGBImage, five: Float32) -> tuple[RGBImage, Float32]:
    """A square around the face, `CANVAS` pixels a side: all that rendering needs. Landmarks move along."""
    eyes, mouth = five[:2].mean(axis=0), five[3:].mean(axis=0)
    center, reach = (eyes + mouth) / 2, 2.2 * float(np.linalg.norm(mouth - eyes))
    zoom = CANVAS / 2 / reach
    x, y = CANVAS / 2 - zoom * center
    matrix = np.array([[zoom, 0, x], [0, zoom, y]], np.float32)
    size = (CANVAS, CANVAS)
    small = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(small, np.uint8), (five * zoom + matrix[:, 2]).astype(np.float32)


def chip_of(rng: np.random.Generator, pixels: RGBImage, five: Float32, detector: FaceDetector) -> RGBImage:
    """The chip as a detector would have it cut; where it finds no face, as the bare face's landmarks lie."""
    found = detector.detect([pixels], 0.3)[0]
    size = float(np.linalg.norm(five[0] - five[1])) + 1
    near = [
        i
        for i in range(len(found))
        if np.abs(found.landmarks[i].mean(axis=0) - five.mean(axis=0)).max() < size
    ]
    points = (
        found.landmarks[near[0]] if near else five + rng.normal(0, 0.08 * size, (5, 2)).astype(np.float32)
    )
    return cut(pixels, np.zeros(4, np.float32), points, STORED).pixels


def variants(rng: np.random.Generator, face: Face, frontal: bool) -> Iterator[tuple[RGBImage, Wear]]:
    """What becomes of one face. Where its outline is not known (a profile) it stays as it is."""
    bare = face.pixels
    if not frontal:
        if rng.random() < 0.5:
            yield bare, Wear.WITHOUT
        return
    if rng.random() < 0.2:
        # Sunglasses, hands and the like, under or beside the mask.
        bare = distract(rng, bare, face.points)
    yield wear_mask(rng, bare, face.points, Wear.CORRECT), Wear.CORRECT
    if rng.random() < 0.6:
        yield wear_mask(rng, bare, face.points, Wear.INCORRECT), Wear.INCORRECT
    if rng.random() < 0.9:
        yield (distract(rng, bare, face.points) if rng.random() < 0.4 else bare), Wear.WITHOUT


def part_of(name: str, portrait: bool) -> str:
    """Which part a picture belongs to; all pictures of a person (`NNN_neutral`, `NNN_smiling`) to one."""
    if not portrait:
        return "hold_out" if zlib.crc32(name.encode()) % HOLD_OUT == 0 else "train"
    person = name.removesuffix("_neutral").removesuffix("_smiling")
    return "validate" if zlib.crc32(person.encode()) % VALIDATE == 0 else "train"


def render_shard(
    shard: int,
    shards: int,
    sources: tuple[Path, ...],
    models: tuple[Path, Path],
    limit: int,
) -> list[Sample]:
    """The samples of every `shards`-th picture among the first `limit` of each source.

    sources: tar files of chips and folders of portraits.
    """
    compute = Compute()
    compute.limit_libraries()
    detector = CenterFace(models[0], compute, DetectionSettings())
    landmarks = Landmarks68(models[1])
    samples = []
    for source in sources:
        for name, picture in read_pictures(source, slice(shard, limit, shards)):
            found = detector.detect([picture], 0.4)[0]
            if not len(found):
                continue
            pixels, five = near_face(picture, found.landmarks[0])
            points = landmarks.predict(pixels, five)
            face, frontal = Face(name, pixels, five, points), plausible(five, points)
            part = part_of(name, source.is_dir())
            for turn in range(ROUNDS if source.is_dir() and part == "train" else 1):
                rng = np.random.default_rng(zlib.crc32(name.encode()) + turn)
                for image, wear in variants(rng, face, frontal):
                    samples.append(Sample(chip_of(rng, spoil(rng, image), five, detector), wear, part))
    return samples


def main(
    detector: Annotated[Path, typer.Option(help="centerface.onnx")],
    landmarks: Annotated[Path, typer.Option(help="dlib's 68 landmarks")],
    chips: Annotated[list[Path], typer.Option(help="FairFace's aligned chips, a tar file")],
    portraits: Annotated[list[Path], typer.Option(help="A folder of portraits")],
    out: Annotated[Path, typer.Option(help="Folder for the arrays")],
    processes: int = 1,
    limit: Annotated[int, typer.Option(help="At most so many pictures of each source")] = 14_000,
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    work = partial(
        render_shard,
        shards=processes,
        sources=(*chips, *portraits),
        models=(detector, landmarks),
        limit=limit,
    )
    with get_context("spawn").Pool(processes) as pool:
        samples = [sample for shard in pool.map(work, range(processes)) for sample in shard]
    for part in ("train", "hold_out", "validate"):
        chosen = [sample for sample in samples if sample.part == part]
        labels = np.array([sample.wear for sample in chosen], np.int64)
        np.save(out / f"{part}_chips.npy", np.stack([sample.chip for sample in chosen]))
        np.save(out / f"{part}_labels.npy", labels)
        counts = {wear.name.lower(): int((labels == wear).sum()) for wear in Wear}
        print(part, counts)


if __name__ == "__main__":
    typer.run(main)
