"""Reading networks that dlib serialised: numbers, tensors and the chain of layers.

dlib writes a network from the loss inwards, so the file begins with the version numbers of all layers,
outermost first, and continues with their parameters, innermost (the input) first. Format: dlib/serialize.h,
dlib/float_details.h, dlib/cuda/tensor_tools.h and dlib/dnn/core.h of dlib 19.
"""

from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from prosopon.models.faces.detections import Float32


class FormatError(ValueError):
    """The file is not a dlib network of the kind that is understood here."""


@dataclass(frozen=True, slots=True)
class Convolution:
    """weight: ``(out, in, kernel, kernel)``; bias: ``(out,)``; stride and padding in pixels."""

    weight: Float32
    bias: Float32
    stride: int
    padding: int


@dataclass(frozen=True, slots=True)
class Affine:
    """``gamma * x + beta`` per channel, both ``(channels,)``: a batch normalisation at test time."""

    gamma: Float32
    beta: Float32


@dataclass(frozen=True, slots=True)
class FullyConnected:
    """weight: ``(inputs, outputs)``; no bias."""

    weight: Float32


Parameters = Convolution | Affine | FullyConnected


class Reader:
    """dlib's primitive types from a stream. Raises `FormatError` at a surprise or the end of the file."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def bytes(self, count: int) -> bytes:
        data = self._stream.read(count)
        if len(data) != count:
            raise FormatError("the file ends early")
        return data

    def integer(self) -> int:
        """A length byte with the sign in its highest bit, then so many bytes, little end first."""
        control = self.bytes(1)[0]
        if control & 0x70 or control & 0x0F > 8:
            raise FormatError(f"{control:#x} does not begin an integer")
        value = int.from_bytes(self.bytes(control & 0x0F), "little")
        return -value if control & 0x80 else value

    def real(self) -> float:
        """A mantissa and an exponent, both integers, and three exponents that stand for inf, -inf and nan."""
        mantissa, exponent = self.integer(), self.integer()
        special = {32000: float("inf"), 32001: float("-inf"), 32002: float("nan")}
        return special[exponent] if exponent in special else mantissa * 2.0**exponent

    def boolean(self) -> bool:
        """dlib writes a bool as the character '1' or '0'."""
        value = self.bytes(1)
        if value not in (b"0", b"1"):
            raise FormatError(f"{value!r} is no boolean")
        return value == b"1"

    def string(self) -> str:
        return self.bytes(self.integer()).decode("ascii")

    def expect(self, *values: str | int) -> None:
        for value in values:
            found = self.string() if isinstance(value, str) else self.integer()
            if found != value:
                raise FormatError(f"{found!r} stands where {value!r} should")

    def tensor(self) -> Float32:
        """``(samples, k, rows, columns)`` float32."""
        self.expect(2)
        shape = tuple(self.integer() for _ in range(4))
        count = int(np.prod(shape))
        return np.frombuffer(self.bytes(4 * count), "<f4").astype(np.float32).reshape(shape)

    def at_end(self) -> bool:
        return not self._stream.read(1)


def read_metric_network(stream: BinaryIO) -> list[Parameters]:
    """The layers with parameters, from the input to the output, of a ``loss_metric`` network over RGB
    pictures.

    Raises `FormatError` where the file is anything else, or has bytes left over.
    """
    reader = Reader(stream)
    reader.expect(1, "loss_metric_2")
    reader.real(), reader.real()  # The loss's margin and distance threshold.
    versions = _layer_versions(reader)
    reader.expect("input_rgb_image_sized")
    reader.real(), reader.real(), reader.real()  # Mean colour.
    reader.integer(), reader.integer()  # Rows and columns.
    layers: list[Parameters] = []
    for innermost, version in enumerate(reversed(versions)):
        if version == _TAG_OR_SKIP:
            continue
        if layer := _read_layer(reader):
            layers.append(layer)
        for _ in ("set up", "gradient is stale", "gradient disabled"):
            reader.boolean()
        for _ in ("input gradient", "output", "parameter gradient"):
            reader.tensor()
        if innermost == 0:
            reader.expect(1)  # Samples per input.
    if not reader.at_end():
        raise FormatError("bytes follow the network's end")
    return layers


_TAG_OR_SKIP, _LAYER, _FIRST_LAYER = 1, 2, 3


def _layer_versions(reader: Reader) -> list[int]:
    versions = [reader.integer()]
    while versions[-1] in (_TAG_OR_SKIP, _LAYER):
        versions.append(reader.integer())
    if versions[-1] != _FIRST_LAYER:
        raise FormatError(f"version {versions[-1]} of a layer is unknown")
    return versions


def _read_layer(reader: Reader) -> Parameters | None:
    kind = reader.string()
    match kind:
        case "con_4":
            return _read_convolution(reader)
        case "affine_":
            parameters = reader.tensor().reshape(2, -1)
            _skip_aliases(reader)
            reader.integer()  # Whether it stood behind a convolution or a fully connected layer.
            return Affine(parameters[0], parameters[1])
        case "fc_2":
            outputs, inputs = reader.integer(), reader.integer()
            weight = reader.tensor().reshape(inputs, outputs)
            _skip_aliases(reader)
            reader.expect(_NO_BIAS)
            _skip_multipliers(reader)
            return FullyConnected(weight)
        case "max_pool_2" | "avg_pool_2":
            for _ in ("rows", "columns", "stride y", "stride x", "padding y", "padding x"):
                reader.integer()
        case "relu_" | "add_prev_":
            pass
        case _:
            raise FormatError(f"layer {kind!r} is unknown")
    return None


_NO_BIAS = 1


def _read_convolution(reader: Reader) -> Convolution:
    parameters = reader.tensor().reshape(-1)
    filters, rows, columns = reader.integer(), reader.integer(), reader.integer()
    stride, stride_x, padding, padding_x = (reader.integer() for _ in range(4))
    if (rows, stride, padding) != (columns, stride_x, padding_x):
        raise FormatError("a convolution is not square")
    _skip_aliases(reader)
    _skip_multipliers(reader)
    weight, bias = parameters[:-filters], parameters[-filters:]
    return Convolution(weight.reshape(filters, -1, rows, columns), bias, stride, padding)


def _skip_aliases(reader: Reader) -> None:
    """The shapes of two views into the parameters: weights and bias."""
    for _ in range(2):
        reader.expect(1)
        for _ in ("samples", "k", "rows", "columns"):
            reader.integer()


def _skip_multipliers(reader: Reader) -> None:
    """Learning rate and weight decay, of weights and bias."""
    for _ in range(4):
        reader.real()
