"""StyleGAN2: NVIDIA's files read without executing them, and the network against the paper's formulas.

The checkpoint is made here, with the names of classes and tensors that NVIDIA's trainer writes. The reference network
is written down from the paper, one picture at a time and with explicit weights.
"""

import math
import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from prosopon.configs.settings import ModelSettings
from prosopon.models.convert.stylegan2_pickle import SavedModule, StyleGanFileError, read_generator
from prosopon.models.generation.stylegan2 import StyleGan2, StyleGan2Mapper
from prosopon.models.generation.stylegan2_network import Layer, filtered, modulated_convolution, upsampled
from prosopon.models.load import load_generator, load_mapper
from prosopon.models.runtime.session import Compute
from tests.paths import DATA, require

RESOLUTION, WIDTH, DIM = 32, 12, 512
BLOCKS = int(math.log2(RESOLUTION)) - 1
FILTER = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])) / 64
CLAMP = 1.5
SOURCE = "import pathlib; pathlib.Path('executed').touch()"


# ------------------------------------------------------------------------------------- a file in NVIDIA's format


@dataclass
class Saved:
    """Pickles as NVIDIA's persistent modules do."""

    class_name: str
    parameters: dict[str, Tensor] = field(default_factory=dict)
    buffers: dict[str, Tensor] = field(default_factory=dict)
    modules: dict[str, "Saved"] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)

    def __reduce__(self) -> tuple[Any, ...]:
        parameters = OrderedDict((n, torch.nn.Parameter(t)) for n, t in self.parameters.items())
        state = {
            "training": False,
            "_parameters": parameters,
            "_buffers": OrderedDict(self.buffers),
            "_backward_hooks": OrderedDict(),
            "_modules": OrderedDict(self.modules),
            **self.attributes,
        }
        easy = sys.modules["dnnlib.util"].EasyDict
        meta = easy(type="class", version=6, module_src=SOURCE, class_name=self.class_name, state=state)
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (meta,)


@pytest.fixture(autouse=True)
def nvidia(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names that NVIDIA's code has; a pickle refers to a function by its name."""

    def _reconstruct_persistent_obj(meta: Any) -> None:
        raise AssertionError("never called by the reader")

    class EasyDict(dict):  # type: ignore[type-arg]
        pass

    for name, thing in (("torch_utils.persistence", _reconstruct_persistent_obj), ("dnnlib.util", EasyDict)):
        module = types.ModuleType(name)
        thing.__module__, thing.__qualname__ = name, thing.__name__
        setattr(module, thing.__name__, thing)
        monkeypatch.setitem(sys.modules, name.split(".")[0], types.ModuleType(name.split(".")[0]))
        monkeypatch.setitem(sys.modules, name, module)


def linear(
    generator: torch.Generator, inputs: int, outputs: int, rate: float = 1.0, bias: float = 0
) -> Saved:
    return Saved(
        "FullyConnectedLayer",
        {
            "weight": torch.randn(outputs, inputs, generator=generator) / rate,
            "bias": torch.randn(outputs, generator=generator) * 0.1 + bias,
        },
        attributes={
            "activation": "linear",
            "weight_gain": rate / np.sqrt(inputs),  # a NumPy scalar, as in real files
            "bias_gain": rate,
        },
    )


def convolution(generator: torch.Generator, side: int, up: int) -> Saved:
    return Saved(
        "SynthesisLayer",
        {
            "weight": torch.randn(WIDTH, WIDTH, 3, 3, generator=generator),
            "noise_strength": torch.tensor(0.1),
            "bias": torch.randn(WIDTH, generator=generator) * 0.1,
        },
        {"resample_filter": FILTER, "noise_const": torch.randn(side, side, generator=generator)},
        {"affine": linear(generator, DIM, WIDTH, bias=1)},
        {"up": up, "use_noise": True, "conv_clamp": CLAMP, "act_gain": np.sqrt(2), "resolution": side},
    )


def to_rgb(generator: torch.Generator) -> Saved:
    return Saved(
        "ToRGBLayer",
        {"weight": torch.randn(3, WIDTH, 1, 1, generator=generator), "bias": torch.zeros(3)},
        modules={"affine": linear(generator, DIM, WIDTH, bias=1)},
        attributes={"conv_clamp": CLAMP, "weight_gain": 1 / np.sqrt(WIDTH)},
    )


def generator_of(seed: int) -> Saved:
    generator = torch.Generator().manual_seed(seed)
    blocks = {}
    for number in range(BLOCKS):
        side = 4 << number
        parts = {"conv1": convolution(generator, side, 1), "torgb": to_rgb(generator)}
        if number:
            parts["conv0"] = convolution(generator, side, 2)
        constant = {} if number else {"const": torch.randn(WIDTH, 4, 4, generator=generator)}
        attributes = {"architecture": "skip", "resolution": side, "use_fp16": number > 1}
        blocks[f"b{side}"] = Saved("SynthesisBlock", constant, {"resample_filter": FILTER}, parts, attributes)
    mapping = Saved(
        "MappingNetwork",
        {},
        {"w_avg": torch.randn(DIM, generator=generator) * 0.1},
        {f"fc{number}": linear(generator, DIM, DIM, rate=0.01) for number in range(3)},
        {"z_dim": DIM, "c_dim": 0, "w_dim": DIM, "num_layers": 3},
    )
    synthesis = Saved("SynthesisNetwork", modules=blocks, attributes={"img_resolution": RESOLUTION})
    return Saved(
        "Generator",
        modules={"mapping": mapping, "synthesis": synthesis},
        attributes={"z_dim": DIM, "c_dim": 0, "w_dim": DIM, "img_resolution": RESOLUTION, "img_channels": 3},
    )


def write(path: Path, generator: Saved, protocol: int = 4) -> Path:
    content = {"G": generator, "D": None, "G_ema": generator, "training_set_kwargs": None}
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.fixture
def checkpoint(tmp_path: Path) -> tuple[Path, Saved]:
    saved = generator_of(0)
    return write(tmp_path / "network.pkl", saved), saved


# ---------------------------------------------------------------------------------------- the paper's formulas


def modulated_weights(weight: Tensor, style: Tensor, demodulate: bool) -> Tensor:
    """Equations 1 and 3, weight ``(C', C, k, k)``, style ``(C,)``: w' = s_i w_ijk; w'' = w' / sqrt(sum w'^2 + eps)."""
    scaled = weight * style[None, :, None, None]
    if not demodulate:
        return scaled
    return scaled / torch.sqrt(scaled.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8)


def doubled(x: Tensor) -> Tensor:
    spread = torch.zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    spread[:, :, ::2, ::2] = x
    return spread


def smoothed(x: Tensor) -> Tensor:
    """Convolved with the outer product of [1, 3, 3, 1], normalised, times 4."""
    weight = (4 * FILTER)[None, None].repeat(x.shape[1], 1, 1, 1)
    return functional.conv2d(x, weight, groups=x.shape[1])


def affine(saved: Saved, w: Tensor) -> Tensor:
    return w @ saved.parameters["weight"].T / math.sqrt(DIM) + saved.parameters["bias"]


def reference_layer(saved: Saved, x: Tensor, w: Tensor) -> Tensor:
    weight = modulated_weights(saved.parameters["weight"], affine(saved.modules["affine"], w), True)
    if saved.attributes["up"] == 2:
        # Convolution (not correlation) of what lies between zeros, all of it that touches the picture.
        x = functional.conv2d(functional.pad(doubled(x), (2, 1, 2, 1)), weight.flip(2, 3))
        x = smoothed(functional.pad(x, (1, 1, 1, 1)))
    else:
        x = functional.conv2d(x, weight, padding=1)
    x = x + saved.buffers["noise_const"] * saved.parameters["noise_strength"]
    x = functional.leaky_relu(x + saved.parameters["bias"][None, :, None, None], 0.2) * math.sqrt(2)
    return x.clamp(-CLAMP, CLAMP)


def reference_picture(generator: Saved, w: Tensor) -> Tensor:
    """w ``(styles, 512)`` to ``(3, R, R)``."""
    x, image, style = None, None, 0
    for number in range(BLOCKS):
        block = generator.modules["synthesis"].modules[f"b{4 << number}"]
        if x is None:
            x = block.parameters["const"][None]
        else:
            x = reference_layer(block.modules["conv0"], x, w[style])
            style += 1
        x = reference_layer(block.modules["conv1"], x, w[style])
        style += 1
        rgb = block.modules["torgb"]
        weight = rgb.parameters["weight"] / math.sqrt(WIDTH)
        weight = modulated_weights(weight, affine(rgb.modules["affine"], w[style]), False)
        colours = functional.conv2d(x, weight) + rgb.parameters["bias"][None, :, None, None]
        if image is not None:
            image = smoothed(functional.pad(doubled(image), (2, 1, 2, 1)))
        colours = colours.clamp(-CLAMP, CLAMP)
        image = colours if image is None else image + colours
    assert image is not None
    return image[0]


def reference_w(generator: Saved, z: Tensor) -> Tensor:
    x = z / torch.sqrt(z.square().mean() + 1e-8)
    mapping = generator.modules["mapping"]
    for number in range(len(mapping.modules)):
        saved = mapping.modules[f"fc{number}"]
        weight = saved.parameters["weight"] * 0.01 / math.sqrt(DIM)
        x = functional.leaky_relu(x @ weight.T + saved.parameters["bias"] * 0.01, 0.2) * math.sqrt(2)
    return x


# ------------------------------------------------------------------------------------------------------- tests


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_file_in_nvidias_format_makes_the_pictures_of_its_tensors(tmp_path: Path, protocol: int) -> None:
    saved = generator_of(protocol)
    path = write(tmp_path / "network.pkl", saved, protocol)
    mapper, generator = StyleGan2Mapper(path, Compute()), StyleGan2(path, Compute())
    z = torch.randn(2, DIM, generator=torch.Generator().manual_seed(1))
    w = mapper.map(z.numpy())
    for row in range(2):
        torch.testing.assert_close(torch.from_numpy(w[row]), reference_w(saved, z[row]), atol=1e-5, rtol=1e-5)
    assert generator.resolutions == (RESOLUTION,) and len(generator.layer_resolutions) == 2 * BLOCKS
    styles = np.random.default_rng(0).standard_normal((2, 2 * BLOCKS, DIM)).astype(np.float32)
    images = generator.synthesise(styles)
    assert images.shape == (2, 3, RESOLUTION, RESOLUTION) and images.std() > 0.1
    for row in range(2):
        expected = reference_picture(saved, torch.from_numpy(styles[row]))
        torch.testing.assert_close(torch.from_numpy(images[row]), expected, atol=1e-4, rtol=1e-4)


def test_modulation_and_demodulation_follow_equations_1_to_3() -> None:
    torch.manual_seed(2)
    x, weight, style = torch.randn(1, 6, 9, 9), torch.randn(5, 6, 3, 3), torch.randn(1, 6)
    for demodulate in (False, True):
        expected = functional.conv2d(x, modulated_weights(weight, style[0], demodulate), padding=1)
        found = modulated_convolution(x, weight, style, demodulate, up=False)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_demodulated_features_keep_unit_variance_whatever_the_style() -> None:
    torch.manual_seed(3)
    x, weight = torch.randn(4, 64, 64, 64), torch.randn(32, 64, 3, 3)
    style = 10 * torch.rand(4, 64) + 0.1
    y = modulated_convolution(x, weight, style, demodulate=True, up=False)[:, :, 1:-1, 1:-1]
    assert abs(float(y.std()) - 1) < 0.05
    twice = modulated_convolution(x, weight, 7 * style, demodulate=True, up=False)[:, :, 1:-1, 1:-1]
    torch.testing.assert_close(twice, y, atol=1e-4, rtol=1e-4)


def test_doubling_keeps_what_is_constant_and_moves_nothing() -> None:
    flat = upsampled(torch.full((1, 2, 8, 8), 3.0), FILTER)
    torch.testing.assert_close(flat[:, :, 2:-2, 2:-2], torch.full((1, 2, 12, 12), 3.0))
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    fine = upsampled(ramp, FILTER)[0, 0, 8, 2:-2]
    torch.testing.assert_close(fine, (torch.arange(2.0, 14.0) - 0.5) / 2)
    assert filtered(torch.zeros(1, 1, 9, 9), FILTER).shape == (1, 1, 6, 6)


def test_an_odd_filter_interpolates_and_moves_features_as_it_moves_colours() -> None:
    """[1, 2, 1] between zeros is linear interpolation; where a pixel lands is the same for both."""
    kernel = torch.outer(torch.tensor([1.0, 2, 1]), torch.tensor([1.0, 2, 1])) / 16
    saved = convolution(torch.Generator().manual_seed(0), 16, 2)
    saved.parameters["weight"] = torch.zeros(WIDTH, WIDTH, 3, 3)
    saved.parameters["weight"][range(WIDTH), range(WIDTH), 1, 1] = 1.0
    saved.parameters |= {"noise_strength": torch.tensor(0.0), "bias": torch.zeros(WIDTH)}
    saved.buffers["resample_filter"] = kernel
    ones = saved.modules["affine"].parameters
    ones["weight"], ones["bias"] = torch.zeros(WIDTH, DIM), torch.ones(WIDTH)
    x = torch.rand(1, WIDTH, 8, 8)
    layer = Layer(
        SavedModule(
            "SynthesisLayer",
            saved.parameters | saved.buffers,
            {"affine": SavedModule("FullyConnectedLayer", ones)},
            {"up": 2},
        )
    )
    features = layer(x, torch.zeros(1, DIM))
    torch.testing.assert_close(features, upsampled(x, kernel) * math.sqrt(2), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(features[:, :, 1::2, 1::2], x * math.sqrt(2), atol=1e-5, rtol=1e-5)
    between = (x[:, :, :-1, :] + x[:, :, 1:, :]) / 2 * math.sqrt(2)
    torch.testing.assert_close(features[:, :, 2:-1:2, 1::2], between, atol=1e-5, rtol=1e-5)


def test_noise_is_added_with_its_strength(checkpoint: tuple[Path, Saved], tmp_path: Path) -> None:
    path, saved = checkpoint
    w = np.zeros((1, 2 * BLOCKS, DIM), np.float32)
    noisy = StyleGan2(path, Compute()).synthesise(w)
    for block in saved.modules["synthesis"].modules.values():
        for name in {"conv0", "conv1"} & set(block.modules):
            block.modules[name].parameters["noise_strength"] = torch.tensor(0.0)
    silent = StyleGan2(write(tmp_path / "silent.pkl", saved), Compute()).synthesise(w)
    assert np.abs(noisy - silent).max() > 0.01
    torch.testing.assert_close(
        torch.from_numpy(silent[0]),
        reference_picture(saved, torch.zeros(2 * BLOCKS, DIM)),
        atol=1e-4,
        rtol=1e-4,
    )


def test_an_override_serves_both_roles_from_one_file(checkpoint: tuple[Path, Saved]) -> None:
    path, saved = checkpoint
    models = ModelSettings(overrides={"generator": str(path)})
    mapper, generator = load_mapper(models, Compute()), load_generator(models, Compute())
    np.testing.assert_allclose(mapper.mean_w, saved.modules["mapping"].buffers["w_avg"].numpy())
    picture = generator.generate(np.zeros((1, 2 * BLOCKS, DIM), np.float32), RESOLUTION)
    assert picture.shape == (1, RESOLUTION, RESOLUTION, 3) and picture.dtype == np.uint8
    other = write(path.with_name("other.pkl"), generator_of(9))
    assert StyleGan2(other, Compute()).fingerprint != generator.fingerprint


def test_the_source_code_in_a_file_is_not_executed(
    checkpoint: tuple[Path, Saved], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_generator(checkpoint[0]).class_name == "Generator"
    assert not (tmp_path / "executed").exists()


class Malicious:
    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


@pytest.mark.parametrize(
    "content",
    [
        Malicious(eval, "__import__('pathlib').Path('executed').touch()"),
        Malicious(exec, SOURCE),
        Malicious(__import__, "antigravity"),
        Malicious(getattr, "text", "upper"),
        Malicious(torch.load, "executed"),
        {"G_ema": Malicious(Path, "executed")},
        {"G_ema": Saved("Generator", attributes={"hook": Malicious(getattr, "text", "upper")})},
    ],
    ids=["eval", "exec", "import", "getattr", "torch.load", "path", "attribute"],
)
def test_a_file_that_asks_for_anything_else_is_refused(
    content: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "malicious.pkl"
    path.write_bytes(pickle.dumps(content, 4))
    with pytest.raises(StyleGanFileError):
        read_generator(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a pickle",
        pickle.dumps({"G_ema": 1}),
        pickle.dumps([]),
        b"\x80\x04ctorch.storage\n_load_from_bytes\nC\x05hello\x85R.",
        b"ctorch.serialization\nload\n.",
        b"cnumpy\ndtype\n(S'O'\nI00\nI01\ntR.",
    ],
)
def test_a_file_that_is_no_network_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.pkl"
    path.write_bytes(data)
    with pytest.raises(StyleGanFileError):
        read_generator(path)


def test_a_tensor_outside_its_storage_is_refused(tmp_path: Path) -> None:
    tensor = torch.zeros(4)
    rebuilt, arguments = tensor.__reduce_ex__(4)[:2]
    for offset, size, stride in ((0, (1 << 20,), (1,)), (1 << 30, (4,), (1,)), (0, (4,), (-1,))):
        forged = Malicious(rebuilt, arguments[0], offset, size, stride, False, OrderedDict())
        path = tmp_path / "forged.pkl"
        path.write_bytes(pickle.dumps({"G_ema": forged}, 4))
        with pytest.raises(StyleGanFileError):
            read_generator(path)


@pytest.mark.parametrize(
    ("name", "label"),
    [("ada-32-clamp-p3", None), ("ada-32-clamp-p4", None), ("ada-32-conditional-p3", 0), ("sg3-32-p3", None)],
)
def test_the_pictures_of_nvidias_own_code(name: str, label: int | None) -> None:
    """Files and pictures that its code wrote (float32, constant noise); one reaches its clamp, one has classes."""
    path = require(DATA / "stylegan") / f"{name}.pkl"
    expected = np.load(path.with_name(f"{name.rpartition('-')[0]}.npz"))
    w = StyleGan2Mapper(path, Compute(), label).map(expected["z"])
    np.testing.assert_allclose(w, expected["w"][:, 0], atol=1e-4)
    np.testing.assert_allclose(
        StyleGan2(path, Compute()).synthesise(expected["w"]), expected["img32"], atol=1e-4
    )


def test_a_class_is_asked_for_and_makes_faces_of_its_own() -> None:
    path = require(DATA / "stylegan") / "ada-32-conditional-p3.pkl"
    for label in (None, 10):
        with pytest.raises(StyleGanFileError, match=r"models\.generator_class to one from 0 to 9"):
            StyleGan2Mapper(path, Compute(), label)
    first, second = (StyleGan2Mapper(path, Compute(), label) for label in (0, 1))
    z = np.random.default_rng(0).standard_normal((1, DIM)).astype(np.float32)
    assert np.abs(first.map(z) - second.map(z)).max() > 0.1
    assert first.fingerprint != second.fingerprint
    models = ModelSettings(overrides={"generator": str(path)}, generator_class=1)
    np.testing.assert_array_equal(load_mapper(models, Compute()).map(z), second.map(z))


def test_a_file_with_another_filter_is_served() -> None:
    path = require(DATA / "stylegan") / "ada-64-filter-p3.pkl"
    pictures = StyleGan2(path, Compute()).synthesise(np.zeros((1, 10, DIM), np.float32))
    assert pictures.shape == (1, 3, 64, 64) and np.isfinite(pictures).all() and pictures.std() > 0.01


def test_what_cannot_be_served_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StyleGanFileError, match=r"StyleGAN3.*--cfg=stylegan2"):
        StyleGan2(require(DATA / "stylegan") / "sg3-t32-p3.pkl", Compute())
    path = tmp_path / "tensorflow.pkl"
    path.write_bytes(b"\x80\x03cdnnlib.tflib.network\nNetwork\nq\x00)\x81q\x01.")
    with pytest.raises(StyleGanFileError, match=r"TensorFlow.*legacy"):
        read_generator(path)


def test_other_architectures_are_refused(checkpoint: tuple[Path, Saved], tmp_path: Path) -> None:
    _, saved = checkpoint
    saved.modules["synthesis"].modules["b8"].attributes["architecture"] = "resnet"
    with pytest.raises(StyleGanFileError, match="architecture"):
        StyleGan2(write(tmp_path / "resnet.pkl", saved), Compute())
