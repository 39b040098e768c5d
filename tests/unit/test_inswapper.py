"""inswapper's loading, conventions and paste-back, with a tiny network of the same signature.

The real weights are given out on request and were not there to be tried.
"""

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose
from onnx import TensorProto, helper, numpy_helper

from prosopon.configs.settings import ModelSettings, Role
from prosopon.models.convert.openvino_ir import read as read_ir
from prosopon.models.convert.openvino_ir import to_onnx
from prosopon.models.faces import insightface_pack
from prosopon.models.faces.retail_reidentification import RetailReidentification
from prosopon.models.load import ModelUnavailable, UnknownModel, available, load_swapper
from prosopon.models.matching.vectors import normalize
from prosopon.models.pictures.crops import cut
from prosopon.models.runtime.session import Compute
from prosopon.models.swap.inswapper import INSwapper128
from prosopon.models.swap.types import Replacement, SourceFace
from tests.faces import around, portrait
from tests.paths import MIRROR, require
from tests.unit.test_swap import changed
from tests.weights import model_settings, weights

DIM, LATENT = 256, 512
RED, CYAN = np.array([0.9, 0.2, 0.2]), np.array([0.1, 0.8, 0.9])


def network(path: Path, dim: int = DIM, mix: float = 0.5) -> Path:
    """target * (1 - mix) + mix * colour, where the colour follows from the first number of the latent's sign."""
    emap = np.random.default_rng(3).standard_normal((dim, LATENT)).astype(np.float32)
    pick = np.zeros((LATENT, 3), np.float32)
    pick[0] = (RED - CYAN) / 2 * 1e3
    constants = {
        "pick": pick,
        "middle": ((RED + CYAN) / 2).astype(np.float32),
        "span": np.abs((RED - CYAN) / 2).astype(np.float32),
        "shape": np.array([1, 3, 1, 1], np.int64),
        "keep": np.array(1 - mix, np.float32),
        "mix": np.array(mix, np.float32),
        # The library takes the last initializer for the map of embeddings.
        "emap": emap,
    }
    nodes = [
        helper.make_node("MatMul", ["source", "pick"], ["signed"]),
        helper.make_node("Neg", ["span"], ["least"]),
        helper.make_node("Max", ["signed", "least"], ["above"]),
        helper.make_node("Min", ["above", "span"], ["bounded"]),
        helper.make_node("Add", ["bounded", "middle"], ["colour"]),
        helper.make_node("Reshape", ["colour", "shape"], ["plane"]),
        helper.make_node("Mul", ["plane", "mix"], ["new"]),
        helper.make_node("Mul", ["target", "keep"], ["old"]),
        helper.make_node("Add", ["old", "new"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "swapper",
        [
            helper.make_tensor_value_info("target", TensorProto.FLOAT, [1, 3, 128, 128]),
            helper.make_tensor_value_info("source", TensorProto.FLOAT, [1, LATENT]),
        ],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 3, 128, 128])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def embedder() -> RetailReidentification:
    return RetailReidentification(*weights("face-reidentification-retail-0095").paths, Compute())


@pytest.fixture(scope="module")
def swapper(tmp_path_factory: pytest.TempPathFactory, embedder: RetailReidentification) -> INSwapper128:
    return INSwapper128(network(tmp_path_factory.mktemp("swap") / "tiny.onnx"), embedder, Compute())


def test_the_latent_is_the_mapped_embedding_at_unit_length(swapper, embedder) -> None:
    picture, face = portrait("london/113_neutral.jpg")
    latent = swapper.latent(SourceFace(picture, face))
    chip = cut(picture, face.box, face.landmarks, embedder.crop).pixels
    expected = normalize(embedder.embed(chip[None])) @ swapper._conventions.emap
    assert latent.shape == (1, LATENT) and np.linalg.norm(latent) == pytest.approx(1, abs=1e-5)
    assert_allclose(latent, expected / np.linalg.norm(expected), atol=1e-5)


def test_the_crop_is_the_librarys_own(swapper) -> None:
    from insightface.utils import face_align

    _, face = portrait("london/113_neutral.jpg")
    picture = portrait("london/113_neutral.jpg")[0]
    theirs = face_align.estimate_norm(face.landmarks, 128)
    assert_allclose(cut(picture, face.box, face.landmarks, swapper.crop).matrix, theirs, atol=1e-3)


def test_the_network_sees_the_target_in_rgb_from_nought_to_one(swapper) -> None:
    frame, face = portrait("london/017_smiling.jpg")
    latent = np.zeros((1, LATENT), np.float32)
    latent[0, 0] = 1
    drawn, _ = swapper.draw(frame, face, latent)
    chip = cut(frame, face.box, face.landmarks, swapper.crop).pixels
    assert_allclose(drawn, np.clip(0.5 * chip + 0.5 * RED * 255, 0, 255), atol=1.01)


def test_what_it_draws_is_set_into_the_face_and_nowhere_else(swapper) -> None:
    frame, face = portrait("london/017_smiling.jpg")
    sources = [
        SourceFace(*portrait(f"london/{number}_neutral.jpg"))
        for number in ("113", "042", "009", "024", "043")
    ]
    tints = []
    for source in sources:
        result = swapper.swap(frame, [Replacement(face, source)])
        where = changed(frame, result)
        assert not where[~around(face, frame.shape)].any()
        x, y = face.dense[30].round().astype(int)
        nose = np.s_[y - 6 : y + 7, x - 6 : x + 7]
        assert where[nose].mean() > 0.95
        sign = np.sign(swapper.latent(source)[0, 0])
        expected = 0.5 * frame[nose].mean(axis=(0, 1)) + 0.5 * 255 * (RED if sign > 0 else CYAN)
        assert_allclose(result[nose].mean(axis=(0, 1)), expected, atol=30)
        tints.append(sign)
    assert len(set(tints)) == 2, "different people give different latents"


def test_what_it_leaves_alone_stays_at_the_frames_resolution(tmp_path: Path, embedder) -> None:
    """A network that draws what it saw: the face comes back, though through 128 pixels."""
    same = INSwapper128(network(tmp_path / "same.onnx", mix=0.0), embedder, Compute())
    frame, face = portrait("london/017_smiling.jpg")
    result = same.swap(frame, [Replacement(face, SourceFace(frame, face))])
    assert np.abs(frame.astype(int) - result)[around(face, frame.shape)].mean() < 3


def test_embeddings_of_another_length_are_refused(tmp_path: Path, embedder) -> None:
    with pytest.raises(UnknownModel, match="gives 256 numbers"):
        INSwapper128(network(tmp_path / "other.onnx", dim=512), embedder, Compute())


def test_a_file_that_is_no_swapper_is_refused(embedder) -> None:
    with pytest.raises(UnknownModel, match="not a swapper of 128 pixels"):
        INSwapper128(weights("yunet").path, embedder, Compute())


def settings(pack: str = "open", **overrides: str) -> ModelSettings:
    return ModelSettings.model_validate(
        {**model_settings().model_dump(), "pack": pack, "overrides": overrides}
    )


def test_settings_choose_the_swapper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    role: Role = "swapper"
    monkeypatch.setattr(insightface_pack, "ROOT", tmp_path / "insightface")
    assert load_swapper(settings(), Compute()).name == "warp"
    assert available(settings(), role)
    tiny = str(network(tmp_path / "tiny.onnx", dim=128))
    with pytest.raises(ModelUnavailable, match="prosopon models pull insightface/buffalo_l"):
        load_swapper(settings(swapper=tiny), Compute())
    arcface = tmp_path / "mobilefacenet.onnx"
    arcface.write_bytes(to_onnx(read_ir(require(MIRROR / "model-y1-0000.xml"), MIRROR / "model-y1-0000.bin")))
    swapper = load_swapper(settings(swapper=tiny, embedder=str(arcface)), Compute())
    assert swapper.name == "inswapper-128" and swapper.fingerprint
    with pytest.raises(UnknownModel, match="for the role 'age', not for 'swapper'"):
        load_swapper(settings(swapper="dlib-age"), Compute())


def test_a_pack_of_insightface_brings_its_swapper_and_its_embedder(tmp_path: Path, monkeypatch) -> None:
    role: Role = "swapper"
    monkeypatch.setattr(insightface_pack, "ROOT", tmp_path)
    folder = tmp_path / "buffalo_t"
    folder.mkdir()
    graph = read_ir(require(MIRROR / "model-y1-0000.xml"), MIRROR / "model-y1-0000.bin")
    (folder / "mobilefacenet.onnx").write_bytes(to_onnx(graph))
    assert not available(settings("insightface/buffalo_t"), role)
    with pytest.raises(ModelUnavailable, match=r"inswapper_128\.onnx is neither in"):
        load_swapper(settings("insightface/buffalo_t"), Compute())
    assert load_swapper(settings("insightface/buffalo_t", swapper="warp"), Compute()).name == "warp"
    network(tmp_path / "inswapper_128.onnx", dim=128)
    assert available(settings("insightface/buffalo_t"), role)
    assert load_swapper(settings("insightface/buffalo_t"), Compute()).name == "inswapper-128"
