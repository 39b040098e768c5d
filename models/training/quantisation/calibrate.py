"""Make `models/weights/centerface_ranges.json`: python -m prosopon.models.training.quantisation.calibrate

Faces that do not exist, made by the project's generator, are put at random sizes, places and angles into scenes, and
each tensor's least and greatest value on those is noted, but for a share of outliers. No photograph is used.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator

import cv2
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from prosopon.configs.settings import ModelSettings
from prosopon.models.convert.quantise import Ranges, activations, folded, write_ranges
from prosopon.models.faces.centerface import RANGES, make_dynamic
from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.generation.latents import Z_DIM
from prosopon.models.load import load_generator, load_mapper
from prosopon.models.runtime.session import Compute
from prosopon.models.weights.registry import resolve

FACES, SCENES = 48, 40
WIDTH, HEIGHT = 640, 448
OUTLIERS = 5e-5
"""Of a tensor's values in one scene: so many at either end may be cut off."""
_SIDES = (24, 420)
"""Of a face's picture, pixels."""


def generated(count: int, rng: np.random.Generator) -> list[RGBImage]:
    """Pictures ``(512, 512, 3)`` of so many people."""
    compute, models = Compute(), ModelSettings()
    mapper, generator = load_mapper(models, compute), load_generator(models, compute)
    pictures = []
    for _ in range(count):
        w = mapper.map(rng.standard_normal((1, Z_DIM)).astype(np.float32))
        styles = mapper.mean_w + np.float32(0.8) * (w - mapper.mean_w)
        pictures.append(
            generator.generate(np.repeat(styles[:, None], len(generator.layer_resolutions), axis=1), 512)[0]
        )
    return pictures


def scene(faces: list[RGBImage], rng: np.random.Generator) -> RGBImage:
    """``(HEIGHT, WIDTH, 3)``: one to six faces before an enlarged piece of skin, hair or background, as a JPEG."""
    side = int(rng.integers(16, 200))
    x, y = rng.integers(0, 512 - side, 2)
    piece = faces[rng.integers(len(faces))][y : y + side, x : x + side]
    canvas = cv2.resize(piece, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) * rng.uniform(0.3, 1.3)
    for _ in range(rng.integers(1, 7)):
        side = round(np.exp(rng.uniform(*np.log(_SIDES))))
        face = cv2.resize(faces[rng.integers(len(faces))], (side, side), interpolation=cv2.INTER_AREA)
        mask = np.zeros((side, side), np.float32)
        cv2.ellipse(mask, (side // 2, side // 2), (int(side * 0.42), int(side * 0.49)), 0, 0, 360, 1, -1)
        place = cv2.getRotationMatrix2D((side / 2, side / 2), rng.normal(0, 12), 1)
        place[:, 2] += rng.uniform(-0.3, 1, 2) * (WIDTH, HEIGHT) - 0.15 * side
        alpha = cv2.warpAffine(cv2.GaussianBlur(mask, (0, 0), max(1, side / 50)), place, (WIDTH, HEIGHT))
        lit = cv2.warpAffine(face, place, (WIDTH, HEIGHT)) * rng.uniform(0.5, 1.3)
        canvas += (lit - canvas) * alpha[..., None]
    if rng.random() < 0.3:
        canvas = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.5, 1.5))
    if rng.random() < 0.3:
        canvas = np.repeat(canvas.mean(axis=2, keepdims=True), 3, axis=2)
    canvas += rng.normal(0, rng.uniform(0, 10), canvas.shape)
    pixels = np.clip(canvas, 0, 255).astype(np.uint8)
    _, file = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 96))])
    return np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR), np.uint8)


def measured(model: bytes, batches: Iterator[Float32]) -> Ranges:
    """Of each tensor that pictures decide, over all batches."""
    graph = folded(model)
    source = graph.graph.input[0].name
    names = sorted(activations(graph) - {source})
    given = {output.name for output in graph.graph.output}
    told = (name for name in names if name not in given)
    graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in told)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    ranges: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    for batch in batches:
        seen = {source: batch} | dict(zip(names, session.run(names, {source: batch}), strict=True))
        for name, values in seen.items():
            (least, most), (low, high) = ranges[name], _ends(values)
            ranges[name] = min(least, low), max(most, high)
    return dict(ranges)


def _ends(values: NDArray[np.float32]) -> tuple[float, float]:
    flat = values.reshape(-1)
    cut = int(len(flat) * OUTLIERS)
    ordered = np.partition(flat, (cut, len(flat) - 1 - cut))
    return float(ordered[cut]), float(ordered[-1 - cut])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    rng = np.random.default_rng(parser.parse_args().seed)
    faces = generated(FACES, rng)
    path = resolve(ModelSettings(), "detector").path
    batches = (cv2.dnn.blobFromImages([scene(faces, rng)]) for _ in range(SCENES))
    ranges = measured(make_dynamic(path), batches)
    write_ranges(RANGES, path, ranges)
    print(f"{len(ranges)} tensors, {SCENES} scenes, {FACES} faces: {RANGES}")


if __name__ == "__main__":
    main()
