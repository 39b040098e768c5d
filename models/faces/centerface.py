"""CenterFace (Xu et al. 2019, arXiv:1911.03599): faces as peaks of a heatmap."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx

from prosopon.configs.settings import DetectionSettings
from prosopon.models.convert.quantise import quantise, ranges_are_of, read_ranges
from prosopon.models.faces.detections import Detections, Float32, RGBImage
from prosopon.models.faces.nms import suppress
from prosopon.models.faces.probability import curve_of
from prosopon.models.pictures.letterbox import Fit, batches
from prosopon.models.runtime.fingerprint import fingerprint
from prosopon.models.runtime.plans import Form, Plans, Precision
from prosopon.models.runtime.prepared import prepare
from prosopon.models.runtime.session import Compute

OUTPUT_STRIDE = 4
TYPICAL = (1, 3, 448, 640)
"""The input's shape by which runtimes are compared."""
BY_NAME: tuple[Precision, ...] = ("int8",)
RANGES = Path(__file__).parent.parent / "weights" / "centerface_ranges.json"
"""Made by `python -m prosopon.models.training.quantisation.calibrate`."""


def make_dynamic(source: Path) -> bytes:
    """The published graph with N, H and W dynamic and its weights no longer listed as inputs.

    Weights that are inputs could be overridden at run time, which keeps ONNX Runtime from folding the batch
    normalisations and from packing the convolutions.
    """
    model = onnx.load(source)
    used = {name for node in model.graph.node for name in node.input}
    weights = [tensor for tensor in model.graph.initializer if tensor.name in used]
    names = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in names]
    for value in inputs:
        _name_axes(value, ("N", None, "H", "W"))
    for output in model.graph.output:
        _name_axes(output, ("N", None, "H4", "W4"))
    for field, values in (("initializer", weights), ("input", inputs)):
        del getattr(model.graph, field)[:]
        getattr(model.graph, field).extend(values)
    del model.graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _name_axes(value: onnx.ValueInfoProto, names: tuple[str | None, ...]) -> None:
    for axis, name in zip(value.type.tensor_type.shape.dim, names, strict=True):
        if name is not None:
            axis.dim_param = name


def decode(
    heatmap: Float32,
    scale: Float32,
    offset: Float32,
    landmarks: Float32,
    score_threshold: float,
    nms_threshold: float,
) -> Detections:
    """Faces of one picture, in pixels of the network's input.

    heatmap ``(h, w)``: score of a face centred in the cell; scale ``(2, h, w)``: log of height and width in
    cells; offset ``(2, h, w)``: y and x of the centre inside the cell; landmarks ``(10, h, w)``: y and x of
    five points, relative to the box's upper left corner and in units of its size.
    """
    rows, columns = np.nonzero(heatmap >= score_threshold)
    scores = heatmap[rows, columns]
    height, width = np.exp(scale[:, rows, columns]) * OUTPUT_STRIDE
    y = (rows + offset[0, rows, columns] + 0.5) * OUTPUT_STRIDE - height / 2
    x = (columns + offset[1, rows, columns] + 0.5) * OUTPUT_STRIDE - width / 2
    boxes = np.stack([x, y, x + width, y + height], axis=1).astype(np.float32)
    kept = suppress(boxes, scores, nms_threshold)
    points = landmarks[:, rows[kept], columns[kept]].reshape(5, 2, len(kept))
    points_x = points[:, 1] * width[kept] + x[kept]
    points_y = points[:, 0] * height[kept] + y[kept]
    points_xy = np.stack([points_x.T, points_y.T], axis=-1).astype(np.float32)
    return Detections(boxes[kept], scores[kept], points_xy)


def to_picture(faces: Detections, fitted: Fit) -> Detections:
    """From pixels of the network's input to pixels of the picture."""
    scale = np.array([fitted.scale_x, fitted.scale_y], np.float32)
    boxes = faces.boxes / np.concatenate([scale, scale])
    return Detections(boxes.astype(np.float32), faces.scores, (faces.landmarks / scale).astype(np.float32))


def plans(path: Path, name: str) -> Plans:
    """How the network can be run. In 8 bits, which are asked for by name, where its activations' ranges are known:
    `python -m tests.benchmarks.precision` found a little more than half a point of recall lost."""

    def whole() -> Path | bytes:
        return prepare([path], "dynamic", 1, lambda: make_dynamic(path))

    def quantised() -> Path | bytes:
        return prepare([path, RANGES], "int8", 1, lambda: quantise(make_dynamic(path), read_ranges(RANGES)))

    forms: dict[Precision, Form] = {"float32": whole, "bfloat16": whole}
    if ranges_are_of(RANGES, path):
        forms["int8"] = quantised
    return Plans(name, forms, TYPICAL, path.parent, by_name=BY_NAME)


class CenterFace:
    """Input ``(N, 3, H, W)`` float32 RGB 0..255, sides multiples of 32; four maps at stride 4.

    Safe to call from several threads.
    """

    name = "centerface"
    preprocessing = 2

    def __init__(self, path: Path, compute: Compute, detection: DetectionSettings) -> None:
        self._detection, self.curve = detection, curve_of(self.name)
        self.fingerprint = fingerprint(self.name, self.preprocessing, path)
        self.plan, self._run = plans(path, self.fingerprint).open(compute)
        if not self.plan.endswith("float32"):
            self.fingerprint += f"+{self.plan.partition('/')[2]}"

    def detect(
        self, images: Sequence[RGBImage], score_threshold: float, det_size: int | None = None
    ) -> list[Detections]:
        """Faces of each picture, most probable first. Pictures whose inputs have one shape share a batch."""
        least = self.curve.score(score_threshold)
        found: list[Detections | None] = [None] * len(images)
        for positions, fits, batch in batches(images, det_size or self._detection.max_side):
            heatmap, scale, offset, landmarks = self._run(batch)
            for i, (position, fitted) in enumerate(zip(positions, fits, strict=True)):
                faces = decode(
                    heatmap[i, 0],
                    scale[i],
                    offset[i],
                    landmarks[i],
                    least,
                    self._detection.nms_threshold,
                )
                found[position] = to_picture(self.curve.told(faces), fitted)
        return [faces for faces in found if faces is not None]
