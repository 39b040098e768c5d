"""The graph as a torch module that evaluates it node by node."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from prosopon.models.convert.openvino_ir.graph import Graph, IrError, Node

Operation = Callable[[Node, list[Tensor]], Tensor | tuple[Tensor, ...]]


class TorchGraph(nn.Module):
    """Evaluates a graph; gradients flow to its inputs. Weights are buffers, so ``.to(device)`` moves them.

    Shapes and indices are computed on the CPU, whatever the device of the images.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        if unknown := sorted({node.op for node in graph.nodes} - _OPERATIONS.keys()):
            raise IrError(f"operations not supported: {', '.join(unknown)}")
        self.graph = graph
        self._integers: dict[str, Tensor] = {}
        self._floats: dict[str, str] = {}
        for number, (name, array) in enumerate(graph.constants.items()):
            tensor = torch.from_numpy(array.copy())
            if tensor.is_floating_point():
                self._floats[name] = f"constant_{number}"
                self.register_buffer(f"constant_{number}", tensor)
            else:
                self._integers[name] = tensor
        self._last_use = {name: i for i, node in enumerate(graph.nodes) for name in node.inputs}

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Inputs and outputs in the order of the graph's; the first axis is the batch."""
        values: dict[str, Tensor] = dict(zip(self.graph.inputs, inputs, strict=True))
        values |= self._integers
        values |= {name: self.get_buffer(buffer) for name, buffer in self._floats.items()}
        keep = set(self.graph.outputs)
        for i, node in enumerate(self.graph.nodes):
            made = _OPERATIONS[node.op](node, [values[name] for name in node.inputs])
            values.update(zip(node.outputs, made if isinstance(made, tuple) else (made,), strict=True))
            for name in set(node.inputs):
                if self._last_use[name] == i and name not in keep:
                    del values[name]
        return tuple(values[name] for name in self.graph.outputs)


def _symmetric_pads(node: Node) -> tuple[int, ...]:
    begin, end = node.ints("pads_begin"), node.ints("pads_end")
    if begin != end or node.attributes.get("auto_pad", "explicit") != "explicit":
        raise IrError(f"{node.op} with uneven padding is not supported")
    return begin


def _convolution(node: Node, inputs: list[Tensor]) -> Tensor:
    x, kernel = inputs
    groups = kernel.shape[0] if kernel.dim() == 5 else 1
    kernel = kernel.flatten(0, 1) if kernel.dim() == 5 else kernel
    pads, strides, dilations = _symmetric_pads(node), node.ints("strides"), node.ints("dilations")
    return functional.conv2d(x, kernel, None, strides, pads, dilations, groups)


def _transposed_convolution(node: Node, inputs: list[Tensor]) -> Tensor:
    x, kernel = inputs
    return functional.conv_transpose2d(
        x,
        kernel.flatten(0, 1),
        None,
        node.ints("strides"),
        _symmetric_pads(node),
        node.ints("output_padding") or 0,
        kernel.shape[0],
        node.ints("dilations"),
    )


def _matmul(node: Node, inputs: list[Tensor]) -> Tensor:
    a, b = inputs
    a = a.transpose(-1, -2) if node.flag("transpose_a") else a
    return a @ (b.transpose(-1, -2) if node.flag("transpose_b") else b)


def _reshape(node: Node, inputs: list[Tensor]) -> Tensor:
    x, target = inputs
    shape = [int(side) for side in target.tolist()]
    if node.flag("special_zero"):
        shape = [x.shape[axis] if side == 0 else side for axis, side in enumerate(shape)]
    return x.reshape(shape)


def _squeeze(node: Node, inputs: list[Tensor]) -> Tensor:
    return inputs[0].squeeze(tuple(inputs[1].reshape(-1).tolist()))


def _unsqueeze(node: Node, inputs: list[Tensor]) -> Tensor:
    x, axes = inputs
    for axis in sorted(axes.reshape(-1).tolist()):
        x = x.unsqueeze(axis)
    return x


def _gather(node: Node, inputs: list[Tensor]) -> Tensor:
    x, index, axis = inputs
    picked = x.index_select(int(axis), index.reshape(-1))
    sides = list(x.shape)
    sides[int(axis) : int(axis) + 1] = list(index.shape)
    return picked.reshape(sides)


def _split(node: Node, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    x, axis, lengths = inputs
    sizes = lengths.tolist()
    rest = x.shape[int(axis)] - sum(size for size in sizes if size >= 0)
    whole = [rest if size == -1 else size for size in sizes]
    return torch.split_with_sizes(x, whole, int(axis))


def _broadcast(node: Node, inputs: list[Tensor]) -> Tensor:
    x, target = inputs
    return torch.broadcast_to(x, tuple(np.broadcast_shapes(tuple(x.shape), tuple(target.tolist()))))


def _average(node: Node, inputs: list[Tensor]) -> Tensor:
    if any(_symmetric_pads(node)):
        raise IrError("AvgPool with padding is not supported")
    return functional.avg_pool2d(inputs[0], node.ints("kernel"), node.ints("strides"))


_OPERATIONS: dict[str, Operation] = {
    "Add": lambda node, x: x[0] + x[1],
    "AvgPool": _average,
    "Broadcast": _broadcast,
    "Concat": lambda node, x: torch.cat(x, int(node.attributes["axis"])),
    "Convolution": _convolution,
    "Gather": _gather,
    "GroupConvolution": _convolution,
    "GroupConvolutionBackpropData": _transposed_convolution,
    "MatMul": _matmul,
    "Multiply": lambda node, x: x[0] * x[1],
    "PReLU": lambda node, x: functional.prelu(x[0], x[1].reshape(-1)),
    "Power": lambda node, x: x[0] ** x[1],
    "ReduceMean": lambda node, x: x[0].mean(tuple(x[1].reshape(-1).tolist()), keepdim=node.flag("keep_dims")),
    "Reshape": _reshape,
    "ShapeOf": lambda node, x: torch.tensor(x[0].shape),
    "Sigmoid": lambda node, x: x[0].sigmoid(),
    "Squeeze": _squeeze,
    "Tile": lambda node, x: x[0].tile(tuple(x[1].tolist())),
    "Unsqueeze": _unsqueeze,
    "VariadicSplit": _split,
}
