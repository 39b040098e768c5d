"""Runtimes and precisions of a network: the choice, and that the answers stay what ONNX Runtime gives in full."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from prosopon.configs.settings import DetectionSettings, ModelSettings
from prosopon.models.convert.quantise import activations, folded, quantise, read_ranges
from prosopon.models.faces.centerface import RANGES, CenterFace, make_dynamic
from prosopon.models.load import load_detector
from prosopon.models.runtime import openvino_network, plans
from prosopon.models.runtime.occupancy import Occupancy
from prosopon.models.runtime.plans import DEFAULT, Plans
from prosopon.models.runtime.session import Compute, DeviceError
from tests.samples import missed, noses, sample
from tests.weights import model_settings, weights


def convolution(channels: int = 8) -> bytes:
    """A network ``(N, 3, H, W)`` to ``(N, channels, H, W)`` with random weights."""
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((channels, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "kernel"], ["y"], pads=[1, 1, 1, 1])],
        "convolution",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", channels, "H", "W"])],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    opset = helper.make_opsetid("", 13)
    return bytes(helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString())


def of(folder: Path | None) -> Plans:
    return Plans("convolution", {"float32": convolution, "bfloat16": convolution}, (1, 3, 32, 48), folder)


def test_every_plan_answers_as_the_convolution_by_hand() -> None:
    from numpy.lib.stride_tricks import sliding_window_view

    batch = np.random.default_rng(1).standard_normal((2, 3, 9, 11)).astype(np.float32)
    kernel = np.random.default_rng(0).standard_normal((8, 3, 3, 3)).astype(np.float32)
    windows = sliding_window_view(np.pad(batch, ((0, 0), (0, 0), (1, 1), (1, 1))), (3, 3), axis=(2, 3))
    expected = np.einsum("nchwij,ocij->nohw", windows, kernel)
    for plan in of(None).possible():
        chosen, network = of(None).open(Compute(plan=plan, streams=2))
        [answer] = network(batch)
        # 8 bits of mantissa: each of 27 products may be off by a 256th.
        atol = 0.15 if plan.endswith("bfloat16") else 1e-4
        np.testing.assert_allclose(answer, expected, atol=atol)
        assert chosen == plan


def test_an_answer_outlives_the_next_run() -> None:
    batches = [np.full((1, 3, 8, 8), value, np.float32) for value in (1.0, 2.0)]
    for plan in of(None).possible():
        _, network = of(None).open(Compute(plan=plan))
        [first] = network(batches[0])
        kept = first.copy()
        network(batches[1])
        np.testing.assert_array_equal(first, kept)


def test_a_run_that_is_alone_has_the_threads_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = np.random.default_rng(1).standard_normal((1, 3, 32, 48)).astype(np.float32)
    used, opened = list[tuple[int, int]](), Plans._opened

    def noting(self: Plans, plan: plans.PlanName, compute: Compute) -> plans.Network:
        network = opened(self, plan, compute)

        def run(batch: np.ndarray) -> list[np.ndarray]:
            used.append((compute.threads, compute.streams))
            return network(batch)

        return run

    monkeypatch.setattr(Plans, "_opened", noting)
    for plan in of(None).possible():
        occupancy = Occupancy()
        _, network = of(None).open(Compute(plan=plan, streams=2, occupancy=occupancy))
        with occupancy:
            [alone] = network(batch)
            with occupancy:
                [beside] = network(batch)
            [again] = network(batch)
        assert used == [(2, 1), (1, 2), (2, 1)]
        np.testing.assert_allclose(alone, beside, atol=1e-4)
        np.testing.assert_array_equal(alone, again)
        used.clear()


def test_openvino_makes_one_run_at_a_time_where_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    if openvino_network.core() is None:
        pytest.skip("OpenVINO is not installed")
    given = list[Compute]()
    monkeypatch.setattr(
        openvino_network, "OpenVinoNetwork", lambda model, precision, compute: given.append(compute)
    )
    for one_stream in (False, True):
        plans = Plans("convolution", {"float32": convolution}, (1, 3, 32, 48), None, one_stream=one_stream)
        plans.open(Compute(plan="openvino/float32", threads=1, streams=2))
    assert [(compute.threads, compute.streams) for compute in given] == [(1, 2), (2, 1)]


def test_where_there_is_one_stream_there_is_one_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = list[Compute]()
    monkeypatch.setattr(Plans, "_opened", lambda self, plan, compute: opened.append(compute))
    of(None).open(Compute(plan=DEFAULT, threads=2, occupancy=Occupancy()))
    of(None).open(Compute(plan=DEFAULT, streams=2))
    assert len(opened) == 2


def test_the_fastest_is_measured_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if len(of(None).possible()) < 2:
        pytest.skip("this machine leaves no choice")
    times = dict.fromkeys(of(None).possible(), 1.0) | {DEFAULT: 2.0}
    fastest = next(plan for plan in times if plan != DEFAULT)
    times[fastest] = 0.5
    monkeypatch.setattr(Plans, "measure", lambda *_: times)
    assert of(tmp_path).fastest(Compute()) == fastest
    [kept] = tmp_path.glob("*.json")
    assert json.loads(kept.read_text()) == {"plan": fastest, "milliseconds": times}
    monkeypatch.setattr(Plans, "measure", lambda *_: pytest.fail("measured again"))
    assert of(tmp_path).fastest(Compute()) == fastest


def test_a_gain_that_is_not_worth_it_leaves_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Plans, "measure", lambda _, __, names: dict.fromkeys(names, 0.95) | {DEFAULT: 1.0})
    assert of(None).fastest(Compute()) == DEFAULT


def test_without_openvino_and_without_the_instructions_onnx_runtime_serves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(openvino_network, "core", lambda: None)
    monkeypatch.setattr(plans, "processor", lambda: ("aarch64", ""))
    assert CenterFace(weights("centerface").path, Compute(), DetectionSettings()).plan == DEFAULT
    with pytest.raises(DeviceError, match="it can by onnxruntime/float32"):
        of(None).open(Compute(plan="openvino/float32"))


def test_nobody_is_told_that_openvino_is_used() -> None:
    """Its maker's package, which sends an event when `openvino` is imported, is not loaded."""
    code = (
        "import sys; from prosopon.models.runtime import openvino_network as o; o.core(); o.version();"
        "print([name for name, module in sys.modules.items() if module and name.startswith('openvino_tele')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_settings_name_the_plan() -> None:
    models: ModelSettings = model_settings().model_copy(update={"plans": {"detector": DEFAULT}})
    weights("centerface")
    found = load_detector(models, DetectionSettings(), Compute())
    assert "+int8" not in found.fingerprint and "bfloat16" not in found.fingerprint


def test_8_bits_are_never_chosen_unnamed() -> None:
    assert {plan.partition("/")[2] for plan in plans_of_centerface_unasked()} <= {"float32", "bfloat16"}


def test_quantised_all_but_the_last_convolutions() -> None:
    model = make_dynamic(weights("centerface").path)
    ranges = read_ranges(RANGES)
    assert set(ranges) == activations(folded(model))
    with pytest.raises(KeyError, match="no range for"):
        quantise(model, {name: pair for name, pair in ranges.items() if name != "532"})
    assert len(quantise(model, ranges)) < len(model) / 3


def test_in_8_bits_every_annotated_nose_is_found() -> None:
    names = [plan for plan in plans_of_centerface() if plan.endswith("int8")]
    if not names:
        pytest.skip("this processor has no instructions for 8 bits")
    detector = CenterFace(weights("centerface").path, Compute(plan=names[-1]), DetectionSettings())
    lost = {name: missed(detector.detect([sample(name)], 0.5)[0], noses()[name]) for name in noses()}
    assert {name for name, points in lost.items() if points} == set()


def plans_of_centerface() -> list[plans.PlanName]:
    from prosopon.models.faces.centerface import plans as of_centerface

    return of_centerface(weights("centerface").path, "centerface").possible()


def plans_of_centerface_unasked() -> list[plans.PlanName]:
    from prosopon.models.faces.centerface import plans as of_centerface

    return of_centerface(weights("centerface").path, "centerface").unasked()
