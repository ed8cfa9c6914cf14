"""Decayed, smoothed means of the past against a plain loop over its rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tasks.features.past_means import Floats, Keys, PastMeans, decay

KEYS = st.one_of(st.integers(-3, 3), st.sampled_from([-(2**63), 2**63 - 1]))
EMPTY_KEYS = np.array([], dtype=np.int64)
EMPTY = np.array([], dtype=np.float64)
PRIOR, STRENGTH = 0.3, 4.0


def keys(most: int = 30) -> st.SearchStrategy[Keys]:
    return arrays.arrays(np.int64, st.integers(0, most), elements=KEYS)


def numbers(count: int, low: float, high: float) -> st.SearchStrategy[Floats]:
    return arrays.arrays(np.float64, count, elements=st.floats(low, high, allow_subnormal=False))


def plain_sum(past: Keys, now: Keys, values: Floats) -> list[float]:
    """Per asked key the sum of the values of its past rows, row by row."""
    return [
        sum(value for key, value in zip(past.tolist(), values.tolist(), strict=True) if key == one)
        for one in now.tolist()
    ]


@given(st.data())
def test_means_and_totals_equal_a_loop_over_the_rows(data: st.DataObject) -> None:
    past, now = data.draw(keys()), data.draw(keys())
    value = data.draw(numbers(len(past), -100, 100))
    weight = data.draw(numbers(len(past), 0, 1))
    prior, strength = data.draw(st.floats(-1, 1)), data.draw(st.floats(0.5, 50))
    means = PastMeans(past, now)
    mass = plain_sum(past, now, weight)
    sums = plain_sum(past, now, value * weight)
    expected = [(s + strength * prior) / (m + strength) for s, m in zip(sums, mass, strict=True)]
    np.testing.assert_allclose(means.total(weight), mass, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        means.mean(value, weight, prior, strength), expected, rtol=1e-9, atol=1e-9
    )
    np.testing.assert_array_equal(means.rows, np.flatnonzero(np.isin(past, now)))


@given(age=st.integers(0, 1_000), half_life=st.floats(0.5, 400))
def test_decay_halves_with_every_half_life(age: int, half_life: float) -> None:
    weight = decay(np.array([age, age + half_life, 0]), half_life)
    assert weight[0] == pytest.approx(0.5 ** (age / half_life))
    assert weight[1] == pytest.approx(weight[0] / 2)
    assert weight[2] == 1.0


def test_an_empty_past_gives_the_prior() -> None:
    means = PastMeans(EMPTY_KEYS, np.array([3, 1, 3]))
    np.testing.assert_array_equal(means.total(EMPTY), [0.0, 0.0, 0.0])
    np.testing.assert_allclose(means.mean(EMPTY, EMPTY, PRIOR, STRENGTH), [PRIOR] * 3)


@pytest.mark.parametrize("past", [EMPTY_KEYS, np.array([1, 2, 2])], ids=["no past", "a past"])
def test_nothing_asked_gives_nothing(past: Keys) -> None:
    means = PastMeans(past, EMPTY_KEYS)
    one = np.ones(len(past))
    assert means.total(one).shape == (0,)
    assert means.mean(one, one, PRIOR, STRENGTH).shape == (0,)


def test_an_unknown_key_gets_the_prior_and_a_known_one_is_drawn_to_it() -> None:
    means = PastMeans(np.array([5, 5, 7, 7]), np.array([6, 5, 2**62, 7, -1]))
    value, weight = np.array([1.0, 0.0, 1.0, 1.0]), np.array([1.0, 0.5, 0.0, 0.0])
    known = (1 + STRENGTH * PRIOR) / (1.5 + STRENGTH)
    np.testing.assert_allclose(
        means.mean(value, weight, PRIOR, STRENGTH), [PRIOR, known, PRIOR, PRIOR, PRIOR]
    )


@given(st.data())
def test_a_row_whose_value_is_missing_counts_for_nothing(data: st.DataObject) -> None:
    past, now = data.draw(keys()), data.draw(keys())
    value = data.draw(numbers(len(past), -100, 100))
    weight = data.draw(numbers(len(past), 0, 1))
    missing = data.draw(arrays.arrays(np.bool_, len(past)))
    found = PastMeans(past, now).mean(np.where(missing, np.nan, value), weight, PRIOR, STRENGTH)
    there = ~missing
    expected = PastMeans(past[there], now).mean(value[there], weight[there], PRIOR, STRENGTH)
    np.testing.assert_allclose(found, expected)


def test_the_inputs_are_not_changed() -> None:
    past, now, weight = np.array([2, 1, 2]), np.array([2, 9]), np.array([0.1, 0.2, 0.3])
    kept = past.copy(), now.copy(), weight.copy()
    PastMeans(past, now).mean(weight, weight, PRIOR, STRENGTH)
    for before, after in zip(kept, (past, now, weight), strict=True):
        np.testing.assert_array_equal(before, after)
