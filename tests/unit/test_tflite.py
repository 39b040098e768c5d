"""The reader of TensorFlow Lite models: agreement with LiteRT, and files that are not what they claim.

`tflite_golden.npz` holds what LiteRT 2.3.0 (`ai-edge-litert`, CPU, float32) gave for the inputs of `pictures`: a face
and noise.
"""

import struct
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from skimage.data import astronaut

from prosopon.models.convert.tflite import TfliteError, read, to_onnx
from tests.paths import MIRROR, require
from tests.weights import weights

GOLDEN = np.load(Path(__file__).with_name("tflite_golden.npz"))


def pictures(side: int) -> np.ndarray:
    """``(2, side, side, 3)`` float32 RGB 0..255."""
    face = cv2.resize(astronaut()[20:212, 128:320], (side, side), interpolation=cv2.INTER_AREA)
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    return np.stack([face, noise]).astype(np.float32)


def run(model: bytes, batch: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: batch})


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_face_mesh_agrees_with_litert(count: int) -> None:
    model = to_onnx(read(weights("mediapipe-face-mesh").path))
    points, logits = run(model, pictures(192)[[0, 1, 0]][:count] / np.float32(255))
    wanted = GOLDEN["mesh"][[0, 1, 0]][:count]
    np.testing.assert_allclose(points.reshape(count, 1404), wanted, rtol=0, atol=1e-3)  # pixels of the chip
    np.testing.assert_allclose(logits.ravel(), GOLDEN["mesh_score"][[0, 1, 0], 0][:count], atol=1e-3)


def mobilefacenet() -> Path:
    return require(MIRROR / "MobileFaceNet.tflite")


def test_mobilefacenet_agrees_with_litert() -> None:
    batch = (pictures(112) - np.float32(127.5)) / 128
    (embeddings,) = run(to_onnx(read(mobilefacenet())), batch)
    np.testing.assert_allclose(embeddings, GOLDEN["mobilefacenet"], atol=5e-5)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_batch_that_the_file_fixes_at_two_is_free(count: int) -> None:
    batch = (pictures(112) - np.float32(127.5)) / 128
    (embeddings,) = run(to_onnx(read(mobilefacenet())), np.repeat(batch[:1], count, axis=0))
    np.testing.assert_allclose(embeddings, np.repeat(GOLDEN["mobilefacenet"][:1], count, axis=0), atol=5e-5)


def test_inputs_and_outputs_are_called_as_asked() -> None:
    model = to_onnx(read(mobilefacenet()), ("chips",), ("embeddings",))
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    assert [(value.name, value.shape) for value in session.get_inputs()] == [("chips", ["N", 112, 112, 3])]
    assert [(value.name, value.shape) for value in session.get_outputs()] == [("embeddings", ["N", 192])]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a model",
        b"\x00\x00\x00\x00TFL3",
        b"\xff\xff\xff\xffTFL3" + bytes(64),
        # A table whose list of fields lies before the file.
        struct.pack("<I4siI", 8, b"TFL3", 1000, 0),
    ],
)
def test_what_is_not_a_model_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(TfliteError):
        read(path)


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    whole = mobilefacenet().read_bytes()
    for size in (len(whole) // 2, len(whole) - 100):
        path.write_bytes(whole[:size])
        with pytest.raises(TfliteError):
            to_onnx(read(path))


def test_a_damaged_model_never_ends_in_another_error(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    whole = mobilefacenet().read_bytes()
    random = np.random.default_rng(0)
    for _ in range(100):
        damaged = bytearray(whole)
        # The graph lies at the end of the file, behind the tensors, and a part of it at the start.
        for place in (*random.integers(8, 256, 2), *random.integers(len(whole) - 60_000, len(whole), 40)):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        try:
            to_onnx(read(path))
        except TfliteError:
            continue
