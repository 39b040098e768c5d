from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from google.protobuf.message import Message
from onnx import TensorProto, helper
from torch import nn

import models
from prosopon.models.convert.onnx_export import drop_remarks, export
from prosopon.models.runtime.session import Compute, create_session, run
from prosopon.models.training.mask.network import MaskNet, to_onnx

COMMITTED = sorted((Path(models.__file__).parent / "weights").glob("*.onnx"))


def remarks(message: Message) -> Iterator[object]:
    """Everything that a model says besides what it computes."""
    for field, value in message.ListFields():
        if field.name in ("doc_string", "metadata_props"):
            if value:
                yield value
        elif field.message_type is not None:
            for part in [value] if isinstance(value, Message) else value:
                yield from remarks(part)


def test_an_exported_network_answers_any_batch_and_names_no_file() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    data = export(network, torch.zeros(2, 3), "x", "y")
    assert not list(remarks(onnx.load_from_string(data)))
    assert str(Path(torch.__file__).parent).encode() not in data and __file__.encode() not in data
    session = create_session(data, Compute())
    for count in (1, 5):
        batch = np.random.default_rng(count).standard_normal((count, 3)).astype(np.float32)
        with torch.inference_mode():
            expected = network(torch.from_numpy(batch)).numpy()
        np.testing.assert_allclose(run(session, batch)[0], expected, atol=1e-6)


def test_the_mask_classifier_is_exported_without_the_exporters_stack_traces() -> None:
    model = onnx.load_from_string(to_onnx(MaskNet()))
    assert model.graph.node and not list(remarks(model))


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_the_projects_own_weights_say_nothing_of_the_machine_that_made_them(path: Path) -> None:
    assert not list(remarks(onnx.load(path)))


def test_remarks_are_dropped_from_the_graphs_inside_a_graph_too() -> None:
    def graph(*nodes: onnx.NodeProto) -> onnx.GraphProto:
        out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1], doc_string="of a value")
        return helper.make_graph(nodes, "g", [], [out], doc_string="of a graph")

    inner = helper.make_node("Constant", [], ["y"], value_float=1.0, doc_string="of a node")
    inner.metadata_props.add(key="pkg.torch.onnx.stack_trace", value="a file")
    outer = helper.make_node("If", ["c"], ["y"], then_branch=graph(inner), else_branch=graph(inner))
    model = helper.make_model(graph(outer), doc_string="of a model")
    assert len(list(remarks(model))) == 11
    drop_remarks(model)
    assert not list(remarks(model))
    assert model.graph.node[0].attribute[0].g.node[0].attribute[0].f == 1.0
