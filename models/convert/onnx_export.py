"""Networks of torch as ONNX. Imported to convert only."""

import logging
import warnings

import numpy as np
import onnx
import torch
from google.protobuf.message import Message
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

_REMARKS = ("doc_string", "metadata_props")


def export(
    network: nn.Module,
    example: Tensor | tuple[Tensor, ...],
    input_name: str | tuple[str, ...],
    output_name: str,
    opset: int | None = None,
) -> bytes:
    """A network of one output, in evaluation mode, as ONNX with a dynamic batch ``N``.

    example: an input of two or more, or one of each; a batch of one would be taken for a constant. input_name: or
    names, one of each. opset: the exporter's own by default.
    """
    examples = example if isinstance(example, tuple) else (example,)
    names = input_name if isinstance(input_name, tuple) else (input_name,)
    batch = {0: torch.export.Dim("N")}
    # The exporter warns of torchvision, which is not needed, and of torch's own deprecations.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.eval(),
            examples,
            input_names=list(names),
            output_names=[output_name],
            dynamic_shapes=[batch] * len(examples),
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # None only where a file was asked for
    model = program.model_proto
    drop_remarks(model)
    return bytes(model.SerializeToString())


def drop_remarks(message: Message) -> None:
    """Clear, in place, what an ONNX model says about itself besides what it computes, at every level of it.

    The exporter notes at each node where in torch and in the program it comes from: paths of this machine.
    """
    for name in _REMARKS:
        if name in message.DESCRIPTOR.fields_by_name:
            message.ClearField(name)
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if isinstance(value, Message) else value:
                drop_remarks(part)


def halved(model: bytes) -> bytes:
    """The model with its larger float32 constants stored in half precision, and computed with in single.

    Casts stand before what reads them; ONNX Runtime unfolds them when it loads the model.
    """
    graph = onnx.load_from_string(model)
    casts = []
    for tensor in graph.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < 2:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    # The exporter's notes on the tensors are of their old names.
    del graph.graph.value_info[:]
    onnx.checker.check_model(graph, full_check=True)
    return bytes(graph.SerializeToString())
