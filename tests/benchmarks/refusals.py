"""Which faces a swap refuses before any work: python -m tests.benchmarks.refusals

Portraits of `faker` and `london` shall be taken; the same shrunk until their box is 32 pixels high, and faces that wear
a mask (`mask/with_mask`), shall be refused. As many of each as asked for, drawn by a seed.
"""

import argparse
import os
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

from prosopon.configs.settings import SwapSettings
from prosopon.models.faces.attributes.mask import WEIGHTS, MaskClassifierNet
from prosopon.models.faces.detections import RGBImage
from prosopon.models.runtime.session import Compute
from prosopon.models.swap.types import Replacement, SourceFace
from prosopon.models.swap.verdict import impossible
from tests.faces import faces_of, portrait, read
from tests.paths import DATA

SEED, HEIGHT = 18, 32


def portraits(count: int) -> Iterator[RGBImage]:
    files = sorted((DATA / "faker").glob("*.jpg")) + sorted((DATA / "london").glob("*.jpg"))
    for index in np.random.default_rng(SEED).permutation(len(files))[:count]:
        yield read(files[index])


def shrunk(count: int) -> Iterator[RGBImage]:
    for picture in portraits(count):
        for face in faces_of(picture)[:1]:
            scale = HEIGHT / float(face.box[3] - face.box[1])
            yield cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def masked(count: int) -> Iterator[RGBImage]:
    files = sorted((DATA / "mask" / "with_mask").iterdir())
    for index in np.random.default_rng(SEED).permutation(len(files))[:count]:
        yield read(files[index])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=100)
    count = parser.parse_args().count
    masks, settings = MaskClassifierNet(WEIGHTS, Compute()), SwapSettings()
    frame, target = portrait("london/002_neutral.jpg")
    for name, pictures in (("portraits", portraits), ("of 32 pixels", shrunk), ("masked", masked)):
        seen, refused, missing = 0, 0, 0
        for picture in pictures(count):
            faces = faces_of(picture)[:1]
            missing += not faces  # Which is refused as well.
            for face in faces:
                seen += 1
                source = SourceFace(picture, face)
                refused += bool(impossible(frame, Replacement(target, source), masks, settings))
        print(f"{name}: {refused} of {seen} refused, and {missing} pictures without a face that is found")


if __name__ == "__main__":
    main()
