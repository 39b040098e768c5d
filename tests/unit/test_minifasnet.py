import pickle
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from prosopon.models.convert.minifasnet_network import ARCHITECTURES, MiniFASNet, load_network
from prosopon.models.faces.detections import RGBImage
from prosopon.models.faces.minifasnet import MiniFASNetEnsemble, export, live_probability, network_input
from prosopon.models.pictures.crops import CropSpec, crop_matrix, cut
from prosopon.models.runtime.session import Compute, create_session, run
from tests.faces import detector
from tests.paths import DATA, require
from tests.weights import weights


@cache
def ensemble() -> MiniFASNetEnsemble:
    v2, v1se = weights("minifasnet").paths
    return MiniFASNetEnsemble(v2, v1se, Compute())


@cache
def frame(name: str) -> RGBImage:
    file = require(DATA / "minivision" / f"image_{name}.jpg")
    return np.asarray(ImageOps.exif_transpose(Image.open(file)).convert("RGB"))


def chips_of(picture: RGBImage, specs: tuple[CropSpec, ...]) -> list[np.ndarray]:
    face = detector().detect([picture], 0.5)[0]
    return [cut(picture, face.boxes[0], face.landmarks[0], spec).pixels[None] for spec in specs]


@pytest.mark.parametrize(("name", "live"), [("T1", True), ("F1", False), ("F2", False)])
def test_the_published_frames_come_out_right(name: str, live: bool) -> None:
    score = ensemble().score(chips_of(frame(name), ensemble().crops))
    assert score.shape == (1,)
    assert (score[0] > 0.5) == live


@pytest.mark.parametrize(("index", "architecture"), [(0, "V2"), (1, "V1SE")])
def test_onnx_agrees_with_torch(index: int, architecture: str, tmp_path: Path) -> None:
    pth = weights("minifasnet").paths[index]
    batch = network_input(
        np.concatenate([chips_of(frame(name), ensemble().crops)[index] for name in ("T1", "F1", "F2")])
    )
    with torch.inference_mode():
        expected = load_network(pth, ARCHITECTURES[architecture])(torch.from_numpy(batch)).numpy()
    onnx = tmp_path / "network.onnx"
    onnx.write_bytes(export(pth, architecture))  # type: ignore[arg-type]
    found = run(create_session(onnx, Compute()), batch)[0]
    assert found.shape == (3, 3)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_batch_scores_like_its_members() -> None:
    frames = [chips_of(frame(name), ensemble().crops) for name in ("T1", "F1", "F2")]
    batch = [np.concatenate(chips) for chips in zip(*frames, strict=True)]
    alone = np.concatenate([ensemble().score(chips) for chips in frames])
    np.testing.assert_allclose(ensemble().score(batch), alone, atol=1e-5)


def test_no_faces_no_scores() -> None:
    empty = np.empty((0, 80, 80, 3), np.uint8)
    assert ensemble().score([empty, empty]).shape == (0,)


def test_live_probability_is_the_mean_of_the_softmaxes() -> None:
    first = np.log(np.array([[0.1, 0.8, 0.1]], np.float32))
    second = np.log(np.array([[0.5, 0.2, 0.3]], np.float32)) + 7
    np.testing.assert_allclose(live_probability([first, second]), [0.5], atol=1e-6)


def test_the_network_sees_bgr_without_scaling() -> None:
    chips = np.zeros((1, 80, 80, 3), np.uint8)
    chips[..., 0], chips[..., 2] = 200, 10
    assert network_input(chips)[0, :, 0, 0].tolist() == [10, 0, 200]


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return print, ("code of the file was executed",)


def test_a_file_that_holds_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pth = tmp_path / "evil.pth"
    torch.save({"module.conv1.conv.weight": Payload()}, pth)
    with pytest.raises(pickle.UnpicklingError):
        load_network(pth, ARCHITECTURES["V2"])
    assert "executed" not in capsys.readouterr().out


def test_tensors_of_another_architecture_are_refused(tmp_path: Path) -> None:
    pth = tmp_path / "other.pth"
    torch.save(MiniFASNet(ARCHITECTURES["V2"]).state_dict(), pth)
    with pytest.raises(RuntimeError, match="size mismatch"):
        load_network(pth, ARCHITECTURES["V1SE"])


def test_a_crop_inside_the_picture_is_shrunk_and_shifted_into_it() -> None:
    box, landmarks = np.array([0, 10, 40, 60], np.float32), np.zeros((5, 2), np.float32)
    spec = CropSpec(80, scale=4.0, square=False, inside=True)
    matrix = crop_matrix(box, landmarks, spec, (120, 100))
    corners = np.array([[-0.5, -0.5], [79.5, 79.5]])
    (x1, y1), (x2, y2) = (corners - matrix[:, 2]) / matrix[:, :2].diagonal()
    # A scale of 2 fits: 80 x 100 pixels, moved to the left border and filling the height.
    np.testing.assert_allclose([x1, y1, x2, y2], [-0.5, -0.5, 79.5, 99.5], atol=1e-3)
