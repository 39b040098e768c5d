"""dlib's ResNet-29: the file is read right, and ONNX gives what dlib gives."""

import io

import dlib
import numpy as np
import pytest

from prosopon.configs.settings import DetectionSettings
from prosopon.models.convert.dlib_format import (
    Affine,
    Convolution,
    FormatError,
    FullyConnected,
    Reader,
    read_metric_network,
)
from prosopon.models.faces.centerface import CenterFace
from prosopon.models.faces.dlib_resnet import DlibResNet29
from prosopon.models.pictures.crops import cut
from prosopon.models.roles import Chips
from prosopon.models.runtime.session import Compute
from tests.samples import sample
from tests.weights import weights


@pytest.fixture(scope="module")
def embedder() -> DlibResNet29:
    return DlibResNet29(weights("dlib-resnet29").path, Compute())


@pytest.fixture(scope="module")
def chips(embedder: DlibResNet29) -> Chips:
    """Every face of a group photograph, cut as the model wants it, and one chip of noise."""
    picture = sample("016_8.jpg")
    detector = CenterFace(weights("centerface").path, Compute(), DetectionSettings())
    faces = detector.detect([picture], 0.5)[0]
    cuts = [
        cut(picture, box, landmarks, embedder.crop).pixels
        for box, landmarks in zip(faces.boxes, faces.landmarks, strict=True)
    ]
    noise = np.random.default_rng(0).integers(0, 256, (150, 150, 3), np.uint8)
    return np.stack([*cuts, noise])


def test_parity_with_dlib(embedder: DlibResNet29, chips: Chips) -> None:
    reference = dlib.face_recognition_model_v1(str(weights("dlib-resnet29").path))
    expected = np.array([reference.compute_face_descriptor(chip) for chip in chips])
    difference = float(np.abs(embedder.embed(chips) - expected).max())
    print(f"largest difference in {expected.size} values: {difference:.1e}")
    assert difference < 1e-4


def test_a_batch_gives_what_single_chips_do(embedder: DlibResNet29, chips: Chips) -> None:
    alone = np.concatenate([embedder.embed(chip[None]) for chip in chips])
    np.testing.assert_allclose(embedder.embed(chips), alone, atol=1e-5)


def test_no_chips_no_embeddings(embedder: DlibResNet29) -> None:
    assert embedder.embed(np.empty((0, 150, 150, 3), np.uint8)).shape == (0, 128)


def test_the_file_holds_resnet_29() -> None:
    with weights("dlib-resnet29").path.open("rb") as file:
        layers = read_metric_network(file)
    assert [type(layer) for layer in layers] == [Convolution, Affine] * 29 + [FullyConnected]


@pytest.mark.parametrize(
    ("data", "value"),
    [(b"\x01\x00", 0), (b"\x01\x07", 7), (b"\x02\x80\x12", 4736), (b"\x81\x04", -4), (b"\x82\x00\x01", -256)],
)
def test_integers(data: bytes, value: int) -> None:
    assert Reader(io.BytesIO(data)).integer() == value


def test_reals() -> None:
    assert Reader(io.BytesIO(b"\x01\x10\x81\x04")).real() == 1.0
    assert Reader(io.BytesIO(b"\x03\x62\x90\xf5\x81\x11")).real() == pytest.approx(122.782, abs=1e-5)
    assert Reader(io.BytesIO(b"\x01\x00\x02\x00\x7d")).real() == float("inf")


@pytest.mark.parametrize("size", [0, 10, 400, 20_000, 22_466_065])
def test_a_file_that_ends_early_is_refused(size: int) -> None:
    with weights("dlib-resnet29").path.open("rb") as file:
        data = file.read(size)
    with pytest.raises(FormatError):
        read_metric_network(io.BytesIO(data))


def test_another_file_is_refused() -> None:
    data = weights("dlib-resnet29").path.read_bytes()
    with pytest.raises(FormatError, match="follow"):
        read_metric_network(io.BytesIO(data + b"\0"))
    with pytest.raises(FormatError):
        read_metric_network(io.BytesIO(data.replace(b"affine_", b"softmax")))
