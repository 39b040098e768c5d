"""The graph as an ONNX model, for serving."""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from prosopon.models.convert.openvino_ir.graph import Graph, IrError, Node, Tensor

OPSET = 18


def to_onnx(graph: Graph, input_names: tuple[str, ...] = (), output_names: tuple[str, ...] = ()) -> bytes:
    """Serialise a graph as ONNX with a dynamic first axis ``N``. Raises `IrError` for an unknown operation.

    input_names, output_names: what to call them, in the graph's order; by default the names in the IR.
    """
    builder = _Builder(graph)
    for node in graph.nodes:
        builder.add(node)
    inputs = list(zip(graph.inputs.items(), input_names or _own(graph, list(graph.inputs)), strict=True))
    outputs = list(zip(graph.outputs.items(), output_names or _own(graph, list(graph.outputs)), strict=True))
    rename = {value: name for (value, _), name in inputs + outputs}
    for made in builder.nodes:
        for names in (made.input, made.output):
            names[:] = [rename.get(name, name) for name in names]
    used = {name for node in builder.nodes for name in node.input}
    model = helper.make_model(
        helper.make_graph(
            builder.nodes,
            "ir",
            [_value(name, shape) for (_, shape), name in inputs],
            [_value(name, shape) for (_, shape), name in outputs],
            [numpy_helper.from_array(a, name) for name, a in builder.constants.items() if name in used],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=9,
    )
    model = onnx.shape_inference.infer_shapes(model)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _value(name: str, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape[1:]])


def _own(graph: Graph, values: list[str]) -> list[str]:
    return [graph.names.get(value, value) for value in values]


class _Builder:
    """Nodes and constants of the model that is being made."""

    def __init__(self, graph: Graph) -> None:
        self.constants: dict[str, Tensor] = dict(graph.constants)
        self.names = graph.names
        self.nodes: list[onnx.NodeProto] = []

    def add(self, node: Node) -> None:
        if node.op in _SAME:
            self._emit(_SAME[node.op], node.inputs, node)
        elif node.op in _TRANSLATIONS:
            _TRANSLATIONS[node.op](self, node)
        else:
            raise IrError(f"operation {node.op!r} is not supported")

    def _emit(self, op: str, inputs: tuple[str, ...], node: Node, **attributes: object) -> None:
        # The layer's own name: some libraries tell by it which normalisation a network contains.
        name = self.names.get(node.outputs[0], "")
        self.nodes.append(helper.make_node(op, list(inputs), list(node.outputs), name=name, **attributes))

    def _constant(self, node: Node, position: int) -> Tensor:
        if node.inputs[position] not in self.constants:
            raise IrError(f"input {position} of {node.op} must be constant")
        return self.constants[node.inputs[position]]

    def _changed(self, node: Node, position: int, array: Tensor) -> str:
        """The constant input of a node, in the form that ONNX wants."""
        name = f"{node.inputs[position]}/{node.op}"
        self.constants[name] = array
        return name

    def convolution(self, node: Node) -> None:
        self._convolve("Conv", node, node.inputs[0])

    def transposed_convolution(self, node: Node) -> None:
        self._convolve("ConvTranspose", node, node.inputs[0])

    def _convolve(self, op: str, node: Node, source: str) -> None:
        kernel = self._constant(node, 1)
        groups = kernel.shape[0] if kernel.ndim == 5 else 1
        flat = kernel.reshape(-1, *kernel.shape[2:]) if kernel.ndim == 5 else kernel
        extra = {"output_padding": node.ints("output_padding")} if node.ints("output_padding") else {}
        self._emit(
            op,
            (source, self._changed(node, 1, flat)),
            node,
            group=groups,
            pads=[*node.ints("pads_begin"), *node.ints("pads_end")],
            strides=node.ints("strides"),
            dilations=node.ints("dilations"),
            **(extra if op == "ConvTranspose" else {}),
        )

    def matmul(self, node: Node) -> None:
        if node.flag("transpose_a"):
            raise IrError("MatMul with a transposed first input is not supported")
        second = node.inputs[1]
        if node.flag("transpose_b"):
            second = self._changed(node, 1, np.ascontiguousarray(self._constant(node, 1).swapaxes(-1, -2)))
        self._emit("MatMul", (node.inputs[0], second), node)

    def prelu(self, node: Node) -> None:
        slope = self._constant(node, 1).reshape(-1)
        if slope.size == 1:
            self._emit("LeakyRelu", node.inputs[:1], node, alpha=float(slope[0]))
        else:
            self._emit("PRelu", (node.inputs[0], self._changed(node, 1, slope.reshape(-1, 1, 1))), node)

    def gather(self, node: Node) -> None:
        self._emit("Gather", node.inputs[:2], node, axis=int(self._constant(node, 2)))

    def axes(self, node: Node) -> None:
        """Squeeze and Unsqueeze: ONNX wants a list of axes, also where there is one."""
        listed = self._changed(node, 1, self._constant(node, 1).reshape(-1))
        self._emit(node.op, (node.inputs[0], listed), node)

    def mean(self, node: Node) -> None:
        listed = self._changed(node, 1, self._constant(node, 1).reshape(-1))
        self._emit("ReduceMean", (node.inputs[0], listed), node, keepdims=int(node.flag("keep_dims")))

    def split(self, node: Node) -> None:
        axis, lengths = int(self._constant(node, 1)), self._constant(node, 2)
        if (lengths < 0).any():
            raise IrError("VariadicSplit needs its lengths")
        self._emit("Split", (node.inputs[0], node.inputs[2]), node, axis=axis)

    def concat(self, node: Node) -> None:
        self._emit("Concat", node.inputs, node, axis=int(node.attributes["axis"]))

    def reshape(self, node: Node) -> None:
        self._emit("Reshape", node.inputs, node, allowzero=int(not node.flag("special_zero")))

    def average(self, node: Node) -> None:
        if any(node.ints("pads_begin") + node.ints("pads_end")):
            raise IrError("AvgPool with padding is not supported")
        shape, strides = node.ints("kernel"), node.ints("strides")
        self._emit("AveragePool", node.inputs, node, kernel_shape=shape, strides=strides)


_SAME = {
    "Add": "Add",
    "Broadcast": "Expand",
    "Multiply": "Mul",
    "Power": "Pow",
    "ShapeOf": "Shape",
    "Sigmoid": "Sigmoid",
    "Tile": "Tile",
}
_TRANSLATIONS: dict[str, Callable[[_Builder, Node], None]] = {
    "AvgPool": _Builder.average,
    "Concat": _Builder.concat,
    "Convolution": _Builder.convolution,
    "Gather": _Builder.gather,
    "GroupConvolution": _Builder.convolution,
    "GroupConvolutionBackpropData": _Builder.transposed_convolution,
    "MatMul": _Builder.matmul,
    "PReLU": _Builder.prelu,
    "ReduceMean": _Builder.mean,
    "Reshape": _Builder.reshape,
    "Squeeze": _Builder.axes,
    "Unsqueeze": _Builder.axes,
    "VariadicSplit": _Builder.split,
}
