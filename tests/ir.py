"""Networks written in the form of OpenVINO's newer releases, for the reader of that form."""

from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from prosopon.models.convert.openvino_ir import Graph

_EXPLICIT = {"auto_pad": "explicit"}


def write_ir_11(graph: Graph, xml: Path, weights: Path) -> None:
    """As OpenVINO 2022 and later write a network that is compressed to half precision: every constant a `Const` of f16
    and a `Convert` to f32, plain convolutions apart from those in groups, notes for the runtime everywhere."""
    net = Element("net", name="written", version="11")
    layers, edges = SubElement(net, "layers"), SubElement(net, "edges")
    data = bytearray()
    made: dict[str, tuple[str, str]] = {}

    def layer(kind: str, name: str, inputs: list[str], outputs: list[str], attributes: dict[str, str]) -> str:
        number = str(len(layers))
        item = SubElement(layers, "layer", id=number, name=name, type=kind, version="opset1")
        if attributes:
            SubElement(item, "data", attributes)
        notes = SubElement(item, "rt_info")
        SubElement(notes, "attribute", name="fused_names", version="0", value=name)
        if inputs:
            side = SubElement(item, "input")
            for place, value in enumerate(inputs):
                SubElement(side, "port", id=str(place), precision="FP32")
                origin, port = made[value]
                edge = {"from-layer": origin, "from-port": port, "to-layer": number, "to-port": str(place)}
                SubElement(edges, "edge", edge)
        if outputs:
            side = SubElement(item, "output")
            for place, value in enumerate(outputs, len(inputs)):
                port = SubElement(side, "port", id=str(place), precision="FP32", names=value)
                for side_length in {**graph.inputs, **graph.outputs}.get(value, ()):
                    SubElement(port, "dim").text = str(side_length)
                made[value] = number, str(place)
        return number

    for value, shape in graph.inputs.items():
        attributes = {"shape": ",".join(map(str, shape)), "element_type": "f32"}
        layer("Parameter", graph.names[value], [], [value], attributes)

    def constant(value: str, tensor: np.ndarray) -> None:
        half = tensor.astype("<f2").tobytes()
        attributes = {"element_type": "f16", "shape": ",".join(map(str, tensor.shape))}
        attributes |= {"offset": str(len(data)), "size": str(len(half))}
        data.extend(half)
        layer("Const", f"{value}_compressed", [], [f"{value}/f16"], attributes)
        layer("Convert", value, [f"{value}/f16"], [value], {"destination_type": "f32"})

    for node in graph.nodes:
        for value in node.inputs:
            if value in graph.constants and value not in made:
                kernel = graph.constants[value]
                plain = node.op == "GroupConvolution" and kernel.shape[0] == 1
                constant(value, kernel[0] if plain else kernel)
        kind = node.op
        if kind == "GroupConvolution" and graph.constants[node.inputs[1]].shape[0] == 1:
            kind = "Convolution"
        attributes = {k: v for k, v in node.attributes.items() if k not in ("group", "kernel", "output")}
        if kind == "AvgPool":
            attributes = node.attributes | {"exclude-pad": "true", "rounding_type": "floor"}
        explicit = _EXPLICIT if "strides" in attributes else {}
        layer(
            kind,
            graph.names.get(node.outputs[0], ""),
            list(node.inputs),
            list(node.outputs),
            attributes | explicit,
        )
    for value in graph.outputs:
        layer("Result", f"{value}/sink", [value], [], {})
    SubElement(SubElement(net, "rt_info"), "MO_version", value="2023.0")
    xml.write_bytes(ElementTree.tostring(net, xml_declaration=True, encoding="utf-8"))
    weights.write_bytes(bytes(data))
