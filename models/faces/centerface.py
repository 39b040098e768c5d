"""CenterFace (Xu et al. 2019, arXiv:1911.03599): faces as peaks of a heatmap."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.numpy_helper import to_array

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
HEADS = tuple(f"head.{name}_conv.weight" for name in ("pos", "reg", "off", "lm"))
"""Their weights' names: score, scale, offset, landmarks."""
BY_NAME: tuple[Precision, ...] = ("int8",)
"""8 bits lose recall (docs/performance.md)."""
RANGES = Path(__file__).parent.parent / "weights" / "centerface_ranges.json"
"""Made by `python -m prosopon.models.training.quantisation.calibrate`."""


def make_dynamic(source: Path) -> bytes:
    """The published graph without its heads, with N, H and W dynamic and its weights no longer listed as inputs.

    Weights that are inputs could be overridden at run time, which keeps ONNX Runtime from folding the batch
    normalisations and from packing the convolutions.
    """
    model = onnx.load(source)
    graph = model.graph
    last = {node.input[0] for node in graph.node if HEADS[0] in node.input}
    [features] = last
    kept = [node for node in graph.node if not last & set(node.input) and node.op_type != "Sigmoid"]
    used = {name for node in kept for name in node.input}
    names = {tensor.name for tensor in graph.initializer}
    weights = [tensor for tensor in graph.initializer if tensor.name in used]
    inputs = [value for value in graph.input if value.name not in names]
    for value in inputs:
        for axis, name in zip(value.type.tensor_type.shape.dim, ("N", None, "H", "W"), strict=True):
            if name is not None:
                axis.dim_param = name
    output = onnx.helper.make_tensor_value_info(features, onnx.TensorProto.FLOAT, ("N", None, "H4", "W4"))
    fields = (("node", kept), ("initializer", weights), ("input", inputs), ("output", [output]))
    for field, values in fields:
        del getattr(graph, field)[:]
        getattr(graph, field).extend(values)
    del graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


@dataclass(frozen=True)
class Candidates:
    """Cells that may be a face's centre. rows, columns, scores: ``(n,)``.

    scale ``(2, n)``: log of height and width in cells; offset ``(2, n)``: y and x of the centre inside the cell;
    landmarks ``(5, 2, n)``: y and x of the points, relative to the box's upper left corner and in units of its size.
    """

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    scores: Float32
    scale: Float32
    offset: Float32
    landmarks: Float32


class Heads:
    """The network's last layer, four convolutions of 1x1.

    It is not part of what a runtime computes: so it is in full precision under every plan, whose rounding would show in
    a box's size, and is computed for the cells alone where a face may be.
    """

    def __init__(self, source: Path) -> None:
        tensors = {tensor.name: to_array(tensor) for tensor in onnx.load(source).graph.initializer}
        self._weight = np.concatenate([tensors[name][:, :, 0, 0] for name in HEADS])
        self._bias = np.concatenate([tensors[name.replace("weight", "bias")] for name in HEADS])[:, None]

    def candidates(self, features: Float32, score_threshold: float) -> Candidates:
        """features: ``(C, h, w)``. Cells whose score is at least score_threshold."""
        cells = features.reshape(len(features), -1)
        logits = self._weight[0] @ cells + self._bias[0]
        with np.errstate(divide="ignore"):
            least = np.log(score_threshold) - np.log1p(-min(score_threshold, 1.0))
        [found] = np.nonzero(logits >= least)
        values = self._weight[1:] @ cells[:, found] + self._bias[1:]
        rows, columns = np.divmod(found, features.shape[2])
        scores = (1 / (1 + np.exp(-logits[found]))).astype(np.float32)
        return Candidates(rows, columns, scores, values[:2], values[2:4], values[4:].reshape(5, 2, -1))


def decode(candidates: Candidates, nms_threshold: float) -> Detections:
    """Faces of one picture, in pixels of the network's input."""
    height, width = np.exp(candidates.scale) * OUTPUT_STRIDE
    y = (candidates.rows + candidates.offset[0] + 0.5) * OUTPUT_STRIDE - height / 2
    x = (candidates.columns + candidates.offset[1] + 0.5) * OUTPUT_STRIDE - width / 2
    boxes = np.stack([x, y, x + width, y + height], axis=1).astype(np.float32)
    kept = suppress(boxes, candidates.scores, nms_threshold)
    points = candidates.landmarks[:, :, kept]
    points_x = points[:, 1] * width[kept] + x[kept]
    points_y = points[:, 0] * height[kept] + y[kept]
    points_xy = np.stack([points_x.T, points_y.T], axis=-1).astype(np.float32)
    return Detections(boxes[kept], candidates.scores[kept], points_xy)


def to_picture(faces: Detections, fitted: Fit) -> Detections:
    """From pixels of the network's input to pixels of the picture."""
    scale = np.array([fitted.scale_x, fitted.scale_y], np.float32)
    boxes = faces.boxes / np.concatenate([scale, scale])
    return Detections(boxes.astype(np.float32), faces.scores, (faces.landmarks / scale).astype(np.float32))


def plans(path: Path, name: str) -> Plans:
    """How the network can be run. In 8 bits where its activations' ranges are known."""

    def trunk() -> Path | bytes:
        return prepare([path], "dynamic", 2, lambda: make_dynamic(path))

    def quantised() -> Path | bytes:
        return prepare([path, RANGES], "int8", 2, lambda: quantise(make_dynamic(path), read_ranges(RANGES)))

    forms: dict[Precision, Form] = {"float32": trunk, "bfloat16": trunk}
    if ranges_are_of(RANGES, path):
        forms["int8"] = quantised
    return Plans(name, forms, TYPICAL, path.parent, by_name=BY_NAME)


class CenterFace:
    """Input ``(N, 3, H, W)`` float32 RGB 0..255, sides multiples of 32; four maps at stride 4, made by `Heads`.

    Safe to call from several threads.
    """

    name = "centerface"
    preprocessing = 2

    def __init__(self, path: Path, compute: Compute, detection: DetectionSettings) -> None:
        self._detection, self.curve = detection, curve_of(self.name)
        self.fingerprint = fingerprint(self.name, self.preprocessing, path)
        self._heads = Heads(path)
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
            [features] = self._run(batch)
            for position, fitted, cells in zip(positions, fits, features, strict=True):
                faces = decode(self._heads.candidates(cells, least), self._detection.nms_threshold)
                found[position] = to_picture(self.curve.told(faces), fitted)
        return [faces for faces in found if faces is not None]
