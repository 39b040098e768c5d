"""Reads both files of an IR."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from prosopon.models.convert.openvino_ir import v5, v10
from prosopon.models.convert.openvino_ir.graph import Graph, IrError, Weights, connect

MAX_XML_BYTES = 32 << 20


def read(xml: Path, weights: Path) -> Graph:
    """Read both files of an IR, version 5, 10 or 11. Raises `IrError`.

    A document type, and with it every entity, is refused before the text is parsed.
    """
    if xml.stat().st_size > MAX_XML_BYTES:
        raise IrError("the graph's file is too large")
    try:
        text = xml.read_text(encoding="utf-8")
        if "<!" in text.replace("<!--", ""):
            raise IrError("a document type is not allowed")
        net = ElementTree.fromstring(text)
    except (UnicodeDecodeError, ElementTree.ParseError) as error:
        raise IrError("the graph's file is not XML") from error
    version = net.get("version", "")
    layers = {"5": v5.layers, "10": v10.layers, "11": v10.layers}.get(version)
    if net.tag != "net" or layers is None:
        raise IrError(f"not an IR of version 5, 10 or 11: {net.tag} {version}")
    try:
        return connect(net, layers(net, Weights(weights.read_bytes())))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, IrError):
            raise
        raise IrError(f"the graph is malformed: {error}") from error
