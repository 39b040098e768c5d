"""Reads OpenVINO's intermediate representation (a graph in XML, its tensors in a .bin) without OpenVINO.

Versions 5, 10 and 11, and the operations that the networks of the registry use. The graph becomes a torch module
(`models.convert.openvino_ir.torch_graph`: differentiable, on any device) or an ONNX model with a dynamic batch.
"""

from prosopon.models.convert.openvino_ir.graph import Graph, IrError, Node
from prosopon.models.convert.openvino_ir.onnx_graph import to_onnx
from prosopon.models.convert.openvino_ir.reader import read

__all__ = ["Graph", "IrError", "Node", "read", "to_onnx"]
