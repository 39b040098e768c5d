"""Layers of IR versions 10 and 11: constants are layers, every layer is one operation of an opset."""

from xml.etree.ElementTree import Element

import numpy as np

from prosopon.models.convert.openvino_ir.graph import (
    IrError,
    Layer,
    Node,
    Weights,
    children,
    integers,
    port,
    ports,
)


def layers(net: Element, weights: Weights) -> dict[str, Layer]:
    """All layers by their number. Raises `IrError`."""
    found = {item.attrib["id"]: _layer(item, weights) for item in children(net, "layers")}
    return _free_batch(net, _decompressed(net, found))


def _layer(item: Element, weights: Weights) -> Layer:
    number, kind, name = item.attrib["id"], item.attrib["type"], item.attrib["name"]
    element = item.find("data")
    data = dict(element.attrib) if element is not None else {}
    takes = tuple(port(number, p) for p, _ in ports(item, "input"))
    gives = tuple(port(number, p) for p, _ in ports(item, "output"))
    if kind == "Const":
        tensor = weights.tensor(
            data["element_type"], integers(data["shape"]), int(data["offset"]), int(data["size"])
        )
        return Layer(constants={gives[0]: tensor}, names={gives[0]: name})
    if kind == "Parameter":
        if data["element_type"] not in ("f32", "f16"):
            raise IrError("only networks that take floats are supported")
        return Layer(input_shape=integers(data["shape"]), names={gives[0]: name})
    if kind == "Result":
        return Layer(names={takes[0]: name}, is_result=True)
    return Layer((Node(kind, takes, gives, data),), names=dict.fromkeys(gives, name))


def _decompressed(net: Element, found: dict[str, Layer]) -> dict[str, Layer]:
    """Version 11 keeps weights in half precision and converts each where it is used: constants as well."""
    for edge in children(net, "edges"):
        origin, target = found[edge.attrib["from-layer"]], edge.attrib["to-layer"]
        nodes = found[target].nodes
        if origin.constants and nodes and nodes[0].op == "Convert":
            if nodes[0].attributes.get("destination_type") not in ("f32", "f16"):
                raise IrError("only constants that are floats are converted")
            [tensor], [value] = origin.constants.values(), nodes[0].outputs
            found[target] = Layer(constants={value: tensor}, names=found[target].names)
    return found


def _free_batch(net: Element, found: dict[str, Layer]) -> dict[str, Layer]:
    """Reshapes that write the batch down as 1 keep the batch that comes instead (0: as it was)."""
    shapes = {
        item.attrib["id"]: next(iter(ports(item, "input")), ("", ()))[1] for item in children(net, "layers")
    }
    for edge in children(net, "edges"):
        origin, target = found[edge.attrib["from-layer"]], edge.attrib["to-layer"]
        nodes = found[target].nodes
        if not (origin.constants and nodes and nodes[0].op == "Reshape"):
            continue
        if not nodes[0].flag("special_zero"):
            continue
        value, tensor = next(iter(origin.constants.items()))
        if tensor.ndim == 1 and tensor.size > 1 and tensor[0] == 1 and shapes[target][:1] == (1,):
            kept = np.concatenate([[0], tensor[1:]]).astype(np.int64)
            found[edge.attrib["from-layer"]] = Layer(constants={value: kept}, names=origin.names)
    return found
