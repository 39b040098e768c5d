"""Layers of IR version 5 (2018), rewritten as operations of opset1: their tensors are blobs of the layer."""

from xml.etree.ElementTree import Element

import numpy as np

from prosopon.models.convert.openvino_ir.graph import (
    IrError,
    Layer,
    Node,
    Tensor,
    Weights,
    children,
    integers,
    port,
    ports,
)

_ITEM_SIZE = {"FP32": 4, "FP16": 2}
_ELEMENT_TYPE = {"FP32": "f32", "FP16": "f16"}
_ELTWISE = {"sum": "Add", "mul": "Multiply"}
_ACTIVATION = {"sigmoid": "Sigmoid"}


def layers(net: Element, weights: Weights) -> dict[str, Layer]:
    """All layers by their number. Raises `IrError`."""
    return {item.attrib["id"]: _layer(item, weights) for item in children(net, "layers")}


def _layer(item: Element, weights: Weights) -> Layer:
    number, kind, name = item.attrib["id"], item.attrib["type"], item.attrib["name"]
    element = item.find("data")
    data = dict(element.attrib) if element is not None else {}
    takes = [(port(number, p), shape) for p, shape in ports(item, "input")]
    [(given, shape)] = ((port(number, p), shape) for p, shape in ports(item, "output"))
    names = {given: name}
    if kind == "Input":
        return Layer(input_shape=shape, names=names)
    sources = tuple(value for value, _ in takes)
    if kind == "Eltwise" and data.get("operation") in _ELTWISE:
        return Layer((Node(_ELTWISE[data["operation"]], sources, (given,)),), names=names)
    if kind == "Activation" and data.get("type") in _ACTIVATION:
        return Layer((Node(_ACTIVATION[data["type"]], sources, (given,)),), names=names)
    if kind == "Pooling" and data.get("pool-method") == "avg":
        renamed = {"kernel": data["kernel"], "strides": data["strides"]}
        renamed |= {"pads_begin": data["pads_begin"], "pads_end": data["pads_end"]}
        return Layer((Node("AvgPool", sources, (given,), renamed),), names=names)
    blobs = _blobs(item, weights)
    if kind == "PReLU":
        slope = f"{given}/slope"
        return Layer((Node("PReLU", (sources[0], slope), (given,)),), {slope: blobs["weights"]}, names=names)
    if kind == "ScaleShift":
        return _affine(sources[0], given, names, blobs)
    if kind == "Convolution":
        return _convolution(sources[0], takes[0][1][1], given, data, names, blobs)
    raise IrError(f"layer type {kind!r} of version 5 is not supported")


def _blobs(item: Element, weights: Weights) -> dict[str, Tensor]:
    """The layer's tensors, flat."""
    precision = item.attrib["precision"]
    group = item.find("blobs")
    if precision not in _ITEM_SIZE:
        raise IrError(f"precision {precision!r} is not supported")
    found: dict[str, Tensor] = {}
    for blob in group if group is not None else ():
        offset, size = int(blob.attrib["offset"]), int(blob.attrib["size"])
        count = size // _ITEM_SIZE[precision]
        found[blob.tag] = weights.tensor(_ELEMENT_TYPE[precision], (count,), offset, size)
    return found


def _per_channel(flat: Tensor) -> Tensor:
    return flat.reshape(1, -1, 1, 1)


def _affine(source: str, given: str, names: dict[str, str], blobs: dict[str, Tensor]) -> Layer:
    scale, shift, scaled = f"{given}/scale", f"{given}/shift", f"{given}/scaled"
    nodes = (Node("Multiply", (source, scale), (scaled,)), Node("Add", (scaled, shift), (given,)))
    constants = {scale: _per_channel(blobs["weights"]), shift: _per_channel(blobs["biases"])}
    return Layer(nodes, constants, names=names)


def _convolution(
    source: str,
    channels: int,
    given: str,
    data: dict[str, str],
    names: dict[str, str],
    blobs: dict[str, Tensor],
) -> Layer:
    groups, out = int(data["group"]), int(data["output"])
    shape = (groups, out // groups, channels // groups, *integers(data["kernel"]))
    kernel, summed = f"{given}/kernel", f"{given}/convolved"
    constants: dict[str, Tensor] = {kernel: np.ascontiguousarray(blobs["weights"].reshape(shape))}
    result = summed if "biases" in blobs else given
    nodes = [Node("GroupConvolution", (source, kernel), (result,), data)]
    if "biases" in blobs:
        bias = f"{given}/bias"
        constants[bias] = _per_channel(blobs["biases"])
        nodes.append(Node("Add", (summed, bias), (given,)))
    return Layer(tuple(nodes), constants, names=names)
