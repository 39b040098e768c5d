"""The IR reader: agreement with OpenVINO in torch and ONNX, and files that are not what they claim.

`openvino_golden.npz` holds what OpenVINO 2026.4.1 (CPU, float32) gave for the inputs of `golden_inputs`.
"""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from prosopon.models.convert.openvino_ir import Graph, IrError, read, to_onnx
from prosopon.models.convert.openvino_ir.torch_graph import TorchGraph
from tests.ir import write_ir_11
from tests.paths import MIRROR, require
from tests.weights import weights

GOLDEN = np.load(Path(__file__).with_name("openvino_golden.npz"))


def golden_inputs() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    face = random.uniform(0, 255, (1, 3, 112, 112)).astype(np.float32)
    return face, random.normal(size=(1, 512)).astype(np.float32)


def mobilefacenet() -> Graph:
    return read(require(MIRROR / "model-y1-0000.xml"), MIRROR / "model-y1-0000.bin")


def run_torch(graph: Graph, batch: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return TorchGraph(graph)(torch.from_numpy(batch))[0].numpy()


def run_onnx(graph: Graph, batch: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(to_onnx(graph), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: batch})[0]


@pytest.mark.parametrize("run", [run_torch, run_onnx])
def test_convolutional_network_agrees_with_openvino(run) -> None:
    np.testing.assert_allclose(
        run(mobilefacenet(), golden_inputs()[0])[0], GOLDEN["mobilefacenet"], atol=5e-6
    )


@pytest.mark.parametrize("run", [run_torch, run_onnx])
def test_mapping_network_agrees_with_openvino(run) -> None:
    graph = read(*weights("mobilestylegan-mapper").paths)
    np.testing.assert_allclose(run(graph, golden_inputs()[1])[0], GOLDEN["w"], atol=5e-6)


@pytest.mark.parametrize("run", [run_torch, run_onnx])
def test_synthesis_network_agrees_with_openvino(run) -> None:
    graph = read(*weights("mobilestylegan-generator").paths)
    image = run(graph, GOLDEN["w"][None])[0]
    np.testing.assert_allclose(image[:, ::16, ::16], GOLDEN["image"], atol=5e-5)


@pytest.mark.parametrize("run", [run_torch, run_onnx])
def test_version_5_gives_the_same_for_one_and_for_a_batch(run) -> None:
    graph = read(*weights("face-reidentification-retail-0095").paths)
    batch = np.random.default_rng(0).uniform(0, 255, (3, 3, 128, 128)).astype(np.float32)
    together = run(graph, batch)
    assert together.shape == (3, 256, 1, 1)
    np.testing.assert_allclose(run(graph, batch[1:2])[0], together[1], atol=1e-5)
    np.testing.assert_allclose(run_torch(graph, batch), run_onnx(graph, batch), atol=1e-5)


@pytest.mark.parametrize("run", [run_torch, run_onnx])
def test_version_11_gives_what_the_same_network_in_version_5_gives(tmp_path: Path, run) -> None:
    older = read(*weights("face-reidentification-retail-0095").paths)
    write_ir_11(older, tmp_path / "newer.xml", tmp_path / "newer.bin")
    assert (tmp_path / "newer.xml").read_text().count('type="Convert"') == len(older.constants)
    newer = read(tmp_path / "newer.xml", tmp_path / "newer.bin")
    batch = np.random.default_rng(0).uniform(0, 255, (2, 3, 128, 128)).astype(np.float32)
    # The weights are halves in both: nothing but the form may differ.
    np.testing.assert_allclose(run(newer, batch), run(older, batch), atol=1e-5)


def test_gradients_reach_the_input() -> None:
    z = torch.from_numpy(golden_inputs()[1]).requires_grad_()
    TorchGraph(read(*weights("mobilestylegan-mapper").paths))(z)[0].sum().backward()
    assert z.grad is not None and torch.isfinite(z.grad).all() and z.grad.abs().max() > 0


TINY = """<?xml version="1.0"?>
<net name="tiny" version="10"><layers>
<layer id="0" name="x" type="Parameter" version="opset1"><data shape="1,2" element_type="f32"/>
<output><port id="0"><dim>1</dim><dim>2</dim></port></output></layer>
<layer id="1" name="c" type="Const" version="opset1">
<data shape="{shape}" element_type="{element}" offset="{offset}" size="{size}"/>
<output><port id="0"><dim>1</dim><dim>2</dim></port></output></layer>
<layer id="2" name="sum" type="{op}" version="opset1">
<input><port id="0"><dim>1</dim><dim>2</dim></port><port id="1"><dim>1</dim><dim>2</dim></port></input>
<output><port id="2"><dim>1</dim><dim>2</dim></port></output></layer>
<layer id="3" name="out" type="Result" version="opset1">
<input><port id="0"><dim>1</dim><dim>2</dim></port></input></layer>
</layers><edges>
<edge from-layer="0" from-port="0" to-layer="2" to-port="0"/>
<edge from-layer="{source}" from-port="{port}" to-layer="2" to-port="1"/>
<edge from-layer="2" from-port="2" to-layer="3" to-port="0"/>
</edges></net>"""
FIELDS = {"shape": "1,2", "element": "f32", "offset": 0, "size": 8, "op": "Add", "source": 1, "port": 0}


def write(folder: Path, text: str, data: bytes = np.array([1, 2], "<f4").tobytes()) -> tuple[Path, Path]:
    (folder / "net.xml").write_text(text)
    (folder / "net.bin").write_bytes(data)
    return folder / "net.xml", folder / "net.bin"


def test_a_graph_written_by_hand(tmp_path: Path) -> None:
    graph = read(*write(tmp_path, TINY.format(**FIELDS)))
    batch = np.array([[1, 1], [5, 6]], np.float32)
    np.testing.assert_array_equal(run_torch(graph, batch), batch + np.array([1, 2]))
    np.testing.assert_array_equal(run_onnx(graph, batch), batch + np.array([1, 2]))
    np.testing.assert_array_equal(graph.constant("c"), [[1, 2]])


@pytest.mark.parametrize(
    "fields",
    [
        {"offset": 4},
        {"offset": -4},
        {"size": 12},
        {"shape": "1,3"},
        {"shape": "-1,-2"},
        {"shape": "one"},
        {"element": "u1"},
        {"source": 2, "port": 2},
        {"source": 9},
        {"port": 7},
    ],
    ids=str,
)
def test_inconsistent_files_are_refused(tmp_path: Path, fields: dict) -> None:
    with pytest.raises(IrError):
        read(*write(tmp_path, TINY.format(**FIELDS | fields)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not xml",
        "<net version='10'/>",
        "<net version='7'><layers/><edges/></net>",
        "<model version='10'><layers/><edges/></model>",
        TINY.format(**FIELDS).replace(
            "<net", '<!DOCTYPE net [<!ENTITY a SYSTEM "file:///etc/passwd">]><net', 1
        ),
    ],
    ids=["empty", "text", "no layers", "version", "root", "entity"],
)
def test_what_is_no_graph_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(IrError):
        read(*write(tmp_path, text))


def test_unknown_operations_are_named(tmp_path: Path) -> None:
    graph = read(*write(tmp_path, TINY.format(**FIELDS | {"op": "Erfinv"})))
    for convert in (TorchGraph, to_onnx):
        with pytest.raises(IrError, match="Erfinv"):
            convert(graph)
