"""How the network of age and gender is trained: its pictures, its starting weights, its calibration, its file."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F

from prosopon.models.convert.openvino_ir import read, to_onnx
from prosopon.models.faces.age_gender import BANDS, CROP
from prosopon.models.pictures.crops import cut
from prosopon.models.runtime.session import Compute, create_session, run
from prosopon.models.training.age_gender import augment, network, prepare, train
from prosopon.models.training.age_gender.finish import calibrate
from prosopon.models.training.age_gender.network import AgeGenderNet, Calibrated, mean_of
from prosopon.models.training.retail_trunk import start
from tests.weights import weights


def picture(side: int = 128) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    return cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)


LANDMARKS = np.asarray(CROP.template, np.float32) * 1.03 + (6, 3)


@pytest.fixture(scope="module")
def retail() -> onnx.ModelProto:
    graph, tensors = weights("face-reidentification-retail-0095").paths
    return onnx.load_from_string(to_onnx(read(graph, tensors)))


@pytest.fixture(scope="module")
def started(retail: onnx.ModelProto) -> AgeGenderNet:
    made = AgeGenderNet().eval()
    start(made, retail)
    return made


def test_training_chips_are_cut_as_serving_cuts_them() -> None:
    served = cut(picture(), np.array([20, 20, 100, 110], np.float32), LANDMARKS, CROP).pixels
    np.testing.assert_array_equal(augment.plain(picture(), LANDMARKS), served)


def test_a_mirrored_chip_is_the_mirror_image() -> None:
    straight, mirrored = (augment.plain(picture(), LANDMARKS, flip) for flip in (False, True))
    apart = np.abs(straight[:, ::-1].astype(int) - mirrored)[2:-2, 2:-2]
    assert apart.max() <= 8 and apart.mean() < 1


def test_varied_chips_keep_shape_and_differ() -> None:
    rng = np.random.default_rng(1)
    several = [augment.varied(rng, picture(), LANDMARKS, i % 2 == 1) for i in range(40)]
    assert all(chip.shape == (CROP.size, CROP.size, 3) and chip.dtype == np.uint8 for chip in several)
    assert len({chip.tobytes() for chip in several}) == 40


def test_it_starts_as_the_trunk_of_the_network_that_it_is_made_of(
    retail: onnx.ModelProto, started: AgeGenderNet
) -> None:
    """At the size of the starting network both give the same last map."""
    retail = onnx.ModelProto.FromString(retail.SerializeToString())
    last = retail.graph.node[-4].output[0]
    retail.graph.output.append(onnx.helper.make_tensor_value_info(last, onnx.TensorProto.FLOAT, None))
    chips = np.random.default_rng(0).integers(0, 256, (2, 3, 128, 128)).astype(np.float32)
    _, wanted = run(create_session(retail.SerializeToString(), Compute()), chips[:, ::-1].copy())
    with torch.inference_mode():
        maps = started.maps(torch.from_numpy(chips))
    np.testing.assert_allclose(maps.numpy(), wanted, rtol=1e-4, atol=1e-4)


def test_a_checkpoint_holds_all_that_start_sets(started: AgeGenderNet) -> None:
    again = AgeGenderNet().eval()
    again.load_state_dict(started.state_dict())
    chips = torch.from_numpy(picture(CROP.size).transpose(2, 0, 1)[None].astype(np.float32))
    with torch.inference_mode():
        maps = started.lower(chips)
        assert torch.equal(again.lower(chips), maps) and torch.equal(
            again.features(maps), started.features(maps)
        )


def test_half_precision_answers_as_the_network_and_is_small(started: AgeGenderNet) -> None:
    torch.manual_seed(0)
    torch.nn.init.normal_(started.head.weight, std=0.01)
    calibrated = Calibrated(started, (1.5, 0.8), torch.linspace(-0.5, 0.5, 2 + len(BANDS))).eval()
    data = network.to_onnx(calibrated)
    assert len(data) < 2_500_000
    chips = np.stack([picture(CROP.size), picture(CROP.size)[::-1]]).transpose(0, 3, 1, 2).astype(np.float32)
    found = run(create_session(data, Compute()), chips)[0]
    with torch.inference_mode():
        np.testing.assert_allclose(found, calibrated(torch.from_numpy(chips)).numpy(), atol=5e-3)
    np.testing.assert_allclose(found[:, :2].sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(found[:, 2:].sum(axis=1), 1, atol=1e-5)


def test_a_written_network_can_be_gone_on_with(started: AgeGenderNet, tmp_path: Path) -> None:
    trained = mean_of([started])
    with torch.no_grad():
        trained.head.weight.normal_(0, 0.05, generator=torch.Generator().manual_seed(0))
        trained.head.bias.copy_(torch.linspace(-1, 1, 11))
    calibrated = Calibrated(trained, (0.7, 0.8), torch.full((11,), 0.3))
    (tmp_path / "net.onnx").write_bytes(network.to_onnx(calibrated))
    chips = torch.from_numpy(np.stack([picture(112)] * 2).transpose(0, 3, 1, 2).astype(np.float32))
    with torch.no_grad():
        again, exact = train.averaged(tmp_path / "net.onnx")(chips), trained(chips)
    assert float(exact.std()) > 0.5
    np.testing.assert_allclose(again, exact, rtol=0.01, atol=0.01 * float(exact.abs().max()))


def test_what_was_trained_before_answers_beside_the_probes(started: AgeGenderNet, tmp_path: Path) -> None:
    calibrated = Calibrated(started, (1, 1), torch.zeros(11))
    (tmp_path / "net.onnx").write_bytes(network.to_onnx(calibrated))
    np.save(tmp_path / "chips.npy", np.stack([picture()] * 2))
    np.savez(tmp_path / "labels.npz", landmarks=np.stack([LANDMARKS] * 2))
    soft = np.zeros((2, 11), np.float32)
    soft[0, [0, 2]] = 1
    found = prepare._with(soft, tmp_path / "net.onnx", tmp_path)
    with torch.no_grad():
        [told] = calibrated(torch.from_numpy(augment.batch([augment.plain(picture(), LANDMARKS)]))).numpy()
    np.testing.assert_allclose(found, [(soft[0] + told) / 2, told], atol=0.01)


def test_a_run_at_another_size_of_chips_can_be_gone_on_with(started: AgeGenderNet, tmp_path: Path) -> None:
    """A map that is the same everywhere is pooled to the same, whatever its size."""
    stored = {f"module.{name}": value for name, value in started.state_dict().items()}
    stored["module.pool.weight"] = torch.rand(512, 1, 6, 6)
    torch.save({"average": {"n_averaged": torch.tensor(3), **stored}}, tmp_path / "run.pt")
    found = train.averaged(tmp_path / "run.pt")
    even = torch.ones(1, 512, CROP.size // 16, CROP.size // 16)
    pooled = found.pool(even)[0, :, 0, 0] - found.pool.bias
    torch.testing.assert_close(pooled, stored["module.pool.weight"].sum(dim=(1, 2, 3)), rtol=0.05, atol=0.5)


def test_batches_are_of_chips_that_are_not_held_out_and_differ_every_time(
    started: AgeGenderNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "HELD_OUT", 3)
    monkeypatch.setattr(train, "BATCH", 2)
    np.save(tmp_path / "chips.npy", np.stack([picture()] * 5))
    np.savez(tmp_path / "labels.npz", landmarks=np.stack([LANDMARKS] * 5))
    stream = train.Stream(tmp_path, started, np.random.default_rng(0))
    batches = iter(stream)
    (first, rows), (second, others) = next(batches), next(batches)
    assert sorted(rows.tolist()) == sorted(others.tolist()) == [3, 4]
    assert not torch.equal(first, second)
    held_out = torch.cat(list(stream.held_out()))
    served = torch.from_numpy(augment.plain(picture(), LANDMARKS).transpose(2, 0, 1)[None].astype(np.float32))
    with torch.inference_mode():
        expected = started.lower(served)[0]
    assert len(held_out) == 3
    for maps in held_out:
        torch.testing.assert_close(maps, expected, rtol=1e-3, atol=1e-3)


def test_the_mean_of_runs_lies_between_them(started: AgeGenderNet) -> None:
    first, second = AgeGenderNet(), AgeGenderNet()
    for made, bias in ((first, 1.0), (second, 3.0)):
        made.load_state_dict(started.state_dict())
        torch.nn.init.constant_(made.head.bias, bias)
    found = mean_of([first, second])
    assert found.head.bias.tolist() == [2.0] * (2 + len(BANDS))
    for name, value in started.trunk.state_dict().items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(found.trunk.state_dict()[name], value)


def test_calibration_finds_the_temperature_and_the_shift_that_were_put_in() -> None:
    torch.manual_seed(0)
    true = torch.randn(20_000, 3) * 1.5
    truth = torch.multinomial(true.softmax(dim=1), 1)[:, 0]
    temperature, shifts = calibrate((true - torch.tensor([0.3, 0.0, -0.3])) * 2.5, truth)
    assert temperature == pytest.approx(2.5, rel=0.05)
    np.testing.assert_allclose(shifts, [0.3, 0.0, -0.3], atol=0.06)


def test_targets_are_distributions_and_partly_the_probes(tmp_path: Path) -> None:
    soft = np.zeros((4, 11), np.float32)
    soft[0] = [0.9, 0.1, *([0.0] * 8), 1.0]
    np.save(tmp_path / "soft.npy", soft)
    np.savez(tmp_path / "labels.npz", male=[True, True, False, False], band=[0, 1, 1, 8], group=[1, 1, 0, 2])
    targets = train.Targets.of(tmp_path)
    np.testing.assert_allclose(targets.gender.sum(dim=1), 1, atol=1e-6)
    np.testing.assert_allclose(targets.age.sum(dim=1), 1, atol=1e-6)
    # A chip that no teacher has seen keeps its label.
    np.testing.assert_allclose(targets.gender[:2, 1], [0.4 * 0.98 + 0.6 * 0.1, 0.98], atol=1e-6)
    assert targets.age[0, 8] > 0.5 and targets.age[1].argmax() == 1
    # Two of its group, one of the other, and the probes were wrong about the one of the two that they answered for.
    ratio = float(targets.weights[1, 0] / targets.weights[2, 0])
    assert ratio == pytest.approx(0.5**0.5 * 0.75 / 0.5)


def test_groups_weigh_as_often_as_they_are_wrong() -> None:
    group, wrong = np.repeat([0, 1, 2], 1000), np.zeros(3000)
    wrong[:100] = wrong[1000:1300] = wrong[2000:2200] = 1
    np.testing.assert_allclose(train.group_rates(group, wrong, 3), [0.5, 1.5, 1.0], rtol=0.01)


def test_a_band_further_away_costs_more_though_its_probability_is_the_same() -> None:
    targets = train.Targets(
        torch.tensor([[1.0, 0.0]]), F.one_hot(torch.tensor([2]), 9).float(), torch.ones(1, 2)
    )

    def cost(band: int) -> float:
        logits = torch.zeros(1, 11)
        logits[0, 2 + band] = 3.0
        return float(train.loss(logits, targets))

    assert cost(2) < cost(3) < cost(5) < cost(8)
