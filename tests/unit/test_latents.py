"""Latents: the documented example to the last digit, mixtures, what is refused, and when a morph shows what."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prosopon.models.generation.latents import (
    MAX_SEED,
    Latent,
    LatentError,
    Morph,
    Part,
    between,
    checked,
    from_bytes,
    in_z,
    latent_of_seed,
    mixed,
    seed_of,
    sum_in_z,
    to_bytes,
)


def test_the_documented_example_to_the_last_digit() -> None:
    assert seed_of("example") == 78062172
    numbers = latent_of_seed(78062172).numbers
    assert numbers.shape == (512,) and numbers.dtype == np.float64
    assert numbers[:3].tolist() == [0.4221103225421117, -0.31882407908604915, 0.36004541443342347]


@pytest.mark.parametrize(
    ("value", "seed"),
    [("", 65086549), ("こんにちは", 46622572), ("🙂", 47229716), ("x" * 10_000, 45685621)],
    ids=["empty", "unicode", "emoji", "10 kB"],
)
def test_the_seed_of_a_text_is_fixed_for_ever(value: str, seed: int) -> None:
    assert seed_of(value) == seed


def test_text_that_is_not_unicode_has_a_seed_too() -> None:
    assert seed_of("\udcff") != seed_of("\udcfe")


def test_seeds_are_those_of_the_mersenne_twister() -> None:
    assert latent_of_seed(0).numbers[0] == 1.764052345967664  # NumPy's documentation of RandomState
    assert latent_of_seed(MAX_SEED).numbers.shape == (512,)
    for seed in (-1, MAX_SEED + 1):
        with pytest.raises(LatentError):
            latent_of_seed(seed)


@pytest.mark.parametrize(
    "numbers",
    [
        [], [1.0] * 511, [[1.0] * 511], [[[1.0] * 512]], 7, "latent", None, {"a": 1}, [None] * 512,
        ["1"] * 512, [True] * 512, [1.0] * 511 + [math.nan], [1.0] * 511 + [math.inf], [1e30] * 512,
        [10**400] * 512, [[1.0] * 512, [1.0] * 511], [1.0] * 511 + [[1.0]],
    ],
)  # fmt: skip
def test_what_is_no_latent_is_refused(numbers: object) -> None:
    with pytest.raises(LatentError):
        checked(numbers)


@pytest.mark.parametrize("layers", [0, 18, 23])
def test_latents_keep_every_bit_that_a_generator_sees(layers: int) -> None:
    shape = (layers, 512) if layers else (512,)
    numbers = np.random.default_rng(layers).standard_normal(shape)
    latent = checked(numbers.tolist())
    assert latent.layers == layers
    stored = to_bytes(latent.numbers)
    assert len(stored) == (4 if layers else 8) * numbers.size
    again = from_bytes(stored, layers)
    np.testing.assert_array_equal(again.numbers, numbers.astype(np.float32) if layers else numbers)
    assert (again.digest == latent.digest) == (layers == 0)
    assert latent.digest != Latent(numbers + 1e-12).digest
    earlier = from_bytes(numbers.astype("<f8").tobytes(), layers)
    assert earlier.digest == latent.digest


def test_layers_that_are_the_same_are_stored_once() -> None:
    numbers = np.tile(np.random.default_rng(0).standard_normal(512), (23, 1))
    stored = to_bytes(numbers)
    assert len(stored) == 4 * 512
    np.testing.assert_array_equal(from_bytes(stored, 23).numbers, numbers.astype(np.float32))


def test_mixtures_are_weighted_sums() -> None:
    a, b = latent_of_seed(1), latent_of_seed(2)
    np.testing.assert_allclose(sum_in_z(mixed([a, b], [None, None])), (a.numbers + b.numbers) / 2)
    np.testing.assert_allclose(sum_in_z(mixed([a, b], [9.0, -9.0])), 2 * a.numbers - 2 * b.numbers)
    np.testing.assert_array_equal(sum_in_z((Part(a),)), a.numbers)
    assert in_z(mixed([a, b], [1, 1])) and not in_z((Part(a), Part(Latent(np.zeros((23, 512))))))


def test_a_mixture_at_an_end_is_the_end() -> None:
    a, b = latent_of_seed(1), latent_of_seed(2)
    assert [part.latent for part in between(a, b, 1)] == [a]
    assert [part.latent for part in between(a, b, 0)] == [b]
    np.testing.assert_allclose(sum_in_z(between(a, b, 0.25)), a.numbers / 4 + b.numbers * 3 / 4)


@given(st.integers(3, 200))
def test_a_loop_shows_what_the_contract_says_and_makes_no_picture_twice(frames: int) -> None:
    morph = Morph.of(frames)
    shown = [morph.amounts[picture] for picture in morph.order]
    contract = [(math.sin(2 * math.pi * i / frames + math.pi / 2) + 1) / 2 for i in range(frames)]
    np.testing.assert_allclose(shown, contract, atol=1e-12)
    assert len(set(morph.amounts)) == len(morph.amounts) == frames // 2 + 1
    assert morph.amounts[0] == 1 and all(0 <= amount <= 1 for amount in morph.amounts)
    if frames % 2 == 0:
        assert morph.amounts[-1] == 0


@given(st.integers(3, 200))
def test_a_linear_film_goes_from_the_start_to_the_end(frames: int) -> None:
    morph = Morph.of(frames, linear=True)
    assert morph.order == tuple(range(frames))
    np.testing.assert_allclose(morph.amounts, np.linspace(1, 0, frames), atol=1e-12)
    assert morph.amounts[0] == 1 and morph.amounts[-1] == 0


@given(st.integers(3, 200), st.booleans())
def test_pictures_are_first_shown_in_the_order_of_their_making(frames: int, linear: bool) -> None:
    order = Morph.of(frames, linear).order
    first_shown = [order.index(picture) for picture in range(max(order) + 1)]
    assert first_shown == sorted(first_shown)
