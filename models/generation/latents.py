"""Latents: what stands for a face before there is a picture, their mixtures, and the timing of a morph.

The latent of a text is fixed for ever by CheckFace's own documentation: ``example`` has the seed 78062172.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

Z_DIM = 512
MAX_SEED = 2**32 - 1
"""`numpy.random.RandomState` takes no larger seed."""
MAX_MAGNITUDE = 1000.0
"""No number of a latent is larger: a normal one stays below 10, and float32 holds the network's squares."""


class LatentError(ValueError):
    """A latent that no generator takes. The message says why and is fit for the client."""


@dataclass(frozen=True, slots=True, eq=False)
class Latent:
    """A latent in z, ``(512,)``, or in w+, ``(layers, 512)``; float64."""

    numbers: Float64

    @property
    def layers(self) -> int:
        """Of a latent in w+; 0 in z."""
        return len(self.numbers) if self.numbers.ndim == 2 else 0

    @property
    def digest(self) -> str:
        """Hex SHA-256 of shape and numbers."""
        numbers = self.numbers.astype("<f8").tobytes()
        return hashlib.sha256(f"{self.numbers.shape}".encode() + numbers).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A latent and how much of it there is in a mixture."""

    latent: Latent
    amount: float = 1.0


Mixture = tuple[Part, ...]
"""The sum of its parts: in z where every latent is in z, otherwise in w+."""


def in_z(mixture: Mixture) -> bool:
    return not any(part.latent.layers for part in mixture)


def sum_in_z(mixture: Mixture) -> Float64:
    """``(512,)`` float64. Every latent must be in z."""
    total = np.zeros(Z_DIM, np.float64)
    for part in mixture:
        total += part.amount * part.latent.numbers
    return total


def seed_of(value: str) -> int:
    """The seed that a text has, 0 to 99,999,999."""
    digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
    return int(digest, 16) % 10**8


def latent_of_seed(seed: int) -> Latent:
    """Standard normal numbers of the Mersenne Twister with this seed. Raises `LatentError` out of 0..2**32-1."""
    if not 0 <= seed <= MAX_SEED:
        raise LatentError(f"a seed lies between 0 and {MAX_SEED}")
    return Latent(np.random.RandomState(seed).randn(Z_DIM))


def checked(numbers: object) -> Latent:
    """A latent out of a client's JSON. Raises `LatentError`: not numbers, wrong shape, not finite, or huge."""
    try:
        array = np.array(numbers, dtype=object)
        if array.size == 0 or not all(type(number) in (int, float) for number in array.flat):
            raise LatentError("a latent is a list of numbers, or a list of such lists")
        array = array.astype(np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        if isinstance(error, LatentError):
            raise
        raise LatentError("a latent is a list of numbers, or a list of such lists of one length") from error
    if array.shape != (Z_DIM,) and not (array.ndim == 2 and array.shape[1] == Z_DIM):
        raise LatentError(f"a latent has the shape ({Z_DIM},) or (layers, {Z_DIM}), not {array.shape}")
    if not np.isfinite(array).all():
        raise LatentError("a latent has finite numbers only")
    if np.abs(array).max() > MAX_MAGNITUDE:
        raise LatentError(f"a latent has no number beyond {MAX_MAGNITUDE:g} or -{MAX_MAGNITUDE:g}")
    return Latent(array)


def to_bytes(numbers: Float64) -> bytes:
    """Little-endian: in z float64, to the last bit; in w+ float32, which is what generators compute with, and layers
    that are all the same once."""
    if numbers.ndim == 1:
        return numbers.astype("<f8").tobytes()
    rows = numbers.astype("<f4")
    return (rows[:1] if (rows == rows[0]).all() else rows).tobytes()


def from_bytes(data: bytes, layers: int) -> Latent:
    """The latent that `to_bytes` was given. layers: 0 for z. Reads the float64 of earlier versions too."""
    rows = max(1, layers)
    kind = "<f8" if len(data) == 8 * rows * Z_DIM else "<f4"
    numbers = np.frombuffer(data, kind).astype(np.float64).reshape(-1, Z_DIM)
    return Latent(np.broadcast_to(numbers, (rows, Z_DIM)).copy() if layers else numbers[0])


@dataclass(frozen=True, slots=True)
class Morph:
    """Which frames a film shows.

    amounts: of the start face, 1 to 0, one for each distinct picture, in the order of their first showing.
    order: for each frame the index of its picture.
    """

    amounts: tuple[float, ...]
    order: tuple[int, ...]

    @classmethod
    def of(cls, frames: int, linear: bool = False) -> "Morph":
        """frames: at least 2.

        linear: from the start to the end, both included. Otherwise frame i of n shows
        ``(sin(2 pi i / n + pi / 2) + 1) / 2`` of the start, so that the film loops; as the cosine is even, frame n - i
        is frame i again and no picture is made twice.
        """
        if linear:
            amounts = tuple(1 - i / (frames - 1) for i in range(frames))
            return cls(amounts, tuple(range(frames)))
        distinct = frames // 2 + 1
        amounts = tuple((math.sin(2 * math.pi * i / frames + math.pi / 2) + 1) / 2 for i in range(distinct))
        return cls(amounts, tuple(min(i, frames - i) for i in range(frames)))


def between(start: Latent, end: Latent, amount: float) -> Mixture:
    """amount: of the start, 0..1. At its ends the mixture has one part."""
    parts = (Part(start, amount), Part(end, 1 - amount))
    return tuple(part for part in parts if part.amount)


def mixed(latents: Sequence[Latent], amounts: Sequence[float | None]) -> Mixture:
    """A weighted sum. An amount that is None is 1 / n; others are clipped to -2..2."""
    even = 1 / len(latents)
    return tuple(
        Part(latent, even if amount is None else min(2.0, max(-2.0, amount)))
        for latent, amount in zip(latents, amounts, strict=True)
    )
