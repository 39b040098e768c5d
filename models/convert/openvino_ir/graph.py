"""The graph: values named by strings, nodes in the order of evaluation, constants as arrays."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tensor = NDArray[Any]
"""float32 or int64."""


# Element types of constants and how they are kept: one float and one integer type are enough downstream.
_DTYPES: dict[str, tuple[np.dtype[Any], type[np.generic]]] = {
    "f32": (np.dtype("<f4"), np.float32),
    "f16": (np.dtype("<f2"), np.float32),
    "i64": (np.dtype("<i8"), np.int64),
    "i32": (np.dtype("<i4"), np.int64),
}


class IrError(ValueError):
    """The files are not an IR that this reader knows."""


@dataclass(frozen=True, slots=True)
class Node:
    """One operation of opset1 and its successors. attributes: as the XML spells them."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, str] = field(default_factory=dict)

    def ints(self, name: str) -> tuple[int, ...]:
        """An attribute that is a list of integers."""
        return integers(self.attributes.get(name, ""))

    def flag(self, name: str) -> bool:
        return self.attributes.get(name, "false").lower() in ("true", "1")


@dataclass(frozen=True, slots=True)
class Graph:
    """nodes: in the order of evaluation. inputs, outputs: values and the shapes that the file declares.

    constants: float32 or int64 by name. names: what the layers that make the values are called.
    """

    nodes: tuple[Node, ...]
    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]
    constants: dict[str, Tensor]
    names: dict[str, str]

    def constant(self, name: str) -> Tensor:
        """A constant by the name that its layer has in the file. Raises `IrError` where there is none."""
        for value, own in self.names.items():
            if own == name and value in self.constants:
                return self.constants[value]
        raise IrError(f"there is no constant {name!r}")


def integers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(item) for item in text.replace(" ", "").split(",") if item)
    except ValueError as error:
        raise IrError(f"not a list of integers: {text[:40]!r}") from error


class Weights:
    """The .bin file; every access is checked against its size."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def tensor(self, element_type: str, shape: tuple[int, ...], offset: int, size: int) -> Tensor:
        if element_type not in _DTYPES:
            raise IrError(f"element type {element_type!r} is not supported")
        stored, kept = _DTYPES[element_type]
        if min(shape, default=1) < 0 or prod(shape) * stored.itemsize != size:
            raise IrError(f"a constant of shape {shape} and type {element_type} cannot have {size} bytes")
        if offset < 0 or offset + size > len(self._data):
            raise IrError("a constant lies outside the weights file")
        flat = np.frombuffer(self._data, stored, count=prod(shape), offset=offset)
        tensor: Tensor = flat.reshape(shape).astype(kept)
        return tensor


@dataclass(frozen=True, slots=True)
class Layer:
    """What one element of the XML stands for. Its nodes name the layer's ports as inputs and outputs."""

    nodes: tuple[Node, ...] = ()
    constants: dict[str, Tensor] = field(default_factory=dict)
    input_shape: tuple[int, ...] | None = None
    names: dict[str, str] = field(default_factory=dict)
    is_result: bool = False


def port(layer: str, number: str) -> str:
    """The name of a value, or of the place where a layer takes one."""
    return f"{layer}:{number}"


def ports(element: ElementTree.Element, side: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Numbers and declared shapes of the ports on the `input` or `output` side of a layer."""
    group = element.find(side)
    for item in group if group is not None else ():
        yield item.attrib["id"], tuple(int(dim.text or "") for dim in item.findall("dim"))


def children(net: ElementTree.Element, group: str) -> Iterator[ElementTree.Element]:
    found = net.find(group)
    if found is None:
        raise IrError(f"there are no {group}")
    yield from found


def connect(net: ElementTree.Element, layers: dict[str, Layer]) -> Graph:
    """Replace every input port by the value that an edge brings to it, and put the layers in order."""
    sources: dict[str, str] = {}
    before: dict[str, set[str]] = {layer: set() for layer in layers}
    for edge in children(net, "edges"):
        origin, target = edge.attrib["from-layer"], edge.attrib["to-layer"]
        sources[port(target, edge.attrib["to-port"])] = port(origin, edge.attrib["from-port"])
        before[target].add(origin)
    try:
        order = list(TopologicalSorter(before).static_order())
    except CycleError as error:
        raise IrError("the graph has a cycle") from error
    nodes: list[Node] = []
    inputs: dict[str, tuple[int, ...]] = {}
    constants: dict[str, Tensor] = {}
    names: dict[str, str] = {}
    results: list[str] = []
    for number in order:
        layer = layers[number]
        constants |= layer.constants
        names |= layer.names
        for node in layer.nodes:
            values = tuple(sources.get(name, name) for name in node.inputs)
            nodes.append(Node(node.op, values, node.outputs, node.attributes))
        if layer.input_shape is not None:
            inputs[next(iter(layer.names))] = layer.input_shape
        if layer.is_result:
            results.append(sources[next(iter(layer.names))])
    known = set(inputs) | set(constants)
    for node in nodes:
        if missing := [name for name in node.inputs if name not in known]:
            raise IrError(f"{node.op} takes a value that nothing makes: {missing[0]}")
        known |= set(node.outputs)
    if not results:
        # Before version 10 a result is what nobody takes.
        taken = {name for node in nodes for name in node.inputs}
        results = [name for node in nodes for name in node.outputs if name not in taken]
    declared = {
        port(item.attrib["id"], number): shape
        for item in children(net, "layers")
        for number, shape in ports(item, "output")
    }
    return Graph(tuple(nodes), inputs, {name: declared[name] for name in results}, constants, names)
