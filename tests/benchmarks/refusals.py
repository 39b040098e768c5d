"""Which swaps are refused: python -m tests.benchmarks.refusals [--count N] [--retry]

Portraits of `faker` and `london` put into others of them shall come out. What is put in shall be refused where it is
made impossible: its face 32 pixels high, covered over nose and mouth or over the eyes, out of focus beyond recognition,
cut in half by the picture's edge, or one that wears a mask (`mask/with_mask`). As many of each as asked for, drawn by a
seed; each goes through everything that a worker does, by the warp, with --retry also by the second method.
"""

import argparse
import os
from collections import Counter
from collections.abc import Callable, Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

from prosopon.configs.settings import DetectionSettings, ImageLimits, SwapSettings
from prosopon.models.faces.detections import RGBImage
from prosopon.models.runtime.session import Compute
from prosopon.models.swap.face_swap import FaceSwap
from prosopon.models.swap.geometry import interocular
from prosopon.models.swap.types import FaceGeometry, NoSwap
from tests.faces import faces_of, read
from tests.paths import DATA
from tests.weights import model_settings

SEED, HEIGHT = 18, 32
_BOUNDS = 95
"""Quality of the JPEGs that are sent."""

Spoil = Callable[[RGBImage, FaceGeometry], RGBImage]


def portraits(count: int, seed: int = SEED) -> Iterator[RGBImage]:
    files = sorted((DATA / "faker").glob("*.jpg")) + sorted((DATA / "london").glob("*.jpg"))
    for index in np.random.default_rng(seed).permutation(len(files))[:count]:
        yield read(files[index])


def shrunk(picture: RGBImage, face: FaceGeometry) -> RGBImage:
    scale = HEIGHT / float(face.box[3] - face.box[1])
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def bar(first: int, last: int, above: float, below: float) -> Spoil:
    """A bar of one colour from one of the dense points to another, grown by parts of the distance between the eyes."""

    def spoilt(picture: RGBImage, face: FaceGeometry) -> RGBImage:
        unit, (x1, _, x2, _) = interocular(face.dense), face.box
        top, bottom = face.dense[first, 1] - above * unit, face.dense[last, 1] + below * unit
        corners = (round(float(x1)), round(float(top))), (round(float(x2)), round(float(bottom)))
        return cv2.rectangle(picture.copy(), *corners, (60, 90, 140), -1)

    return spoilt


def soft(picture: RGBImage, face: FaceGeometry) -> RGBImage:
    return cv2.GaussianBlur(picture, (0, 0), 0.3 * interocular(face.dense))


def cut(picture: RGBImage, face: FaceGeometry) -> RGBImage:
    return picture[:, : round(float(face.dense[27, 0]))].copy()


KINDS: dict[str, Spoil] = {
    "portraits": lambda picture, _: picture,
    "32 pixels high": shrunk,
    "nose and mouth covered": bar(29, 8, 0.0, 0.1),
    "eyes covered": bar(37, 41, 0.4, 0.3),
    "out of focus": soft,
    "cut in half": cut,
}


def masked(count: int) -> Iterator[RGBImage]:
    files = sorted((DATA / "mask" / "with_mask").iterdir())
    for index in np.random.default_rng(SEED).permutation(len(files))[:count]:
        yield read(files[index])


def sources(kind: str, count: int) -> Iterator[RGBImage]:
    if kind == "masked":
        yield from masked(count)
        return
    for picture in portraits(count):
        for face in faces_of(picture)[:1]:
            yield KINDS[kind](picture, face)


def encoded(picture: RGBImage) -> bytes:
    return cv2.imencode(
        ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _BOUNDS]
    )[1].tobytes()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--kinds", nargs="+", default=[*KINDS, "masked"])
    parser.add_argument("--retry", action="store_true")
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    settings = SwapSettings(method="warp", retry=asked.retry)
    swapping = FaceSwap.load(model_settings(), DetectionSettings(), ImageLimits(), settings, Compute())
    for kind in asked.kinds:
        targets = map(encoded, portraits(asked.count, SEED + 1))
        methods: Counter[str] = Counter()
        reasons: Counter[str] = Counter()
        for target, source in zip(targets, sources(kind, asked.count), strict=False):
            try:
                methods[swapping.swap(target, [encoded(source)], None).method or ""] += 1
            except NoSwap as error:
                reasons[str(error).partition("(")[0].partition(": t")[2] or str(error).partition("(")[0]] += 1
        seen = methods.total() + reasons.total()
        print(
            f"{kind}: {reasons.total()} of {seen} refused, made by {dict(methods)}; {dict(reasons)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
