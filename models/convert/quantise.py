"""Networks in 8 bits: weights by channel, activations by ranges that were seen on pictures for calibration.

ONNX Runtime's own tool writes the model: in pairs of `QuantizeLinear` and `DequantizeLinear`, which every runtime
reads, after Jacob et al. 2018 (arXiv:1712.05877).
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import version_converter

from prosopon.models.weights.checksums import sha256_of

Ranges = Mapping[str, tuple[float, float]]
"""Tensor -> its least and greatest value."""

_OPERATORS = ["Conv", "ConvTranspose", "Add", "Relu"]
_OPSET = 13
"""The first in which scales go by channel."""


def folded(model: bytes) -> onnx.ModelProto:
    """The model with batch normalisations folded into convolutions. Tensors that remain keep their names."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(written)
        onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        converted = version_converter.convert_version(onnx.load(written), _OPSET)
    for number, node in enumerate(converted.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
    return converted


def quantise(model: bytes, ranges: Ranges) -> bytes:
    """The model in 8 bits, but for what gives its outputs: their finest steps count, and they cost next to nothing.

    Raises KeyError where a tensor's range is missing.
    """
    # Only weights are prepared with these, once: a replica starts without.
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    graph = folded(model)
    missing = activations(graph) - set(ranges)
    if missing:
        raise KeyError(f"no range for {', '.join(sorted(missing))}")
    known = {
        name: TensorData(lowest=np.float32(least), highest=np.float32(most))
        for name, (least, most) in ranges.items()
    }
    quantizer = QDQQuantizer(
        graph,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, known),
        nodes_to_quantize=[],
        nodes_to_exclude=[node.name for node in _last(graph)],
        op_types_to_quantize=_OPERATORS,
        extra_options={},
    )
    quantizer.quantize_model()
    return bytes(quantizer.model.model.SerializeToString())


def activations(graph: onnx.ModelProto) -> set[str]:
    """Names of the tensors that pictures decide: the input, and what the quantised operators give."""
    last = {node.name for node in _last(graph)}
    quantised = [node for node in graph.graph.node if node.op_type in _OPERATORS and node.name not in last]
    return {graph.graph.input[0].name} | {name for node in quantised for name in node.output}


def _last(graph: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The last of the operators before each output."""
    makers = {name: node for node in graph.graph.node for name in node.output}
    found = []
    for output in graph.graph.output:
        node = makers[output.name]
        while node.op_type not in _OPERATORS:
            node = makers[node.input[0]]
        found.append(node)
    return found


def read_ranges(path: Path) -> Ranges:
    """As `write_ranges` wrote them."""
    told = json.loads(path.read_text())["ranges"]
    return {name: (least, most) for name, (least, most) in told.items()}


def write_ranges(path: Path, source: Path, ranges: Ranges) -> None:
    """source: the weights to which they belong."""
    rounded = {name: [float(f"{value:.6g}") for value in pair] for name, pair in ranges.items()}
    path.write_text(json.dumps({"source": sha256_of(source), "ranges": rounded}, indent=1) + "\n")


def ranges_are_of(path: Path, source: Path) -> bool:
    """Whether they were measured on these weights."""
    return bool(json.loads(path.read_text())["source"] == sha256_of(source))
