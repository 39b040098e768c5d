"""A small ONNX model as a torch module: differentiable, and on any device."""

from collections.abc import Callable
from typing import Any

import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

Attributes = dict[str, Any]
Operation = Callable[[Attributes, list[Tensor]], Tensor]


class OnnxError(ValueError):
    """The model has an operation that is not known here."""


class TorchOnnx(nn.Module):
    """Evaluates the graph node by node; gradients flow to its inputs. Weights are buffers."""

    def __init__(self, model: bytes) -> None:
        """Raises `OnnxError`."""
        super().__init__()
        graph = onnx.load_model_from_string(model).graph
        if unknown := sorted({node.op_type for node in graph.node} - _OPERATIONS.keys()):
            raise OnnxError(f"operations not supported: {', '.join(unknown)}")
        self._inputs = [value.name for value in graph.input]
        self._outputs = [value.name for value in graph.output]
        self._integers: dict[str, Tensor] = {}
        self._floats: dict[str, str] = {}
        for number, constant in enumerate(graph.initializer):
            tensor = torch.from_numpy(numpy_helper.to_array(constant).copy())
            if tensor.is_floating_point():
                self._floats[constant.name] = f"constant_{number}"
                self.register_buffer(f"constant_{number}", tensor)
            else:
                self._integers[constant.name] = tensor
        self._nodes = [
            (
                node.op_type,
                {item.name: helper.get_attribute_value(item) for item in node.attribute},
                list(node.input),
                node.output[0],
            )
            for node in graph.node
        ]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Inputs and outputs in the order of the graph's."""
        values: dict[str, Tensor] = dict(zip(self._inputs, inputs, strict=True))
        values |= self._integers
        values |= {name: self.get_buffer(buffer) for name, buffer in self._floats.items()}
        for op, attributes, names, output in self._nodes:
            values[output] = _OPERATIONS[op](attributes, [values[name] for name in names])
        return tuple(values[name] for name in self._outputs)


def _padded(x: Tensor, attributes: Attributes, value: float) -> Tensor:
    """Explicit pads before and after rows and columns, which may differ."""
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    return functional.pad(x, (left, right, top, bottom), value=value) if top or left or bottom or right else x


def _convolution(attributes: Attributes, inputs: list[Tensor]) -> Tensor:
    x, kernel, *bias = inputs
    return functional.conv2d(
        _padded(x, attributes, 0.0),
        kernel,
        bias[0] if bias else None,
        attributes.get("strides", 1),
        0,
        attributes.get("dilations", 1),
        attributes.get("group", 1),
    )


def _max_pool(attributes: Attributes, inputs: list[Tensor]) -> Tensor:
    x = _padded(inputs[0], attributes, -torch.inf)
    return functional.max_pool2d(x, attributes["kernel_shape"], attributes.get("strides", 1))


def _pad(attributes: Attributes, inputs: list[Tensor]) -> Tensor:
    x, amounts = inputs[0], inputs[1].tolist()
    axes = x.dim()
    pairs = [side for axis in reversed(range(axes)) for side in (amounts[axis], amounts[axis + axes])]
    return functional.pad(x, pairs)


def _reshape(attributes: Attributes, inputs: list[Tensor]) -> Tensor:
    x, target = inputs
    return x.reshape([x.shape[axis] if side == 0 else side for axis, side in enumerate(target.tolist())])


def _linear(attributes: Attributes, inputs: list[Tensor]) -> Tensor:
    x, weight, bias = inputs
    if (
        not attributes["transB"]
        or attributes["transA"]
        or attributes["alpha"] != 1
        or attributes["beta"] != 1
    ):
        raise OnnxError("Gemm: only x W' + b is supported")
    return functional.linear(x, weight, bias)


_OPERATIONS: dict[str, Operation] = {
    "Abs": lambda _, x: x[0].abs(),
    "Add": lambda _, x: x[0] + x[1],
    # Of constants in half precision alone.
    "Cast": lambda _, x: x[0].float(),
    "Concat": lambda attributes, x: torch.cat(x, dim=attributes["axis"]),
    "Conv": _convolution,
    "Gather": lambda attributes, x: x[0].index_select(attributes["axis"], x[1]),
    "Gemm": _linear,
    "Identity": lambda _, x: x[0],
    "LeakyRelu": lambda attributes, x: functional.leaky_relu(x[0], attributes["alpha"]),
    "Max": lambda _, x: torch.maximum(x[0], x[1]),
    "MaxPool": _max_pool,
    "Min": lambda _, x: torch.minimum(x[0], x[1]),
    "Mul": lambda _, x: x[0] * x[1],
    "Pad": _pad,
    "ReduceMean": lambda attributes, x: x[0].mean(x[1].tolist(), keepdim=bool(attributes["keepdims"])),
    "Relu": lambda _, x: x[0].relu(),
    "Reshape": _reshape,
    "Sigmoid": lambda _, x: x[0].sigmoid(),
    "Sub": lambda _, x: x[0] - x[1],
    "Transpose": lambda attributes, x: x[0].permute(attributes["perm"]),
}
