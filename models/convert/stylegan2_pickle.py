"""NVIDIA's ``.pkl`` files of networks (stylegan2-ada-pytorch, stylegan3) as plain tensors and settings.

Such a file is a pickle whose objects bring their own source code along, which the original loader executes. Here
nothing of a file is executed: an unpickler that knows a handful of names builds tensors, numbers and dictionaries, and
refuses every other name.
"""

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


class StyleGanFileError(ValueError):
    """The file is not what NVIDIA's trainer writes, or holds more than tensors and settings."""


@dataclass(frozen=True, slots=True)
class SavedModule:
    """What is left of a saved `torch.nn.Module`. settings: its plain attributes; tensors: its own, by name."""

    class_name: str
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    modules: Mapping[str, "SavedModule"] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def module(self, name: str) -> "SavedModule":
        """Raises `StyleGanFileError` where there is none."""
        if name not in self.modules:
            raise StyleGanFileError(f"the {self.class_name} has no part '{name}'")
        return self.modules[name]

    def tensor(self, name: str) -> Tensor:
        """float32. Raises `StyleGanFileError` where there is none."""
        if name not in self.tensors:
            raise StyleGanFileError(f"the {self.class_name} has no tensor '{name}'")
        return self.tensors[name].detach().to(torch.float32)


def read_generator(path: Path) -> SavedModule:
    """The averaged generator (`G_ema`) of a file. Raises `StyleGanFileError`."""
    try:
        with path.open("rb") as file:
            content = _Unpickler(file).load()
    except StyleGanFileError:
        raise
    except Exception as error:  # A pickle that lies raises nearly anything.
        raise StyleGanFileError(f"{path.name} cannot be read as a saved network: {error}") from error
    generator = content.get("G_ema") if isinstance(content, dict) else None
    if not isinstance(generator, SavedModule) or generator.class_name != "Generator":
        raise StyleGanFileError(f"{path.name} holds no generator 'G_ema'")
    return generator


def _module(meta: Mapping[str, Any]) -> SavedModule:
    """Stands for NVIDIA's reconstruction of a module out of source code and state."""
    if not isinstance(meta, Mapping) or meta.get("type") != "class":
        raise StyleGanFileError("a saved object is not a module")
    state = meta.get("state")
    if not isinstance(state, Mapping):
        raise StyleGanFileError("a saved module has no state")
    tensors = {
        name: tensor
        for group in ("_parameters", "_buffers")
        for name, tensor in (state.get(group) or {}).items()
        if isinstance(tensor, Tensor)
    }
    modules = {
        name: part for name, part in (state.get("_modules") or {}).items() if isinstance(part, SavedModule)
    }
    settings = {name: value for name, value in state.items() if not name.startswith("_")}
    return SavedModule(str(meta.get("class_name")), tensors, modules, settings)


def _storage(data: bytes) -> Any:
    """A tensor's bytes, in torch's own file format, by torch's own loader that executes nothing."""
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> Tensor:
    """A view of a storage; out of its bounds torch raises."""
    flat = torch.empty(0, dtype=storage.dtype)
    return flat.set_(storage._untyped_storage, offset, size, stride)


def _parameter(data: Tensor, *_: object) -> Tensor:
    return data


def _scalar(dtype: np.dtype[Any], data: bytes) -> Any:
    if dtype.hasobject:
        raise StyleGanFileError("a number of an unknown kind")
    return np.frombuffer(data, dtype, 1)[0].item()


def _text_as_bytes(text: str, encoding: str) -> bytes:
    """How old pickle protocols write bytes."""
    if encoding not in ("latin1", "latin-1"):
        raise StyleGanFileError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


class _Settings(dict[str, Any]):
    """Stands for NVIDIA's dictionary with attributes."""


class _Array:
    """Stands for a NumPy array: StyleGAN3's networks hold some, StyleGAN2's do not, and none is needed."""

    def __setstate__(self, state: object) -> None:
        pass


def _array(*_: object) -> _Array:
    return _Array()


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _module,
    ("dnnlib.util", "EasyDict"): _Settings,
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,  # Python 3.7 writes the names of buffers that are not kept so.
    ("__builtin__", "set"): set,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch.storage", "_load_from_bytes"): _storage,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy.core.multiarray", "_reconstruct"): _array,
    ("numpy._core.multiarray", "_reconstruct"): _array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _text_as_bytes,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (found := _ALLOWED.get((module, name))) is not None:
            return found
        if module.startswith("dnnlib.tflib"):
            raise StyleGanFileError(
                "this is a network of NVIDIA's TensorFlow code: convert it with stylegan3's or stylegan2-ada-pytorch's "
                "legacy.py, which writes a .pkl for PyTorch"
            )
        if module == "torch" and isinstance(kind := getattr(torch, name, None), torch.dtype):
            return kind
        raise StyleGanFileError(f"the file asks for {module}.{name}, which no network needs")

    def persistent_load(self, pid: object) -> Any:
        raise StyleGanFileError("the file refers to something outside it")
