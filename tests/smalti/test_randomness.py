"""Random numbers depend on (seed, index, position) and on nothing else, and never change."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalti.randomness import MAX_SEED, normals, uniforms

words = st.integers(0, MAX_SEED)


@given(words, words, st.integers(0, 5000), st.integers(0, 70))
def test_uniforms_do_not_depend_on_the_range_requested(seed: int, index: int, start: int, count: int) -> None:
    whole = uniforms(seed, index, 0, start + count)
    assert (uniforms(seed, index, start, count) == whole[start:]).all()


@given(words, words)
def test_a_uniform_is_never_zero_and_at_most_one(seed: int, index: int) -> None:
    numbers = uniforms(seed, index, 0, 256)
    assert numbers.dtype == np.float32
    assert (numbers > 0).all()
    assert (numbers <= 1).all()


def test_a_uniform_is_the_top_24_bits_of_a_raw_word_plus_one() -> None:
    raw = np.random.Philox(key=np.array([7, 3], dtype=np.uint64)).random_raw(400)
    expected = [(int(word) >> 40) + 1 for word in raw]
    assert [int(number * 2**24) for number in uniforms(7, 3, 0, 400).astype(np.float64)] == expected


@pytest.mark.parametrize(
    ("seed", "index", "expected"),
    [
        (0, 0, [193723, 4052524, 1869416, 9469307, 8428532]),
        (7, 2, [6149664, 6709074, 14227053, 11300398, 4425776]),
        (MAX_SEED, MAX_SEED, [7161549, 9588386, 16630624, 11838226, 6807853]),
    ],
)
def test_the_numbers_of_a_seed_never_change(seed: int, index: int, expected: list[int]) -> None:
    assert [int(number * 2**24) for number in uniforms(seed, index, 0, 5).astype(np.float64)] == expected


def test_different_seeds_and_indices_give_different_numbers() -> None:
    first = {tuple(uniforms(seed, index, 0, 4)) for seed in range(30) for index in range(30)}
    assert len(first) == 900


def test_uniforms_are_spread_evenly() -> None:
    counts, _ = np.histogram(uniforms(1, 1, 0, 100_000), bins=10, range=(0.0, 1.0))
    assert abs(counts - 10_000).max() < 500  # five standard deviations


def test_normals_have_mean_zero_and_variance_one() -> None:
    numbers = normals(1, 1, 100_000)
    assert numbers.dtype == np.float32
    assert abs(float(numbers.mean())) < 0.02
    assert abs(float(numbers.std()) - 1.0) < 0.02
    assert np.isfinite(numbers).all()


@given(words, words, st.integers(0, 64))
def test_normals_of_a_sample_are_always_the_same(seed: int, index: int, count: int) -> None:
    assert (normals(seed, index, count) == normals(seed, index, count)).all()
