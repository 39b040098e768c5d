"""TensorFlow Lite models as ONNX: a reader of the graph and of the operators that the registry's networks use.

Numbers of tables, fields, operators and enumerations are those of TensorFlow Lite's published schema, version 3
(`tensorflow/lite/schema/schema.fbs`). A batch that the file fixes becomes dynamic.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.shape_inference import InferenceError

from prosopon.models.convert.flatbuffer import FlatbufferError, Table, root

OPSET = 18
_TYPES = {0: "<f4", 1: "<f2", 2: "<i4", 4: "<i8"}
_FLOAT32, _SAME = 0, 0


class TfliteError(ValueError):
    """The file is not a TensorFlow Lite model that this reader knows."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """shape: as the file fixes it; data: of a constant."""

    name: str
    shape: tuple[int, ...]
    data: NDArray[Any] | None


@dataclass(frozen=True, slots=True)
class Operator:
    """code: of the builtin operator; inputs, outputs: positions in `Graph.tensors`; options: absent for some."""

    code: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Table | None

    def option(self, field: int, layout: str, default: int = 0) -> int:
        return default if self.options is None else self.options.number(field, layout, default)


@dataclass(frozen=True, slots=True)
class Graph:
    """operators: in the order of evaluation; inputs, outputs: positions in `tensors`."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read(path: Path) -> Graph:
    """The one graph of a ``.tflite`` file. Raises `TfliteError`."""
    try:
        model = root(path.read_bytes(), b"TFL3")
        graphs = list(model.tables(2))
        if len(graphs) != 1:
            raise TfliteError(f"the model has {len(graphs)} graphs")
        # Codes below 127 stand in the older field, of one byte; the newer one may be left out for them.
        codes = [max(code.number(0, "b"), code.number(3, "i")) for code in model.tables(1)]
        buffers = [buffer.array(0, "u1") for buffer in model.tables(4)]
        tensors = tuple(_tensor(table, buffers) for table in graphs[0].tables(0))
        operators = tuple(
            Operator(codes[table.number(0, "I")], _list(table, 1), _list(table, 2), table.table(4))
            for table in graphs[0].tables(3)
        )
        return Graph(tensors, operators, _list(graphs[0], 1), _list(graphs[0], 2))
    except (FlatbufferError, IndexError) as error:
        raise TfliteError(f"the model is malformed: {error}") from error


def _list(table: Table, field: int) -> tuple[int, ...]:
    return tuple(int(number) for number in table.array(field, "<i4"))


def _tensor(table: Table, buffers: list[NDArray[Any]]) -> Tensor:
    name, shape, code = table.text(3), _list(table, 0), table.number(1, "b")
    stored = buffers[table.number(2, "I")]
    if not stored.size:
        if code != _FLOAT32:
            raise TfliteError(f"'{name}' is computed in another type than float32")
        return Tensor(name, shape, None)
    if code not in _TYPES:
        raise TfliteError(f"'{name}' has the unsupported type {code}")
    try:
        return Tensor(name, shape, stored.view(_TYPES[code]).reshape(shape))
    except ValueError as error:
        raise TfliteError(f"'{name}' does not have as many bytes as its shape {shape} needs") from error


def to_onnx(graph: Graph, input_names: tuple[str, ...] = (), output_names: tuple[str, ...] = ()) -> bytes:
    """Serialise a graph as ONNX with a dynamic first axis ``N``, other axes and their order as in the file.

    input_names, output_names: what to call them, in the graph's order; by default the names in the file. Raises
    `TfliteError` for an unknown operator, or one that mixes the pictures of a batch.
    """
    try:
        return _model(graph, input_names, output_names)
    except (
        FlatbufferError,
        LookupError,
        ArithmeticError,
        onnx.checker.ValidationError,
        InferenceError,
    ) as error:
        raise TfliteError(f"the model is malformed: {error}") from error


def _model(graph: Graph, input_names: tuple[str, ...], output_names: tuple[str, ...]) -> bytes:
    builder = _Builder(graph)
    inputs = [builder.input(index) for index in graph.inputs]
    for operator in graph.operators:
        builder.add(operator)
    outputs = [builder.file_order(index) for index in graph.outputs]
    ends = [graph.tensors[index] for index in (*graph.inputs, *graph.outputs)]
    called = [
        *(input_names or (tensor.name for tensor in ends[: len(inputs)])),
        *(output_names or (tensor.name for tensor in ends[len(inputs) :])),
    ]
    rename = dict(zip([*inputs, *outputs], called, strict=True))
    for node in builder.nodes:
        for names in (node.input, node.output):
            names[:] = [rename.get(name, name) for name in names]
    used = {name for node in builder.nodes for name in node.input}
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *tensor.shape[1:]])
        for name, tensor in zip(called, ends, strict=True)
    ]
    model = helper.make_model(
        helper.make_graph(
            builder.nodes,
            "tflite",
            values[: len(inputs)],
            values[len(inputs) :],
            [numpy_helper.from_array(a, name) for name, a in builder.constants.items() if name in used],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=9,
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


class _Builder:
    """The nodes of the ONNX model. Values of four axes are kept as NCHW there; in the file they are NHWC."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.batch = graph.tensors[graph.inputs[0]].shape[0]
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self._names: dict[int, str] = {}

    def input(self, index: int) -> str:
        name = f"input{index}"
        self._names[index] = name
        if len(self.graph.tensors[index].shape) == 4:
            self._names[index] = self.emit("Transpose", [name], perm=[0, 3, 1, 2])
        return name

    def file_order(self, index: int) -> str:
        """The name of a value with its axes in the order of the file."""
        if len(self.graph.tensors[index].shape) == 4:
            return self.emit("Transpose", [self._names[index]], perm=[0, 2, 3, 1])
        return self.emit("Identity", [self._names[index]])

    def add(self, operator: Operator) -> None:
        if operator.code not in _OPERATORS:
            raise TfliteError(f"operator {operator.code} is not supported")
        for index in (*operator.inputs, *operator.outputs):
            tensor = self.graph.tensors[index]
            if tensor.data is None and (not tensor.shape or tensor.shape[0] != self.batch):
                raise TfliteError(f"the first axis of '{tensor.name}' is not the batch")
        translate, activation = _OPERATORS[operator.code]
        if activation is not None and operator.option(activation, "b"):
            raise TfliteError("an operator with an activation of its own is not supported")
        self._names[operator.outputs[0]] = translate(self, operator)

    def emit(self, op: str, inputs: list[str], **attributes: object) -> str:
        name = f"{op}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def _shape(self, index: int) -> tuple[int, ...]:
        return self.graph.tensors[index].shape

    def _data(self, index: int) -> NDArray[Any]:
        tensor = self.graph.tensors[index]
        if tensor.data is None:
            raise TfliteError(f"'{tensor.name}' must be constant")
        return tensor.data

    def _constant(self, array: NDArray[Any]) -> str:
        name = f"constant{len(self.constants)}"
        self.constants[name] = np.ascontiguousarray(array)
        return name

    def _pads(
        self, operator: Operator, kernel: tuple[int, int], strides: list[int], dilations: list[int]
    ) -> list[int]:
        """Padding SAME of TensorFlow: an odd pixel goes after the picture. Rows, columns before; then after."""
        if operator.option(0, "b") != _SAME:
            return [0, 0, 0, 0]
        sides = self._shape(operator.inputs[0])[1:3]
        totals = [
            max((-(-side // stride) - 1) * stride + (width - 1) * dilation + 1 - side, 0)
            for side, width, stride, dilation in zip(sides, kernel, strides, dilations, strict=True)
        ]
        return [total // 2 for total in totals] + [total - total // 2 for total in totals]

    def convolution(self, operator: Operator) -> str:
        # (out, rows, columns, in) to ONNX's (out, in, rows, columns).
        return self._convolve(operator, self._data(operator.inputs[1]).transpose(0, 3, 1, 2), 1, 4)

    def depthwise(self, operator: Operator) -> str:
        # (1, rows, columns, out), of which each channel of the input gets its share.
        kernel = self._data(operator.inputs[1]).transpose(3, 0, 1, 2)
        return self._convolve(operator, kernel, self._shape(operator.inputs[0])[3], 5)

    def _convolve(self, operator: Operator, kernel: NDArray[Any], groups: int, dilation: int) -> str:
        """dilation: the field of the options that holds it for columns; rows follow."""
        strides = [operator.option(2, "i"), operator.option(1, "i")]
        dilations = [operator.option(dilation + 1, "i", 1), operator.option(dilation, "i", 1)]
        rows, columns = kernel.shape[2:]
        constants = [self._constant(array) for array in (kernel, *map(self._data, operator.inputs[2:]))]
        return self.emit(
            "Conv",
            [self._names[operator.inputs[0]], *constants],
            group=groups,
            strides=strides,
            dilations=dilations,
            pads=self._pads(operator, (rows, columns), strides, dilations),
        )

    def max_pool(self, operator: Operator) -> str:
        strides = [operator.option(2, "i"), operator.option(1, "i")]
        kernel = (operator.option(4, "i"), operator.option(3, "i"))
        pads = self._pads(operator, kernel, strides, [1, 1])
        value = self._names[operator.inputs[0]]
        return self.emit("MaxPool", [value], kernel_shape=kernel, strides=strides, pads=pads)

    def pad(self, operator: Operator) -> str:
        before, after = self._data(operator.inputs[1]).astype(np.int64).T
        if len(before) == 4:
            before, after = before[[0, 3, 1, 2]], after[[0, 3, 1, 2]]
        amounts = self._constant(np.concatenate([before, after]))
        return self.emit("Pad", [self._names[operator.inputs[0]], amounts])

    def prelu(self, operator: Operator) -> str:
        """Written out: ONNX Runtime's PRelu is not vectorised, and takes several times as long."""
        value, slope = (self.operand(index, operator) for index in operator.inputs)
        if self._data(operator.inputs[1]).max() <= 1:
            return self.emit("Max", [value, self.emit("Mul", [value, slope])])
        negative = self.emit("Min", [value, self._constant(np.zeros(1, np.float32))])
        return self.emit("Add", [self.emit("Relu", [value]), self.emit("Mul", [negative, slope])])

    def reshape(self, operator: Operator) -> str:
        source, target = operator.inputs[0], self._shape(operator.outputs[0])
        flat = self.emit(
            "Reshape", [self.file_order(source), self._constant(np.array([-1, *target[1:]], np.int64))]
        )
        return self.emit("Transpose", [flat], perm=[0, 3, 1, 2]) if len(target) == 4 else flat

    def operand(self, index: int, operator: Operator) -> str:
        """A value, or a constant whose axes are laid against those of the operator's result."""
        array = self.graph.tensors[index].data
        if array is None:
            return self._names[index]
        if len(self._shape(operator.outputs[0])) == 4 and array.ndim:
            array = array.reshape((1,) * (4 - array.ndim) + array.shape).transpose(0, 3, 1, 2)
        return self._constant(array)


def _elementwise(op: str) -> Callable[[_Builder, Operator], str]:
    def translate(builder: _Builder, operator: Operator) -> str:
        return builder.emit(op, [builder.operand(index, operator) for index in operator.inputs])

    return translate


# Code -> what translates it, and the field of its options that names an activation, where it has one.
_OPERATORS: dict[int, tuple[Callable[[_Builder, Operator], str], int | None]] = {
    0: (_elementwise("Add"), 0),
    3: (_Builder.convolution, 3),
    4: (_Builder.depthwise, 4),
    17: (_Builder.max_pool, 5),
    18: (_elementwise("Mul"), 0),
    19: (_elementwise("Relu"), None),
    22: (_Builder.reshape, None),
    34: (_Builder.pad, None),
    41: (_elementwise("Sub"), 0),
    54: (_Builder.prelu, None),
    101: (_elementwise("Abs"), None),
}
